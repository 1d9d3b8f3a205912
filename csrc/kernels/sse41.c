/* sse41.c - the kernels for SSE4.1, which x86-64 processors without AVX2 have had since 2008;
 * compiled with this option and run only where the processor has it. */
#include <smmintrin.h>
#include <stdint.h>
#include <string.h>

#include "functions.h"
#define fmaf fused /* there is no instruction for it, and the C library takes long */

enum { LANES = 4, TILE = 2 };
typedef __m128 vec;

static inline vec vec_all(float x) {
    return _mm_set1_ps(x);
}
static inline vec vec_load(const float *x) {
    return _mm_loadu_ps(x);
}
static inline vec vec_and(vec x, int bits) {
    return _mm_and_ps(x, _mm_castsi128_ps(_mm_set1_epi32(bits)));
}
/* A half is a float of 2^112 times its value when sign and number are put in place; infinities and
 * NaNs need their exponent back. */
static inline vec vec_load_half(const uint16_t *x) {
    const __m128i exponent = _mm_set1_epi32(31 << 23), all = _mm_set1_epi32(255 << 23);
    __m128i bits = _mm_slli_epi32(_mm_cvtepi16_epi32(_mm_loadl_epi64((const __m128i *)x)), 13);
    bits = _mm_and_si128(bits, _mm_set1_epi32((int)0x8fffe000));
    __m128i is_special = _mm_cmpeq_epi32(_mm_and_si128(bits, exponent), exponent);
    return _mm_or_ps(_mm_mul_ps(_mm_castsi128_ps(bits), vec_all(0x1p112f)),
                     _mm_castsi128_ps(_mm_and_si128(is_special, all)));
}
/* Rounded by adding a power of two whose last place is that of the half; after F. Giesen and M.
 * Dukhan. */
static inline void vec_store_half(uint16_t *to, vec x) {
    vec size = vec_and(x, 0x7fffffff), is_nan = _mm_cmpunord_ps(x, x);
    vec scaled = _mm_mul_ps(_mm_mul_ps(size, vec_all(0x1p112f)), vec_all(0x1p-110f));
    __m128i bias =
        _mm_max_epu32(_mm_castps_si128(vec_and(size, 255 << 23)), _mm_set1_epi32(0x38800000));
    bias = _mm_add_epi32(bias, _mm_set1_epi32(0x07800000));
    __m128i bits = _mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(bias), scaled));
    __m128i half = _mm_add_epi32(_mm_and_si128(_mm_srli_epi32(bits, 13), _mm_set1_epi32(0x7c00)),
                                 _mm_and_si128(bits, _mm_set1_epi32(0xfff)));
    half = _mm_blendv_epi8(half, _mm_set1_epi32(0x7e00), _mm_castps_si128(is_nan));
    half = _mm_or_si128(
        half, _mm_and_si128(_mm_srli_epi32(_mm_castps_si128(x), 16), _mm_set1_epi32(0x8000)));
    _mm_storel_epi64((__m128i *)to, _mm_packus_epi32(half, half));
}
static inline vec vec_load_brain(const uint16_t *x) {
    __m128i wide = _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)x));
    return _mm_castsi128_ps(_mm_slli_epi32(wide, 16));
}
static inline void vec_store(float *to, vec x) {
    _mm_storeu_ps(to, x);
}
static inline void vec_store_first(float *to, vec x) {
    *to = _mm_cvtss_f32(x);
}
static inline vec vec_add(vec x, vec y) {
    return _mm_add_ps(x, y);
}
static inline vec vec_sub(vec x, vec y) {
    return _mm_sub_ps(x, y);
}
static inline vec vec_mul(vec x, vec y) {
    return _mm_mul_ps(x, y);
}
#include "unfused.h"

