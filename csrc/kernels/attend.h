/* attend.h - attention over one page in vectors, included by the file of each instruction set.
 *
 * That file defines vec (LANES floats) and the functions vec_* below, and TILE: how many vectors of
 * a row are in work at a time. ROWS queries share each key and value that is loaded: ROWS * TILE
 * sums, TILE operands and one multiplier fit the registers. Both products, scores and values, are
 * the same one: rows a[k] times a matrix b[k][column], summed over k in order, columns side by side
 * in vectors, so no sum ever crosses lanes.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 4 };

INLINE vec vec_exp(vec x) {
    vec t = vec_fma(x, vec_all(EXP_LOG2E), vec_all(EXP_ROUND));
    vec n = vec_sub(t, vec_all(EXP_ROUND));
    vec f = vec_fma(n, vec_all(-EXP_LN2_LOW), vec_fma(n, vec_all(-EXP_LN2_HIGH), x));
    vec p = vec_fma(vec_all(EXP_C6), f, vec_all(EXP_C5));
    p = vec_fma(p, f, vec_all(EXP_C4));
    p = vec_fma(p, f, vec_all(EXP_C3));
    p = vec_fma(p, f, vec_all(EXP_C2));
    vec y = vec_add(vec_fma(p, vec_mul(f, f), f), vec_all(1));
    return vec_zero_below(x, EXP_MIN, vec_times_power(y, t));
}

/* exp_neg of each of n numbers, a multiple of LANES */
INLINE void exps(float *x, int n) {
    for (int i = 0; i < n; i += LANES) vec_store(x + i, vec_exp(vec_load(x + i)));
}

/* One of the products of a page. What the next page needs is fetched meanwhile, evenly. */
typedef struct {
    const float *a[ROWS]; /* [last] each */
    const char *b;
    ptrdiff_t stride; /* bytes of b from one k to the next */
    int first, last;  /* k */
    uintptr_t ahead;  /* an address, which may pass the end of what it is about */
    int step;         /* bytes to fetch per k */
} product;

/* y[r][j] = LANES sums of row r, of the columns at b + offset + j vectors. */
INLINE void multiply(product *x, ptrdiff_t offset, const int rows, const int tile,
                     const int is_half, vec y[ROWS][TILE]) {
    const float *a[ROWS];
    const char *b = x->b + offset;
    uintptr_t ahead = x->ahead;
    for (int r = 0; r < rows; r++) {
        a[r] = x->a[r];
        for (int j = 0; j < tile; j++) y[r][j] = vec_all(0);
    }
    for (int k = x->first; k < x->last; k++) {
        const char *row = b + k * x->stride;
        vec v[TILE];
        for (int j = 0; j < tile; j++)
            v[j] = is_half ? vec_load_half((const uint16_t *)row + j * LANES)
                           : vec_load((const float *)row + j * LANES);
        for (int i = 0; i < x->step; i += LINE)
            __builtin_prefetch((const char *)(ahead + (uintptr_t)i), 0, 2);
        ahead += (uintptr_t)x->step;
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < tile; j++) y[r][j] = vec_fma(vec_all(a[r][k]), v[j], y[r][j]);
    }
    x->ahead = ahead;
}

/* s [ATTEND_PAGE]: scores in, weights out. keep: what each query's sums so far are to be multiplied
 * by, in every lane. Step by step over all rows: each step waits for the one before. */
INLINE void weigh(attend_query *q, float scale, const int rows, float s[ROWS][ATTEND_PAGE],
                  vec *keep) {
    const int n = ATTEND_PAGE / LANES, step = ATTEND_LANES / LANES;
    vec most[ROWS];
    for (int r = 0; r < rows; r++) {
        most[r] = vec_all(-INFINITY);
        for (int j = 0; j < n; j++) {
            vec x = vec_mul(vec_all(scale), vec_load(s[r] + j * LANES));
            vec_store(s[r] + j * LANES, x);
            most[r] = vec_max(x, most[r]);
        }
    }
    for (int r = 0; r < rows; r++) {
        if (q[r].last - q[r].first == ATTEND_PAGE) continue;
        for (int i = 0; i < q[r].first; i++) s[r][i] = -INFINITY;
        for (int i = q[r].last; i < ATTEND_PAGE; i++) s[r][i] = -INFINITY;
        most[r] = vec_all(-INFINITY);
        for (int j = 0; j < n; j++) most[r] = vec_max(vec_load(s[r] + j * LANES), most[r]);
    }
    for (int r = 0; r < rows; r++) {
        vec old = vec_all(q[r].max);
        most[r] = vec_most(vec_max(most[r], old));
        keep[r] = vec_exp(vec_sub(old, most[r]));
        vec_store_first(&q[r].max, most[r]);
    }
    for (int r = 0; r < rows; r++) {
        vec p[ATTEND_PAGE / LANES];
        for (int j = 0; j < n; j++) {
            p[j] = vec_exp(vec_sub(vec_load(s[r] + j * LANES), most[r]));
            vec_store(s[r] + j * LANES, p[j]);
        }
        for (int j = 0; j < step; j++) {
            for (int i = j + step; i < n; i += step) p[j] = vec_add(p[j], p[i]);
            float *to = q[r].sum + j * LANES;
            vec_store(to, vec_fma(vec_load(to), keep[r], p[j]));
        }
    }
}

