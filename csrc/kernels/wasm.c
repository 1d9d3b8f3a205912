/* wasm.c - the kernels for WebAssembly's vectors of 128 bits, which every engine has had since
 * 2023. */
#include "wasm.h"

#include "unfused.h"

static inline vec upper(vec x) {
    return wasm_i32x4_shuffle(x, x, 2, 3, 0, 1);
}

static inline vec vec_fma(vec x, vec y, vec z) {
    vec low = wasm_f64x2_add(
        wasm_f64x2_mul(wasm_f64x2_promote_low_f32x4(x), wasm_f64x2_promote_low_f32x4(y)),
        wasm_f64x2_promote_low_f32x4(z));
    vec high = wasm_f64x2_add(wasm_f64x2_mul(wasm_f64x2_promote_low_f32x4(upper(x)),
                                             wasm_f64x2_promote_low_f32x4(upper(y))),
                              wasm_f64x2_promote_low_f32x4(upper(z)));
    vec to = wasm_i32x4_shuffle(wasm_f32x4_demote_f64x2_zero(low),
                                wasm_f32x4_demote_f64x2_zero(high), 0, 1, 4, 5);
    /* The 29 bits that a float has not: half of its last place. */
    vec rest = wasm_i32x4_shl(wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), 3);
    vec is_unsure = wasm_v128_or(wasm_i32x4_eq(rest, wasm_i32x4_splat(INT32_MIN)),
                                 wasm_f32x4_lt(wasm_f32x4_abs(to), vec_all(0x1p-126f)));
    return wasm_v128_any_true(is_unsure) ? fma_exactly(x, y, z) : to;
}

#define dot dot_words
#include "product.h"

const kernels kernels_wasm = {"wasm-simd128", attend,        narrow, quantise,
                              matrix_product, float_product, LOOPS};