static inline __m128d lower_sum(vec x, vec y, vec z) {
    return _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(x), _mm_cvtps_pd(y)), _mm_cvtps_pd(z));
}
static inline vec vec_fma(vec x, vec y, vec z) {
    __m128d low = lower_sum(x, y, z),
            high = lower_sum(_mm_movehl_ps(x, x), _mm_movehl_ps(y, y), _mm_movehl_ps(z, z));
    vec to = _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
    /* The 29 bits that a float has not: half of its last place. */
    vec rest = _mm_shuffle_ps(_mm_castpd_ps(low), _mm_castpd_ps(high), 0x88);
    __m128i is_half =
        _mm_cmpeq_epi32(_mm_slli_epi32(_mm_castps_si128(rest), 3), _mm_set1_epi32(INT32_MIN));
    vec is_small = _mm_cmplt_ps(vec_and(to, 0x7fffffff), vec_all(0x1p-126f));
    int is_unsure = _mm_movemask_ps(_mm_or_ps(_mm_castsi128_ps(is_half), is_small));
    return is_unsure ? fma_exactly(x, y, z) : to;
}
/* x > y ? x : y */
static inline vec vec_max(vec x, vec y) {
    return _mm_max_ps(x, y);
}
/* the largest lane, in every lane */
static inline vec vec_most(vec x) {
    x = vec_max(x, _mm_shuffle_ps(x, x, 0x4e));
    return vec_max(x, _mm_shuffle_ps(x, x, 0xb1));
}
/* y * 2^n, n in the low bits of t */
static inline vec vec_times_power(vec y, vec t) {
    __m128i power = _mm_slli_epi32(_mm_castps_si128(t), 23);
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(y), power));
}
/* x < limit ? 0 : y */
static inline vec vec_zero_below(vec x, float limit, vec y) {
    return _mm_andnot_ps(_mm_cmplt_ps(x, vec_all(limit)), y);
}
static inline float half_float(const uint16_t *x) {
    uint16_t four[LANES] = {*x};
    return _mm_cvtss_f32(vec_load_half(four));
}

#include "attend.h"
#include "floats.h"
#include "loops.h"

#define AT_ONCE 4 /* columns */
typedef __m128i ivec;

/* Into the second level: the first one can wait for too few lines at a time to keep memory busy. */
INLINE void fetch(uintptr_t address) {
    _mm_prefetch((const char *)address, _MM_HINT_T1);
}
INLINE ivec ivec_all(int x) {
    return _mm_set1_epi32(x);
}
INLINE ivec ivec_load(const void *p) {
    return _mm_loadu_si128(p);
}
INLINE ivec four_bytes(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm_cvtsi32_si128(four);
}
INLINE vec vec_load_i8(const int8_t *p) {
    return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(four_bytes(p)));
}
INLINE vec vec_load_u8(const uint8_t *p) {
    return _mm_cvtepi32_ps(_mm_cvtepu8_epi32(four_bytes(p)));
}
INLINE ivec ivec_and(ivec x, int byte) {
    return _mm_and_si128(x, _mm_set1_epi8((char)byte));
}
INLINE ivec ivec_or(ivec x, ivec y) {
    return _mm_or_si128(x, y);
}
INLINE ivec ivec_shift_right(ivec x, int n) {
    return _mm_srli_epi32(x, n);
}
INLINE ivec ivec_shift_left(ivec x, int n) {
    return _mm_slli_epi32(x, n);
}
INLINE ivec ivec_add(ivec x, ivec y) {
    return _mm_add_epi32(x, y);
}
INLINE ivec ivec_max(ivec x, ivec y) {
    return _mm_max_epu32(x, y);
}
INLINE uint32_t ivec_most(ivec x) {
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}
/* the bits of |x| */
INLINE ivec ivec_size(vec x) {
    return _mm_castps_si128(vec_and(x, 0x7fffffff));
}
INLINE vec vec_from_int(ivec x) {
    return _mm_cvtepi32_ps(x);
}
/* Rounds to even and stores as bytes; their sum. */
INLINE int32_t store_rounded(int8_t *to, vec x) {
    ivec q = _mm_cvtps_epi32(x), words = _mm_packs_epi32(q, q);
    int32_t four = _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
    memcpy(to, &four, sizeof four);
    q = ivec_add(q, _mm_shuffle_epi32(q, 0x4e));
    q = ivec_add(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtsi128_si32(q);
}
INLINE ivec bytes_flipped(ivec x) {
    return _mm_xor_si128(x, _mm_set1_epi8((char)0x80));
}
INLINE ivec bytes_size(ivec x) {
    return _mm_abs_epi8(x);
}
INLINE ivec bytes_signed(ivec x, ivec by) {
    return _mm_sign_epi8(x, by);
}
INLINE ivec pairs_of_bytes(ivec x, ivec y) {
    return _mm_maddubs_epi16(x, y);
}
INLINE ivec pairs_add(ivec x, ivec y) {
    return _mm_add_epi16(x, y);
}
INLINE ivec pairs_sum(ivec x) {
    return _mm_madd_epi16(x, _mm_set1_epi16(1));
}

#include "pairs.h"
#include "product.h"

const kernels kernels_sse41 = {"sse4.1",       attend,        narrow, quantise,
                               matrix_product, float_product, LOOPS};
