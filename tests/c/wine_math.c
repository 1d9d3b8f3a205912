/* wine_math.c - what numpy asks of C's library for Windows when it is imported, and wine 8 has not.
 *
 * scripts/windows makes a library of it that passes all else on to wine's. Complex numbers come and
 * go as structures do: in a register if they have 8 bytes, by their address if they have 16.
 */
typedef struct {
    float re, im;
} complex_float;
typedef struct {
    double re, im;
} complex_double;

double atan2(double y, double x);
double hypot(double x, double y);

float crealf(complex_float z) {
    return z.re;
}

float cimagf(complex_float z) {
    return z.im;
}

float cabsf(complex_float z) {
    return (float)hypot(z.re, z.im);
}

float cargf(complex_float z) {
    return (float)atan2(z.im, z.re);
}

double creal(complex_double z) {
    return z.re;
}

double cimag(complex_double z) {
    return z.im;
}

double cabs(complex_double z) {
    return hypot(z.re, z.im);
}

double carg(complex_double z) {
    return atan2(z.im, z.re);
}
