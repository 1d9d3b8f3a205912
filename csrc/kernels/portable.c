/* portable.c - the kernels in plain C: what runs on processors without a file of their own, and the
 * reference that the others equal bit for bit. Loops run over neighbouring numbers, so that a
 * compiler can use whatever vectors there are. */
#include <ggml-cpu.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

enum { MAX_HEAD_DIM = 1024, TILE = 16 }; /* queries at a time */

static float exp_neg(float x) {
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

/* Row i of a matrix as floats: in place, or converted into room [width]. */
static const float *row(const void *matrix, int is_half, int width, int i, float *room) {
    if (!is_half) return (const float *)matrix + (ptrdiff_t)i * width;
    ggml_cpu_fp16_to_fp32((const ggml_fp16_t *)matrix + (ptrdiff_t)i * width, room, width);
    return room;
}

/* s [ATTEND_PAGE]: scores in, weights out. Returns what the sums so far are to be multiplied by. */
static float weigh(attend_query *x, float scale, float *s) {
    float max = x->max;
    for (int i = 0; i < ATTEND_PAGE; i++)
        s[i] = i >= x->first && i < x->last ? scale * s[i] : -INFINITY;
    for (int i = 0; i < ATTEND_PAGE; i++) max = s[i] > max ? s[i] : max;
    for (int i = 0; i < ATTEND_PAGE; i++) s[i] = exp_neg(s[i] - max);
    float keep = exp_neg(x->max - max);
    for (int j = 0; j < ATTEND_LANES; j++)
        x->sum[j] = fmaf(x->sum[j], keep, s[j] + s[j + 16] + s[j + 32] + s[j + 48]);
    x->max = max;
    return keep;
}

static void attend(const attend_page *page, attend_query *queries, int n) {
    float s[TILE][ATTEND_PAGE], keep[TILE], v[TILE][MAX_HEAD_DIM], room[MAX_HEAD_DIM];
    int dim = page->head_dim;
    for (attend_query *x = queries; x < queries + n; x += TILE) {
        int m = queries + n - x < TILE ? (int)(queries + n - x) : TILE;
        memset(s, 0, sizeof s);
        for (int d = 0; d < dim; d++) {
            const float *key = row(page->keys, page->is_half, ATTEND_PAGE, d, room);
            for (int r = 0; r < m; r++)
                for (int i = 0; i < ATTEND_PAGE; i++) s[r][i] = fmaf(x[r].q[d], key[i], s[r][i]);
        }
        for (int r = 0; r < m; r++) {
            if (x[r].first < x[r].last) keep[r] = weigh(&x[r], page->scale, s[r]);
            memset(v[r], 0, (size_t)dim * sizeof *v[r]);
        }
        for (int i = 0; i < ATTEND_PAGE; i++) {
            const float *value = row(page->values, page->is_half, dim, i, room);
            for (int r = 0; r < m; r++)
                for (int d = 0; i >= x[r].first && i < x[r].last && d < dim; d++)
                    v[r][d] = fmaf(s[r][i], value[d], v[r][d]);
        }
        for (int r = 0; r < m; r++)
            for (int d = 0; x[r].first < x[r].last && d < dim; d++)
                x[r].out[d] = fmaf(x[r].out[d], keep[r], v[r][d]);
    }
}

const kernels kernels_portable = {"portable", attend};
