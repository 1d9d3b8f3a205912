/* test_maths.c - our functions against those of the C library, and the bits of all of them, which
 * are the same on every machine. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "kernels/functions.h"
#include "maths.h"

/* What the definitions give, on whatever machine. */
static const uint64_t BITS = 0xd31bd496bc259322;
static double error;

static void compare(double got, double expected, double unit) {
    error = fmax(error, fabs(got - expected) / unit);
}

/* The largest error so far is below most; begin anew. */
static void check_error(double most) {
    CHECK(error < most);
    error = 0;
}

static void test_functions(void) {
    for (double x = -690; x < 690; x += 0.0173) compare(maths_exp(x), exp(x), exp(x));
    CHECK(maths_exp(0) == 1);
    check_error(1e-15);
    for (double x = 1e-12; x < 1e12; x *= 1.00173) {
        compare(maths_log(x), log(x), fmax(fabs(log(x)), 1e-3));
        compare(maths_log10(x), log10(x), fmax(fabs(log10(x)), 1e-3));
    }
    CHECK(maths_log(1) == 0);
    check_error(2e-15);
    for (int j = 0; j < 64; j++)
        compare(maths_power(1e6, -j / 64.0), pow(1e6, -j / 64.0), pow(1e6, -j / 64.0));
    check_error(4e-15);
    for (double x = -3.999; x < 4; x += 0.0001) compare(maths_erf(x), erf(x), 1);
    check_error(1e-12);
    for (double x = 4; x < 40; x += 0.01) {
        CHECK(maths_erf(x) == 1 && maths_erf(-x) == -1);
        compare(maths_erf(x), erf(x), 1);
    }
    check_error(2e-8);
}

static void test_angles(void) {
    for (double x = 0; x < 6.2831; x += 0.0001) {
        compare(maths_sin(maths_turn(x)), sin(x), 1);
        compare(maths_cos(maths_turn(x)), cos(x), 1);
    }
    check_error(1e-15);
    CHECK(maths_cos(0) == 1 && maths_sin(0) == 0);
    CHECK(maths_sin((turns)1 << 62) == 1 && maths_cos((turns)1 << 63) == -1);
    /* Far out: a multiple of a whole number of turns away nothing is lost. */
    turns step = maths_turn(0.001);
    for (uint64_t n = 1; n < (uint64_t)1 << 42; n *= 3) {
        double whole = ldexp((double)(n * step), -64);
        compare(maths_cos(n * step), cos(2 * 3.14159265358979323846 * whole), 1);
    }
    check_error(1e-15);
}

static float as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounded once: numbers of all sizes, sums that nearly cancel or lie by a tie, and what is not
 * finite. */
static void test_fused(void) {
    static const float special[] = {
        0,        -0.0f,    1,         -1,       0x1p-149f, 0x1p-126f,
        FLT_MAX,  INFINITY, -INFINITY, NAN,      0x1p-75f,  0x1.000002p0f,
        0x1p-23f, 0x1p-24f, 0x1p-25f,  0x1p-48f, 3,         0x1.fffffep-1f};
    enum { N_SPECIAL = sizeof special / sizeof *special };
    uint32_t seed = 1, bits[3];
    for (int i = 0; i < 2000000; i++) {
        for (int j = 0; j < 3; j++) bits[j] = seed = seed * 1664525u + 1013904223u;
        float x = as_float(bits[0]), y = as_float(bits[1]), z = as_float(bits[2]);
        if (i % 4 == 1) z = -(x * y) * as_float(0x3f800000u + bits[2] % 3);
        if (i % 4 == 2) y = as_float((bits[1] & 0x807fffffu) | (0x7fu << 23)), z = x * 0x1p24f;
        if (i < N_SPECIAL * N_SPECIAL * N_SPECIAL) {
            x = special[i % N_SPECIAL];
            y = special[i / N_SPECIAL % N_SPECIAL];
            z = special[i / N_SPECIAL / N_SPECIAL];
        }
        float got = fused(x, y, z), expected = fmaf(x, y, z);
        CHECK(isnan(expected) ? isnan(got) : memcmp(&got, &expected, sizeof got) == 0);
    }
}

static void test_many(const kernels *table) {
    enum { N = 4001 };
    static float x[N], by[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) / 100;
        by[i] = (float)(i % 7) - 3;
    }
    table->gelu(x, N, y);
    for (int i = 0; i < N; i++)
        compare(y[i], 0.5 * x[i] * (1 + erf(x[i] / sqrt(2))), fmax(1, fabs((double)x[i])));
    check_error(1e-7);
    CHECK(y[0] == 0); /* nothing is left far below zero */
    table->swiglu(x, by, N, y);
    for (int i = 0; i < N; i++) {
        double silu = x[i] / (1 + exp(-(double)x[i]));
        compare(y[i], silu * by[i], fmax(1, fabs(silu * by[i])));
    }
    check_error(5e-7);
    for (int n = 1; n < 40; n += 3) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += (double)x[i] * x[i];
        table->rms_norm(x, by, 1e-5f, n, y);
        for (int i = 0; i < n; i++) compare(y[i], x[i] / sqrt(sum / n + 1e-5) * by[i], 1);
    }
    check_error(2e-6);
    x[1] = NAN;
    table->gelu(x, 2, y);
    CHECK(isnan(y[1]));
    table->swiglu(x, by, 2, y);
    CHECK(isnan(y[1]));
}

int main(void) {
    test_functions();
    test_angles();
    test_fused();
    for (int i = 0; kernels_at(i); i++) {
        test_many(kernels_at(i));
        uint64_t bits = bits_fingerprint(kernels_at(i));
        if (bits != BITS)
            fprintf(stderr, "%s: 0x%llx\n", kernels_at(i)->name, (unsigned long long)bits);
        CHECK(bits == BITS);
    }
    return 0;
}
