/* neon.h - vectors of 128 bits for the files of ARM's instruction sets: all that they have in
 * common, which is everything but the integer products. */
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 4, TILE = 4 };
typedef float32x4_t vec;

static inline vec vec_all(float x) {
    return vdupq_n_f32(x);
}
static inline vec vec_load(const float *x) {
    return vld1q_f32(x);
}
static inline vec vec_load_half(const uint16_t *x) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
}
static inline vec vec_load_brain(const uint16_t *x) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x), 16));
}
static inline void vec_store(float *to, vec x) {
    vst1q_f32(to, x);
}
static inline void vec_store_half(uint16_t *to, vec x) {
    vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
static inline void vec_store_first(float *to, vec x) {
    *to = vgetq_lane_f32(x, 0);
}
static inline vec vec_add(vec x, vec y) {
    return vaddq_f32(x, y);
}
static inline vec vec_sub(vec x, vec y) {
    return vsubq_f32(x, y);
}
static inline vec vec_mul(vec x, vec y) {
    return vmulq_f32(x, y);
}
static inline vec vec_fma(vec x, vec y, vec z) {
    return vfmaq_f32(z, x, y);
}
/* x > y ? x : y; ARM's own maximum would be NaN where one of them is */
static inline vec vec_max(vec x, vec y) {
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
/* the largest lane, in every lane */
static inline vec vec_most(vec x) {
    return vdupq_n_f32(vmaxvq_f32(x));
}
/* y * 2^n, n in the low bits of t */
static inline vec vec_times_power(vec y, vec t) {
    int32x4_t power = vshlq_n_s32(vreinterpretq_s32_f32(t), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(y), power));
}
/* x < limit ? 0 : y */
static inline vec vec_zero_below(vec x, float limit, vec y) {
    uint32x4_t is_below = vcltq_f32(x, vdupq_n_f32(limit));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), is_below));
}
static inline float half_float(const uint16_t *x) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(x))), 0);
}

#include "attend.h"
#include "floats.h"
#include "loops.h"

#define AT_ONCE 8 /* columns */
typedef uint8x16_t ivec;

/* Into the second level: the first one can wait for too few lines at a time to keep memory busy. */
INLINE void fetch(uintptr_t address) {
    __builtin_prefetch((const void *)address, 0, 2);
}
INLINE ivec ivec_all(int x) {
    return vreinterpretq_u8_s32(vdupq_n_s32(x));
}
INLINE ivec ivec_load(const void *p) {
    return vld1q_u8(p);
}
INLINE vec vec_load_i8(const int8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    int16x8_t words = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
}
INLINE vec vec_load_u8(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)));
}
INLINE ivec ivec_and(ivec x, int byte) {
    return vandq_u8(x, vdupq_n_u8((uint8_t)byte));
}
INLINE ivec ivec_or(ivec x, ivec y) {
    return vorrq_u8(x, y);
}
/* of bytes */
INLINE ivec ivec_shift_right(ivec x, int n) {
    return x >> n;
}
INLINE ivec ivec_shift_left(ivec x, int n) {
    return x << n;
}
INLINE ivec ivec_max(ivec x, ivec y) {
    return vreinterpretq_u8_u32(vmaxq_u32(vreinterpretq_u32_u8(x), vreinterpretq_u32_u8(y)));
}
INLINE uint32_t ivec_most(ivec x) {
    return vmaxvq_u32(vreinterpretq_u32_u8(x));
}
/* the bits of |x| */
INLINE ivec ivec_size(vec x) {
    return vreinterpretq_u8_f32(vabsq_f32(x));
}
INLINE vec vec_from_int(ivec x) {
    return vcvtq_f32_s32(vreinterpretq_s32_u8(x));
}
/* Rounds to even and stores as bytes; their sum. */
INLINE int32_t store_rounded(int8_t *to, vec x) {
    int32x4_t q = vcvtnq_s32_f32(x);
    int16x4_t words = vmovn_s32(q);
    int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    memcpy(to, &four, sizeof four);
    return vaddvq_s32(q);
}
