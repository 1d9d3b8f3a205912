/* wasm.h - vectors of 128 bits for the files of WebAssembly's instruction sets: all that they have
 * in common. Such a file defines vec_fma first: there is no fused instruction that every engine
 * has.
 */
#include <stdint.h>
#include <string.h>
#include <wasm_simd128.h>

#include "functions.h"
#define fmaf fused /* the C library's own is wrong below the normal numbers */

enum { LANES = 4, TILE = 2 };
typedef v128_t vec;

static inline vec vec_fma(vec x, vec y, vec z);

static inline vec vec_all(float x) {
    return wasm_f32x4_splat(x);
}
static inline vec vec_load(const float *x) {
    return wasm_v128_load(x);
}
/* A half is a float of 2^112 times its value when sign and number are put in place; infinities and
 * NaNs need their exponent back. */
static inline vec vec_load_half(const uint16_t *x) {
    const vec exponent = wasm_i32x4_splat(31 << 23), all = wasm_i32x4_splat(255 << 23);
    vec bits = wasm_i32x4_shl(wasm_i32x4_load16x4((const int16_t *)x), 13);
    bits = wasm_v128_and(bits, wasm_i32x4_splat((int)0x8fffe000));
    vec is_special = wasm_i32x4_eq(wasm_v128_and(bits, exponent), exponent);
    return wasm_v128_or(wasm_f32x4_mul(bits, vec_all(0x1p112f)), wasm_v128_and(is_special, all));
}
/* Rounded by adding a power of two whose last place is that of the half; after F. Giesen and M.
 * Dukhan. */
static inline void vec_store_half(uint16_t *to, vec x) {
    const vec power = wasm_i32x4_splat(255 << 23);
    vec size = wasm_f32x4_abs(x), is_nan = wasm_f32x4_ne(x, x);
    vec scaled = wasm_f32x4_mul(wasm_f32x4_mul(size, vec_all(0x1p112f)), vec_all(0x1p-110f));
    vec bias = wasm_u32x4_max(wasm_v128_and(size, power), wasm_i32x4_splat(0x38800000));
    vec bits = wasm_f32x4_add(wasm_i32x4_add(bias, wasm_i32x4_splat(0x07800000)), scaled);
    vec half = wasm_i32x4_add(wasm_v128_and(wasm_u32x4_shr(bits, 13), wasm_i32x4_splat(0x7c00)),
                              wasm_v128_and(bits, wasm_i32x4_splat(0xfff)));
    half = wasm_v128_bitselect(wasm_i32x4_splat(0x7e00), half, is_nan);
    half = wasm_v128_or(half, wasm_v128_and(wasm_u32x4_shr(x, 16), wasm_i32x4_splat(0x8000)));
    wasm_v128_store64_lane(to, wasm_u16x8_narrow_i32x4(half, half), 0);
}
static inline vec vec_load_brain(const uint16_t *x) {
    return wasm_i32x4_shl(wasm_u32x4_load16x4(x), 16);
}
static inline void vec_store(float *to, vec x) {
    wasm_v128_store(to, x);
}
static inline void vec_store_first(float *to, vec x) {
    *to = wasm_f32x4_extract_lane(x, 0);
}
static inline vec vec_add(vec x, vec y) {
    return wasm_f32x4_add(x, y);
}
static inline vec vec_sub(vec x, vec y) {
    return wasm_f32x4_sub(x, y);
}
static inline vec vec_mul(vec x, vec y) {
    return wasm_f32x4_mul(x, y);
}
/* x > y ? x : y */
static inline vec vec_max(vec x, vec y) {
    return wasm_f32x4_pmax(y, x);
}
/* the largest lane, in every lane */
static inline vec vec_most(vec x) {
    x = vec_max(x, wasm_i32x4_shuffle(x, x, 2, 3, 0, 1));
    return vec_max(x, wasm_i32x4_shuffle(x, x, 1, 0, 3, 2));
}
/* y * 2^n, n in the low bits of t */
static inline vec vec_times_power(vec y, vec t) {
    return wasm_i32x4_add(y, wasm_i32x4_shl(t, 23));
}
/* x < limit ? 0 : y */
static inline vec vec_zero_below(vec x, float limit, vec y) {
    return wasm_v128_andnot(y, wasm_f32x4_lt(x, vec_all(limit)));
}
static inline float half_float(const uint16_t *x) {
    uint16_t four[4] = {*x};
    return wasm_f32x4_extract_lane(vec_load_half(four), 0);
}

