/* neon.c - the kernels for ARM of 64 bits, every processor of which has these vectors. */
#include "neon.h"

/* start + the products of n vectors of numbers, none above most, with 4 n inputs; for numbers of 8
 * bits start is not needed, as they are made signed. Products are 16 bits: as many are added before
 * they are widened as cannot overflow. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    const int few = most == 15 || most == 31 ? 8 : most == 63 ? 4 : 2;
    int32x4_t sum = most == 255 ? vdupq_n_s32(0) : vreinterpretq_s32_u8(start);
    for (int j = 0; j < n; j += few) {
        int16x8_t low = vdupq_n_s16(0), high = low; /* rows 0 and 1, 2 and 3, of four lanes each */
        for (int i = j; i < j + few && i < n; i++) {
            int32_t four;
            memcpy(&four, q + 4 * i, sizeof four);
            int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(four));
            ivec bytes = most == 255 ? veorq_u8(v[i], vdupq_n_u8(0x80)) : v[i];
            int8x16_t w = vreinterpretq_s8_u8(bytes);
            low = i == j ? vmull_s8(vget_low_s8(w), vget_low_s8(a))
                         : vmlal_s8(low, vget_low_s8(w), vget_low_s8(a));
            high = i == j ? vmull_high_s8(w, a) : vmlal_high_s8(high, w, a);
        }
        sum = vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
    }
    return vreinterpretq_u8_s32(sum);
}

#include "product.h"

const kernels kernels_neon = {"neon",         attend,        narrow, quantise,
                              matrix_product, float_product, LOOPS};
