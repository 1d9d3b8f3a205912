/* avx512.c - the kernels for AVX-512 (F); compiled with this option and run only where the
 * processor has it. */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 16, TILE = 4 };
typedef __m512 vec;

static inline vec vec_all(float x) {
    return _mm512_set1_ps(x);
}
static inline vec vec_load(const float *x) {
    return _mm512_loadu_ps(x);
}
static inline vec vec_load_half(const uint16_t *x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x));
}
static inline void vec_store(float *to, vec x) {
    _mm512_storeu_ps(to, x);
}
static inline void vec_store_first(float *to, vec x) {
    *to = _mm512_cvtss_f32(x);
}
static inline vec vec_add(vec x, vec y) {
    return _mm512_add_ps(x, y);
}
static inline vec vec_sub(vec x, vec y) {
    return _mm512_sub_ps(x, y);
}
static inline vec vec_mul(vec x, vec y) {
    return _mm512_mul_ps(x, y);
}
static inline vec vec_fma(vec x, vec y, vec z) {
    return _mm512_fmadd_ps(x, y, z);
}
/* x > y ? x : y */
static inline vec vec_max(vec x, vec y) {
    return _mm512_max_ps(x, y);
}
/* the largest lane, in every lane */
static inline vec vec_most(vec x) {
    x = _mm512_max_ps(x, _mm512_shuffle_f32x4(x, x, 0x4e));
    x = _mm512_max_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    x = _mm512_max_ps(x, _mm512_permute_ps(x, 0x4e));
    return _mm512_max_ps(x, _mm512_permute_ps(x, 0xb1));
}
/* y * 2^n, n in the low bits of t */
static inline vec vec_times_power(vec y, vec t) {
    __m512i power = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), power));
}
/* x < limit ? 0 : y */
static inline vec vec_zero_below(vec x, float limit, vec y) {
    __mmask16 keep = _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ);
    return _mm512_maskz_mov_ps(keep, y);
}
static inline float half_float(const uint16_t *x) {
    return _cvtsh_ss(*x);
}

#include "attend.h"

const kernels kernels_avx512 = {"avx512", attend};
