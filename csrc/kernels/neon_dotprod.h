/* neon_dotprod.h - ARM's dot products of bytes, for the files of the instruction sets that have
 * them. */
#include "neon.h"

/* start + the products of n vectors of numbers, none above most, with 4 n inputs; for numbers of 8
 * bits start is not needed, as they are made signed. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    int32x4_t sum = most == 255 ? vdupq_n_s32(0) : vreinterpretq_s32_u8(start);
    for (int j = 0; j < n; j += 4) {
        int8x16_t a = vld1q_s8(q + 4 * j), w[4];
        for (int i = 0; i < 4; i++)
            w[i] =
                vreinterpretq_s8_u8(most == 255 ? veorq_u8(v[j + i], vdupq_n_u8(0x80)) : v[j + i]);
        sum = vdotq_laneq_s32(sum, w[0], a, 0);
        sum = vdotq_laneq_s32(sum, w[1], a, 1);
        sum = vdotq_laneq_s32(sum, w[2], a, 2);
        sum = vdotq_laneq_s32(sum, w[3], a, 3);
    }
    return vreinterpretq_u8_s32(sum);
}
