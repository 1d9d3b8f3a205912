/* maths.h - the functions of the C library that compute, in our own words: so that every machine
 * and every library gives the same bits.
 *
 * Each is a fixed sequence of IEEE additions, multiplications and divisions in double precision,
 * none of them fused, with errors of a few units in its last place. Those that run over many
 * numbers are in kernels.h. No ggml header.
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

#endif
