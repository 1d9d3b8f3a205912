/* maths.c - see maths.h. Series are cut where the next term is below the last place. */
#include "maths.h"

#include <math.h>

#include "kernels/functions.h"

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
