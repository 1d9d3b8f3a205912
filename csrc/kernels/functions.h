/* functions.h - fma, exp and erf in plain C, as kernels.h defines them. */
#ifndef VOXTRAL_FUNCTIONS_H
#define VOXTRAL_FUNCTIONS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#if defined(__FMA__) || defined(__FP_FAST_FMAF)
static inline float fused(float x, float y, float z) {
    return __builtin_fmaf(x, y, z);
}
#else
/* x * y + z, rounded once, for processors that cannot, and for C libraries that do it wrong. As
 * doubles the product is exact. The sum is rounded to odd: its last place says that something was
 * cut off, so that rounding it again, to float, goes where rounding once would have gone. */
static inline float fused(float x, float y, float z) {
    double product = (double)x * y, sum = product + z, most = sum - product;
    double error = (product - (sum - most)) + (z - most);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    int is_cut = error > 0 || error < 0; /* neither where the sum is not finite */
    if (is_cut && !(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : -(uint64_t)1;
    memcpy(&sum, &bits, sizeof sum);
    return (float)sum;
}
#endif

static inline float exp_neg(float x) {
    float t = fused(x, EXP_LOG2E, EXP_ROUND), n = t - EXP_ROUND;
    float f = fused(n, -EXP_LN2_LOW, fused(n, -EXP_LN2_HIGH, x));
    float p = fused(fused(fused(fused(EXP_C6, f, EXP_C5), f, EXP_C4), f, EXP_C3), f, EXP_C2);
    float y = fused(p, f * f, f) + 1;
    uint32_t bits, power;
    memcpy(&bits, &y, sizeof bits);
    memcpy(&power, &t, sizeof power);
    bits += power << 23;
    memcpy(&y, &bits, sizeof y);
    return x < EXP_MIN ? 0 : y;
}

/* erf(x) / x as a polynomial in x^2 / 8 - 1, fitted for 0 to 4; beyond, it is 1 in float precision.
 */
static inline double erf_of(double x) {
    static const double c[] = {
        0x1.99a31ca6c443bp-20,  -0x1.33f8042ef13fap-18, 0x1.464f69033a683p-18,
        -0x1.a780891e083bap-17, 0x1.abe31c04bbedap-15,  -0x1.0957e7f8b1c15p-13,
        0x1.1da9426a9c680p-12,  -0x1.3d1a0dd208f21p-11, 0x1.536063afaf321p-10,
        -0x1.5291189ef773cp-9,  0x1.3e06af3cc7c8cp-8,   -0x1.19f27a35b42b8p-7,
        0x1.d6372d803278fp-7,   -0x1.7036ee3f39509p-6,  0x1.0ed515229e321p-5,
        -0x1.76e83ec47b201p-5,  0x1.ea97f3aeeaabcp-5,   -0x1.3215da4d7d702p-4,
        0x1.717efc67c9b7ep-4,   -0x1.b92e95b1df0e3p-4,  0x1.0dabaf064066ap-3,
        -0x1.69a0ccda54e4fp-3,  0x1.6a040781a485cp-2,
    };
    double size = fabs(x), u = size * size / 8 - 1, y = c[0];
#pragma GCC unroll 32
    for (int i = 1; i < (int)(sizeof c / sizeof *c); i++) y = y * u + c[i];
    return copysign(size < 4 ? size * y : 1, x);
}

#endif
