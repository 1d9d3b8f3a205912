/* exp.h - exp(x) for x <= 0 in plain C, as kernels.h defines it. */
#ifndef VOXTRAL_EXP_H
#define VOXTRAL_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

static inline float exp_neg(float x) {
    float t = fmaf(x, EXP_LOG2E, EXP_ROUND), n = t - EXP_ROUND;
    float f = fmaf(n, -EXP_LN2_LOW, fmaf(n, -EXP_LN2_HIGH, x));
    float p = fmaf(fmaf(fmaf(fmaf(EXP_C6, f, EXP_C5), f, EXP_C4), f, EXP_C3), f, EXP_C2);
    float y = fmaf(p, f * f, f) + 1;
    uint32_t bits, power;
    memcpy(&bits, &y, sizeof bits);
    memcpy(&power, &t, sizeof power);
    bits += power << 23;
    memcpy(&y, &bits, sizeof y);
    return x < EXP_MIN ? 0 : y;
}

#endif
