/* kernels.h - the inner loops that are written once per instruction set, and the choice among them.
 *
 * A table of functions per instruction set: portable C, which defines the results, and vector code
 * that gives the same bits. The choice is made at run time by the processor's features; each file
 * is compiled with its own options, and all else for the first processors of its kind. No ggml
 * header.
 *
 * Same bits everywhere means: the order of float operations on each number is written down here and
 * depends on neither the width of a vector nor on what is computed beside it, products and sums are
 * fused where fmaf() stands and nowhere else, and exp() is ours.
 */
#ifndef VOXTRAL_KERNELS_H
#define VOXTRAL_KERNELS_H

#include "matrix.h"

/* Keys in a page (KV_PAGE); partial sums; numbers of a head, at most. */
enum { ATTEND_PAGE = 64, ATTEND_LANES = 16, MAX_HEAD_DIM = 1024 };

/* One query on its way over the pages of its window. Before the first page: out and sum 0, max
 * -FLT_MAX; after the last: result[d] = out[d] / (sum[0] + sum[1] + ...). */
typedef struct {
    const float *q;          /* [head_dim] */
    float *out;              /* [head_dim] sum of exp(score - max) * value */
    float max;               /* largest score */
    int first, last;         /* keys of this page it sees: first .. last - 1; none if equal */
    float sum[ATTEND_LANES]; /* of exp(score - max); key i adds to sum[i % ATTEND_LANES] */
} attend_query;

/* Keys and values of one head in one page, floats or IEEE halves. Numbers outside the window of
 * every query may be anything; those inside one query's window must be finite. */
typedef struct {
    const void *keys;                    /* [head_dim][ATTEND_PAGE] */
    const void *values;                  /* [ATTEND_PAGE][head_dim] */
    const void *next_keys, *next_values; /* of the page that comes next, to be fetched ahead */
    int is_half, head_dim;
    float scale; /* score = scale * (q . key) */
} attend_page;

/* A matrix that is not quantised: rows [n_rows][n_columns], as numbers lie in memory. BRAINS are
 * the upper halves of floats. */
typedef enum { FLOATS, HALVES, BRAINS } float_type;
enum { FLOAT_SUMS = 16, SUMS_AT_ONCE = 8 };
typedef struct {
    const void *rows;
    float_type type;
    int n_columns;
} float_matrix;