/* out = out * keep + the sums of columns c .. c + tile * LANES - 1. */
INLINE void add_values(product *x, attend_query *q, const vec *keep, int c, const int rows,
                       const int tile, const int is_half) {
    vec y[ROWS][TILE];
    multiply(x, c * (is_half ? 2 : 4), rows, tile, is_half, y);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < tile; j++) {
            float *to = q[r].out + c + j * LANES;
            vec_store(to, vec_fma(vec_load(to), keep[r], y[r][j]));
        }
}

/* part: which group of rows this is; the first n_parts fetch a part of the next page each. */
INLINE void attend_rows(const attend_page *page, attend_query *q, int part, int n_parts,
                        const int rows, const int is_half) {
    const int size = is_half ? 2 : 4;
    int dim = page->head_dim, first = ATTEND_PAGE, last = 0;
    for (int r = 0; r < rows; r++)
        if (q[r].first < q[r].last) {
            first = q[r].first < first ? q[r].first : first;
            last = q[r].last > last ? q[r].last : last;
        }
    if (first >= last) return;

    _Alignas(LINE) float s[ROWS][ATTEND_PAGE];
    vec y[ROWS][TILE], keep[ROWS];
    uintptr_t done = (uintptr_t)(ATTEND_PAGE * dim * size / n_parts * part);
    product scores = {.b = page->keys,
                      .stride = ATTEND_PAGE * size,
                      .last = dim,
                      .ahead = (uintptr_t)page->next_keys + done,
                      .step = part < n_parts ? TILE * LANES * size / n_parts : 0};
    for (int r = 0; r < rows; r++) scores.a[r] = q[r].q;
    for (int i = 0; i < ATTEND_PAGE; i += TILE * LANES) {
        multiply(&scores, i * size, rows, TILE, is_half, y);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < TILE; j++) vec_store(s[r] + i + j * LANES, y[r][j]);
    }
    weigh(q, page->scale, rows, s, keep);
    /* Rows see different keys: where one does not look, it adds 0 times a finite value. */
    product values = {.b = page->values,
                      .stride = dim * size,
                      .first = first,
                      .last = last,
                      .ahead = (uintptr_t)page->next_values + done,
                      .step = scores.step};
    for (int r = 0; r < rows; r++) values.a[r] = s[r];
    int c = 0;
    for (; c + TILE * LANES <= dim; c += TILE * LANES)
        add_values(&values, q, keep, c, rows, TILE, is_half);
    for (; c + LANES <= dim; c += LANES) add_values(&values, q, keep, c, rows, 1, is_half);
    for (; c < dim; c++)
        for (int r = 0; r < rows; r++) {
            float v = 0, by;
            for (int k = first; k < last; k++) {
                const char *at = values.b + k * values.stride + c * size;
                v = fmaf(s[r][k], is_half ? half_float((const uint16_t *)at) : *(const float *)at,
                         v);
            }
            vec_store_first(&by, keep[r]);
            q[r].out[c] = fmaf(q[r].out[c], by, v);
        }
}

INLINE void attend_all(const attend_page *page, attend_query *q, int n, const int is_half) {
    /* Evenly, but in whole divisions of a cache line. */
    int n_parts = n >= 4 * ROWS ? 4 : n >= 2 * ROWS ? 2 : 1, part = 0;
    for (; n >= ROWS; n -= ROWS, q += ROWS) attend_rows(page, q, part++, n_parts, ROWS, is_half);
    for (; n > 0; n--, q++) attend_rows(page, q, part++, n_parts, 1, is_half);
}

static void attend(const attend_page *page, attend_query *queries, int n) {
    if (page->is_half) attend_all(page, queries, n, 1);
    else attend_all(page, queries, n, 0);
}

static void narrow(const float *x, int n, uint16_t *y) {
    int i = 0;
    for (; i + LANES <= n; i += LANES) vec_store_half(y + i, vec_load(x + i));
    float rest[LANES] = {0};
    uint16_t halves[LANES];
    memcpy(rest, x + i, (size_t)(n - i) * sizeof *rest);
    vec_store_half(halves, vec_load(rest));
    memcpy(y + i, halves, (size_t)(n - i) * sizeof *halves);
}
