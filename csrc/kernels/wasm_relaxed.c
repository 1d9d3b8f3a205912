/* wasm_relaxed.c - the kernels for WebAssembly's relaxed vectors: products of bytes in one
 * instruction, and x * y + z in another, of which kernels.c asks whether this engine fuses it. */
#include <wasm_simd128.h>

static inline v128_t vec_fma(v128_t x, v128_t y, v128_t z) {
    return wasm_f32x4_relaxed_madd(x, y, z);
}

#include "wasm.h"

/* start + the products of n vectors of numbers with 4 n inputs. The instruction is defined for
 * numbers of 7 bits. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    if (most == 255) return dot_words(v, q, n, most, start);
    for (int j = 0; j < n; j++)
        start =
            wasm_i32x4_relaxed_dot_i8x16_i7x16_add(wasm_v128_load32_splat(q + 4 * j), v[j], start);
    return start;
}

#include "product.h"

const kernels kernels_wasm_relaxed = {"wasm-relaxed", attend,        narrow, quantise,
                                      matrix_product, float_product, LOOPS};

int kernels_wasm_is_fused(void) {
    /* (1 + 2^-23)^2 - (1 + 2^-22) = 2^-46, which is lost if the product is rounded. */
    volatile float x = 0x1.000002p0f, z = -0x1.000004p0f;
    float most;
    vec_store_first(&most, vec_fma(vec_all(x), vec_all(x), vec_all(z)));
    return most == 0x1p-46f;
}