typedef struct {
    const char *name;
    /* Let n queries see one page. Per query:
     *   score[i] = scale * s, s = fmaf(q[d], keys[d][i], s) for d = 0, 1, ...
     *   max = largest of max and score[first .. last - 1]; keep = exp(old max - max)
     *   p[i] = exp(score[i] - max) for seen keys, else 0
     *   sum[j] = fmaf(sum[j], keep, p[j] + p[j + 16] + p[j + 32] + p[j + 48]), from left to right
     *   out[d] = fmaf(out[d], keep, v), v = fmaf(p[i], values[i][d], v) for i = first, first + 1,
     * ... The sign of a zero in out is not defined. */
    void (*attend)(const attend_page *page, attend_query *queries, int n);
    /* y[i] = x[i] as an IEEE half: the nearest, of two the even one. */
    void (*narrow)(const float *x, int n, uint16_t *y);
    /* n_columns columns x[c * stride + i] as tiles of matrix.h, blocks [first, last) of n_blocks.
     * Per column and block: largest = max |x|; scale = largest / 127; q = x * (127 / largest),
     * rounded to even A block below TINY is zero; one with a NaN or an infinity has scale NaN, so
     * that this reaches the result. */
    void (*quantise)(const float *x, size_t stride, int n_columns, int n_blocks, int first,
                     int last, void *tiles);
    /* y[c * stride + r] = row r of m times column c, for the rows of groups [first, last). Per
     * number, over the blocks in order, s the column's scale, sums in integers:
     *   q4_0, q8_0: y = fmaf(d * s, float(sum of q (v - 8 or 128)), y)
     *   q4_k, q5_k: y = fmaf(d * scale * s, float(sum of q v), y), then
     *               y = fmaf(dmin / 8 * minimum, s * float(-8 sum of q), y)
     *   q6_k: y = fmaf(d * s, float(both halves' scale * sum of q (v - 32)), y); the number in
     *         float() is below 2^24, so that floats may sum the halves up */
    void (*product)(const packed_matrix *m, int first, int last, const void *tiles, int n_columns,
                    float *y, size_t stride);
    /* y[c * stride + r] = row r of m times x[c * x_stride ...], for rows [first, last). Per number:
     * s[j] = fmaf(w[16 b + j], x[16 b + j], s[j]) for b = 0, 1, ..., zeros past the end; then s[j]
     * += s[j + 8], with 4, with 2, with 1. */
    void (*float_product)(const float_matrix *m, int first, int last, const float *x,
                          size_t x_stride, int n_columns, float *y, size_t stride);
    /* The rest is plain C, compiled once per instruction set: LOOPS of loops.h.
     * y[i] = x[i] / 2 * (1 + erf(x[i] / sqrt(2))), in double precision, rounded once. x may be y.
     */
    void (*gelu)(const float *x, int64_t n, float *y);
    /* y[i] = silu(x[i]) * by[i]; silu(x) = x / (1 + e) where x >= 0, else x e / (1 + e), with e =
     * exp(-|x|). y may be x. */
    void (*swiglu)(const float *x, const float *by, int64_t n, float *y);
    /* y[i] = x[i] * scale * weight[i], scale = 1 / sqrt(sum of x[i]^2 / n + eps): squares in float,
     * eight sums in double of every eighth, added from left to right. */
    void (*rms_norm)(const float *x, const float *weight, float eps, int n, float *y);
    /* Turn the n / 2 pairs (x[i], x[i + 1]) by angles of cosine turn[i] and sine turn[i + 1]:
     * y[i] = fmaf(x[i], cosine, -(x[i + 1] * sine)), y[i + 1] = fmaf(x[i + 1], cosine, x[i] *
     * sine), fused because compilers have been seen to fuse this pattern unasked. */
    void (*rotate)(const float *x, const float *turn, int n, float *y);
    /* y[i] = x[i] + by[i] */
    void (*add)(const float *x, const float *by, int64_t n, float *y);
    /* y[k] = a[0] * x[k] + a[1] * x[stride + k] + ..., n products added from left to right, for k
     * from 0 to n_sums - 1; n_sums is at least SUMS_AT_ONCE. */
    void (*double_sums)(const double *a, const double *x, size_t stride, int n, int n_sums,
                        double *y);
    /* exp(x[0] - most) + exp(x[1] - most) + ..., in double precision from left to right */
    double (*exp_sum)(const float *x, int n, float most);
} kernels;

#define TINY 0x1p-100f

/* The i-th table this processor can run, portable first and best last; NULL past the last. */
const kernels *kernels_at(int i);
const kernels *kernels_best(void);

extern const kernels kernels_portable;
#if defined(__x86_64__)
extern const kernels kernels_sse41, kernels_avx2, kernels_avx_vnni, kernels_avx512, kernels_amx;
#elif defined(__aarch64__)
extern const kernels kernels_neon, kernels_neon_dotprod, kernels_neon_i8mm;
#elif defined(__wasm__)
extern const kernels kernels_wasm, kernels_wasm_relaxed;
int kernels_wasm_is_fused(void); /* whether relaxed sums of products are rounded once */
#endif

/* exp(x) for x <= 0: 2^n * e^f with x = n ln 2 + f and e^f = 1 + f + f^2 (C2 + C3 f + ... + C6
 * f^4), fitted to 4e-9 on |f| <= ln 2 / 2. Within 1.5 units in the last place; 0 below EXP_MIN,
 * where the result would no longer be a normal number; exp(0) is 1. EXP_ROUND rounds to an integer
 * and leaves it in the low bits. */
#define EXP_MIN (-87.0f)
#define EXP_ROUND 0x1.8p23f
#define EXP_LOG2E 0x1.715476p0f
#define EXP_LN2_HIGH 0x1.62e4p-1f /* few bits, so that n times it is exact */
#define EXP_LN2_LOW 0x1.7f7d1cp-20f
#define EXP_C2 0x1.fffffcp-2f
#define EXP_C3 0x1.555492p-3f
#define EXP_C4 0x1.5558f2p-5f
#define EXP_C5 0x1.123a2p-7f
#define EXP_C6 0x1.6a23cep-10f

#endif
