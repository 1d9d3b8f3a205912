/* loops.h - what kernels.h has of loops over neighbouring numbers, in plain C, included by the file
 * of each instruction set, which defines exps first: whose vectors these become is the compiler's
 * affair, which may change no bit. */
#include "functions.h"

enum { EXPS = 64 }; /* exponentials at a time */

/* The first m of e become exp_neg of what they are. */
static inline void exps_of(float e[EXPS], int m) {
    for (int i = m; i < EXPS; i++) e[i] = 0;
    exps(e, EXPS);
}

static void gelu(const float *x, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(0.5 * x[i] * (1 + erf_of(x[i] * 0.7071067811865476)));
}

static void swiglu(const float *x, const float *by, int64_t n, float *y) {
    for (; n > 0; n -= EXPS, x += EXPS, by += EXPS, y += EXPS) {
        int m = n < EXPS ? (int)n : EXPS;
        float e[EXPS];
        for (int i = 0; i < m; i++) e[i] = -fabsf(x[i]);
        exps_of(e, m);
        for (int i = 0; i < m; i++) y[i] = (x[i] < 0 ? x[i] * e[i] : x[i]) / (1 + e[i]) * by[i];
    }
}

static void rms_norm(const float *x, const float *weight, float eps, int n, float *y) {
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

static void rotate(const float *x, const float *turn, int n, float *y) {
    for (int i = 0; i < n; i += 2) {
        float c = turn[i], s = turn[i + 1];
        float x0 = x[i], x1 = x[i + 1];
        y[i] = fused(x0, c, -(x1 * s));
        y[i + 1] = fused(x1, c, x0 * s);
    }
}

static void add(const float *x, const float *by, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] + by[i];
}

/* The last ones may be made twice. A loop that is unrolled first does not become vectors. */
static void double_sums(const double *a, const double *x, size_t stride, int n, int n_sums,
                        double *y) {
    for (int k = 0; k < n_sums; k += SUMS_AT_ONCE) {
        if (k > n_sums - SUMS_AT_ONCE) k = n_sums - SUMS_AT_ONCE;
        double sum[SUMS_AT_ONCE] = {0};
        for (int i = 0; i < n; i++)
#pragma GCC unroll 1
            for (int j = 0; j < SUMS_AT_ONCE; j++) sum[j] += a[i] * x[(size_t)i * stride + k + j];
        memcpy(y + k, sum, sizeof sum);
    }
}

static double exp_sum(const float *x, int n, float most) {
    double sum = 0;
    for (; n > 0; n -= EXPS, x += EXPS) {
        int m = n < EXPS ? n : EXPS;
        float e[EXPS];
        for (int i = 0; i < m; i++) e[i] = x[i] - most;
        exps_of(e, m);
        for (int i = 0; i < m; i++) sum += e[i];
    }
    return sum;
}

#define LOOPS gelu, swiglu, rms_norm, rotate, add, double_sums, exp_sum
