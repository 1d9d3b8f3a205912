/* avx2.c - the kernels for AVX2, FMA and F16C; compiled with these options and run only where the
 * processor has them. */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 8, TILE = 2 };
typedef __m256 vec;

static inline vec vec_all(float x) {
    return _mm256_set1_ps(x);
}
static inline vec vec_load(const float *x) {
    return _mm256_loadu_ps(x);
}
static inline vec vec_load_half(const uint16_t *x) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
}
static inline void vec_store(float *to, vec x) {
    _mm256_storeu_ps(to, x);
}
static inline void vec_store_first(float *to, vec x) {
    *to = _mm256_cvtss_f32(x);
}
static inline vec vec_add(vec x, vec y) {
    return _mm256_add_ps(x, y);
}
static inline vec vec_sub(vec x, vec y) {
    return _mm256_sub_ps(x, y);
}
static inline vec vec_mul(vec x, vec y) {
    return _mm256_mul_ps(x, y);
}
static inline vec vec_fma(vec x, vec y, vec z) {
    return _mm256_fmadd_ps(x, y, z);
}
/* x > y ? x : y */
static inline vec vec_max(vec x, vec y) {
    return _mm256_max_ps(x, y);
}
/* the largest lane, in every lane */
static inline vec vec_most(vec x) {
    x = _mm256_max_ps(x, _mm256_permute2f128_ps(x, x, 1));
    x = _mm256_max_ps(x, _mm256_permute_ps(x, 0x4e));
    return _mm256_max_ps(x, _mm256_permute_ps(x, 0xb1));
}
/* y * 2^n, n in the low bits of t */
static inline vec vec_times_power(vec y, vec t) {
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), power));
}
/* x < limit ? 0 : y */
static inline vec vec_zero_below(vec x, float limit, vec y) {
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_LT_OQ), y);
}
static inline float half_float(const uint16_t *x) {
    return _cvtsh_ss(*x);
}

#include "attend.h"

const kernels kernels_avx2 = {"avx2", attend};
