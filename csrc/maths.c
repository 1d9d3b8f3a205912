/* maths.c - see maths.h. Series are cut where the next term is below the last place. */
#include "maths.h"

#include <math.h>
#include <string.h>

#include "kernels/exp.h"

static const double LN2_HIGH = 0x1.62e42fefp-1; /* few bits, so that n times it is exact */
static const double LN2_LOW = 0x1.473de6af278edp-34;
static const double TWO_PI = 6.283185307179586;

double maths_exp(double x) {
    double n = floor(x / (LN2_HIGH + LN2_LOW) + 0.5);
    double r = x - n * LN2_HIGH - n * LN2_LOW, y = 1;
    for (int k = 15; k > 0; k--) y = 1 + r / k * y;
    return ldexp(y, (int)n);
}

/* With m between sqrt(1/2) and sqrt(2), log m = 2 (s + s^3 / 3 + s^5 / 5 + ...), s = (m - 1) / (m +
 * 1) at most 0.172. */
double maths_log(double x) {
    int n;
    double m = frexp(x, &n);
    if (m < 0.7071067811865476) {
        m *= 2;
        n--;
    }
    double s = (m - 1) / (m + 1), sum = 0;
    for (int k = 23; k > 0; k -= 2) sum = sum * s * s + 1.0 / k;
    return n * LN2_HIGH + (n * LN2_LOW + 2 * s * sum);
}

double maths_log10(double x) {
    return maths_log(x) / 2.302585092994046;
}

double maths_power(double base, double x) {
    return maths_exp(x * maths_log(base));
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

double maths_erf(double x) {
    return erf_of(x);
}

/* ---- angles --------------------------------------------------------------------------------- */

turns maths_turn(double radians) {
    return (turns)ldexp(radians / TWO_PI, 64);
}

/* The angle as a number of quarter turns and a rest of at most an eighth of a turn, in radians. */
static double rest(turns angle, int *quarter) {
    turns q = (angle + ((turns)1 << 61)) >> 62;
    *quarter = (int)(q & 3);
    return (double)(int64_t)(angle - (q << 62)) * ldexp(TWO_PI, -64);
}

static double sin_small(double x) {
    double y = 1;
    for (int k = 18; k > 0; k -= 2) y = 1 - x * x / (k * (k + 1)) * y;
    return x * y;
}

static double cos_small(double x) {
    double y = 1;
    for (int k = 17; k > 0; k -= 2) y = 1 - x * x / (k * (k + 1)) * y;
    return y;
}

double maths_sin(turns angle) {
    int quarter;
    double x = rest(angle, &quarter), y = quarter & 1 ? cos_small(x) : sin_small(x);
    return quarter & 2 ? -y : y;
}

double maths_cos(turns angle) {
    return maths_sin(angle + ((turns)1 << 62));
}

/* ---- over many numbers ---------------------------------------------------------------------- */

void maths_gelu(const float *x, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(0.5 * x[i] * (1 + erf_of(x[i] * 0.7071067811865476)));
}

void maths_swiglu(const float *x, const float *by, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) {
        float e = exp_neg(-fabsf(x[i]));
        y[i] = (x[i] < 0 ? x[i] * e : x[i]) / (1 + e) * by[i];
    }
}

void maths_rms_norm(const float *x, const float *weight, float eps, int n, float *y) {
    enum { SUMS = 8 };
    double sum[SUMS] = {0};
    int i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int j = 0; j < SUMS; j++) sum[j] += x[i + j] * x[i + j];
    for (int j = 0; i + j < n; j++) sum[j] += x[i + j] * x[i + j];
    for (int j = 1; j < SUMS; j++) sum[0] += sum[j];
    float scale = 1 / sqrtf((float)(sum[0] / n) + eps);
    for (i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}
