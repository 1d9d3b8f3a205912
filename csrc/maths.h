/* maths.h - the functions of the C library that compute, in our own words: so that every machine
 * and every library gives the same bits.
 *
 * Each is a fixed sequence of IEEE additions, multiplications and divisions, none of them fused.
 * All but gelu are in double precision, with errors of a few units in its last place, and what is
 * made of them is rounded to float once. No ggml header.
 */
#ifndef VOXTRAL_MATHS_H
#define VOXTRAL_MATHS_H

#include <stdint.h>

/* x between -700 and 700 */
double maths_exp(double x);
/* x > 0 and normal */
double maths_log(double x);
double maths_log10(double x);
/* base^x, base > 0 */
double maths_power(double base, double x);
/* Within 1e-12 where |x| < 4, and within 2e-8 elsewhere. */
double maths_erf(double x);

/* Angles as fractions of a turn, in units of 2^-64 turns: their sums and whole multiples wrap
 * around and are exact, so that they are as good at position 2^40 as at 0. */
typedef uint64_t turns;

/* radians from 0 to below 2 pi */
turns maths_turn(double radians);
double maths_cos(turns angle);
double maths_sin(turns angle);

/* y[i] = x[i] / 2 * (1 + erf(x[i] / sqrt(2))), in double precision, rounded once. x may be y. */
void maths_gelu(const float *x, int64_t n, float *y);
/* y[i] = silu(x[i]) * by[i]; silu(x) = x / (1 + e) where x >= 0, else x e / (1 + e), with e =
 * exp(-|x|) of kernels.h. y may be x. */
void maths_swiglu(const float *x, const float *by, int64_t n, float *y);
/* y[i] = x[i] * scale * weight[i], scale = 1 / sqrt(sum of x[i]^2 / n + eps): squares in float,
 * eight sums in double of every eighth, added from left to right. */
void maths_rms_norm(const float *x, const float *weight, float eps, int n, float *y);

#endif
