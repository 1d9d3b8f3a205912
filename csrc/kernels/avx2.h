/* avx2.h - vectors of 256 bits for the files of the instruction sets that have them: all that they
 * have in common, which is everything but the integer products. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

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
static inline vec vec_load_brain(const uint16_t *x) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline void vec_store(float *to, vec x) {
    _mm256_storeu_ps(to, x);
}
static inline void vec_store_half(uint16_t *to, vec x) {
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
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
#include "floats.h"
#include "loops.h"

#define AT_ONCE 4 /* columns */
typedef __m256i ivec;

/* Into the second level: the first one can wait for too few lines at a time to keep memory busy. */
INLINE void fetch(uintptr_t address) {
    _mm_prefetch((const char *)address, _MM_HINT_T1);
}
INLINE ivec ivec_all(int x) {
    return _mm256_set1_epi32(x);
}
INLINE ivec ivec_load(const void *p) {
    return _mm256_loadu_si256(p);
}
INLINE vec vec_load_i8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE vec vec_load_u8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE ivec ivec_and(ivec x, int byte) {
    return _mm256_and_si256(x, _mm256_set1_epi8((char)byte));
}
INLINE ivec ivec_or(ivec x, ivec y) {
    return _mm256_or_si256(x, y);
}
INLINE ivec ivec_shift_right(ivec x, int n) {
    return _mm256_srli_epi32(x, n);
}
INLINE ivec ivec_shift_left(ivec x, int n) {
    return _mm256_slli_epi32(x, n);
}
INLINE ivec ivec_add(ivec x, ivec y) {
    return _mm256_add_epi32(x, y);
}
INLINE ivec ivec_max(ivec x, ivec y) {
    return _mm256_max_epu32(x, y);
}
INLINE uint32_t ivec_most(ivec x) {
    __m128i y = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epu32(y, _mm_shuffle_epi32(y, 0x4e));
    y = _mm_max_epu32(y, _mm_shuffle_epi32(y, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(y);
}
/* the bits of |x| */
INLINE ivec ivec_size(vec x) {
    return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}
INLINE vec vec_from_int(ivec x) {
    return _mm256_cvtepi32_ps(x);
}
/* Rounds to even and stores as bytes; their sum. */
INLINE int32_t store_rounded(int8_t *to, vec x) {
    ivec q = _mm256_cvtps_epi32(x);
    __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    __m128i words = _mm_packs_epi32(low, high);
    _mm_storel_epi64((__m128i *)to, _mm_packs_epi16(words, words));
    __m128i sum = _mm_add_epi32(low, high);
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum);
}
