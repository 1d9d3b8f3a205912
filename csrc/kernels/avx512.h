/* avx512.h - vectors of 512 bits, and kernels of them, for the files of the instruction sets that
 * have AVX-512 and VNNI. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

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
static inline vec vec_load_brain(const uint16_t *x) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline void vec_store(float *to, vec x) {
    _mm512_storeu_ps(to, x);
}
static inline void vec_store_half(uint16_t *to, vec x) {
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
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
#include "floats.h"
#include "loops.h"

#define AT_ONCE 8 /* columns */
typedef __m512i ivec;

/* Into the second level: the first one can wait for too few lines at a time to keep memory busy. */
INLINE void fetch(uintptr_t address) {
    _mm_prefetch((const char *)address, _MM_HINT_T1);
}
INLINE ivec ivec_all(int x) {
    return _mm512_set1_epi32(x);
}
INLINE ivec ivec_load(const void *p) {
    return _mm512_loadu_si512(p);
}
INLINE vec vec_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE vec vec_load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE ivec ivec_and(ivec x, int byte) {
    return _mm512_and_si512(x, _mm512_set1_epi8((char)byte));
}
INLINE ivec ivec_or(ivec x, ivec y) {
    return _mm512_or_si512(x, y);
}
INLINE ivec ivec_shift_right(ivec x, int n) {
    return _mm512_srli_epi32(x, (unsigned)n);
}
INLINE ivec ivec_shift_left(ivec x, int n) {
    return _mm512_slli_epi32(x, (unsigned)n);
}
INLINE ivec ivec_max(ivec x, ivec y) {
    return _mm512_max_epu32(x, y);
}
INLINE uint32_t ivec_most(ivec x) {
    return _mm512_reduce_max_epu32(x);
}
/* the bits of |x| */
INLINE ivec ivec_size(vec x) {
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}
INLINE vec vec_from_int(ivec x) {
    return _mm512_cvtepi32_ps(x);
}
/* Rounds to even and stores as bytes; their sum. */
INLINE int32_t store_rounded(int8_t *to, vec x) {
    ivec q = _mm512_cvtps_epi32(x);
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(q));
    return _mm512_reduce_add_epi32(q);
}
/* start + the products of n vectors of numbers, none above most, with 4 n inputs; -128 q for
 * numbers of 8 bits is 16 times what start holds. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    ivec sum = most == 255 ? ivec_shift_left(start, 4) : start;
    for (int j = 0; j < n; j++) {
        int32_t four;
        memcpy(&four, q + 4 * j, sizeof four);
        sum = _mm512_dpbusd_epi32(sum, v[j], ivec_all(four));
    }
    return sum;
}

#include "product.h"