#include "attend.h"
#include "floats.h"
#include "loops.h"

#define AT_ONCE 4 /* columns */
typedef v128_t ivec;

/* Nothing is fetched ahead: there is no instruction for it. */
INLINE void fetch(uintptr_t address) {
    (void)address;
}
INLINE ivec ivec_all(int x) {
    return wasm_i32x4_splat(x);
}
INLINE ivec ivec_load(const void *p) {
    return wasm_v128_load(p);
}
INLINE vec vec_load_i8(const int8_t *p) {
    return wasm_f32x4_convert_i32x4(
        wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(p))));
}
INLINE vec vec_load_u8(const uint8_t *p) {
    return wasm_f32x4_convert_i32x4(
        wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p))));
}
INLINE ivec ivec_and(ivec x, int byte) {
    return wasm_v128_and(x, wasm_i8x16_splat((int8_t)byte));
}
INLINE ivec ivec_or(ivec x, ivec y) {
    return wasm_v128_or(x, y);
}
INLINE ivec ivec_shift_right(ivec x, int n) {
    return wasm_u32x4_shr(x, (uint32_t)n);
}
INLINE ivec ivec_shift_left(ivec x, int n) {
    return wasm_i32x4_shl(x, (uint32_t)n);
}
INLINE ivec ivec_add(ivec x, ivec y) {
    return wasm_i32x4_add(x, y);
}
INLINE ivec ivec_max(ivec x, ivec y) {
    return wasm_u32x4_max(x, y);
}
INLINE uint32_t ivec_most(ivec x) {
    x = wasm_u32x4_max(x, wasm_i32x4_shuffle(x, x, 2, 3, 0, 1));
    x = wasm_u32x4_max(x, wasm_i32x4_shuffle(x, x, 1, 0, 3, 2));
    return (uint32_t)wasm_i32x4_extract_lane(x, 0);
}
/* the bits of |x| */
INLINE ivec ivec_size(vec x) {
    return wasm_f32x4_abs(x);
}
INLINE vec vec_from_int(ivec x) {
    return wasm_f32x4_convert_i32x4(x);
}
/* Rounds to even and stores as bytes; their sum. Adding 1.5 * 2^23 rounds to an integer and leaves
 * it in the low bits. */
INLINE int32_t store_rounded(int8_t *to, vec x) {
    ivec q = wasm_i32x4_sub(vec_add(x, vec_all(EXP_ROUND)), vec_all(EXP_ROUND));
    ivec words = wasm_i16x8_narrow_i32x4(q, q);
    wasm_v128_store32_lane(to, wasm_i8x16_narrow_i16x8(words, words), 0);
    q = ivec_add(q, wasm_i32x4_shuffle(q, q, 2, 3, 0, 1));
    q = ivec_add(q, wasm_i32x4_shuffle(q, q, 1, 0, 3, 2));
    return wasm_i32x4_extract_lane(q, 0);
}
/* start + the products of n vectors of numbers of any 8 bits, made signed for 8, with 4 n inputs.
 */
INLINE ivec dot_words(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    ivec low = ivec_all(0), high = low; /* of two rows each: two sums a row */
    for (int j = 0; j < n; j++) {
        ivec w = most == 255 ? wasm_v128_xor(v[j], wasm_i8x16_splat((int8_t)0x80)) : v[j];
        ivec a = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(q + 4 * j));
        low = ivec_add(low, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(w), a));
        high = ivec_add(high, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(w), a));
    }
    ivec sum = ivec_add(wasm_i32x4_shuffle(low, high, 0, 2, 4, 6),
                        wasm_i32x4_shuffle(low, high, 1, 3, 5, 7));
    return most == 255 ? sum : ivec_add(start, sum);
}
