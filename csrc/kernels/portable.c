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

/* ---- products ------------------------------------------------------------------------------- */

static void quantise(const float *x, int n_blocks, int first, int last, void *out) {
    packed_column to = column_at(out, n_blocks, 0);
    for (int b = first; b < last; b++) {
        int8_t *q = (int8_t *)to.q + b * BLOCK;
        uint32_t most = 0; /* as integers, NaN is above infinity, which is above all else */
        for (int i = 0; i < BLOCK; i++) {
            uint32_t bits;
            memcpy(&bits, &x[b * BLOCK + i], sizeof bits);
            bits &= 0x7fffffff;
            most = bits > most ? bits : most;
        }
        float largest, by = 0;
        memcpy(&largest, &most, sizeof largest);
        int is_finite = most < 0x7f800000;
        if (is_finite && largest >= TINY) by = 127 / largest;
        int32_t sum[2] = {0, 0};
        for (int i = 0; i < BLOCK; i++) {
            q[i] = by > 0 ? (int8_t)nearbyintf(x[b * BLOCK + i] * by) : 0;
            sum[i / 16] += q[i];
        }
        ((float *)to.scale)[b] = !is_finite ? NAN : by > 0 ? largest / 127 : 0;
        ((int32_t *)to.sum)[b] = -8 * (sum[0] + sum[1]);
        ((int32_t *)to.half_sum)[2 * b] = -8 * sum[0];
        ((int32_t *)to.half_sum)[2 * b + 1] = -8 * sum[1];
    }
}

static void matrix_product(const packed_matrix *m, int first, int last, const void *columns,
                           int n_columns, float *y, size_t stride) {
    size_t step = m->group_numbers / (size_t)m->n_blocks;
    for (int r = first * GROUP; r < last * GROUP && r < m->n_rows; r++) {
        const unsigned char *group = m->groups + (size_t)(r / GROUP) * m->group_bytes;
        int row = r % GROUP;
        for (int c = 0; c < n_columns; c++) y[(size_t)c * stride + (size_t)r] = 0;
        const unsigned char *numbers = group, *scales = group + m->group_numbers;
        float d = 0, d_min = 0;
        for (int b = 0; b < m->n_blocks; b++, numbers += step) {
            int v[BLOCK];
            matrix_block(m->type, numbers, row, v);
            if (m->type <= Q8_0 || b % SUPER == 0) {
                d = matrix_half(scales + 2 * row);
                scales += 2 * GROUP;
                if (m->type == Q4_K || m->type == Q5_K) {
                    d_min = matrix_half(scales + 2 * row);
                    scales += 2 * GROUP;
                }
            }
            for (int c = 0; c < n_columns; c++) {
                packed_column x = column_at(columns, m->n_blocks, c);
                const int8_t *q = x.q + b * BLOCK;
                float s = x.scale[b], *to = &y[(size_t)c * stride + (size_t)r];
                int32_t sum[2] = {0, 0};
                for (int i = 0; i < BLOCK; i++) sum[i / 16] += q[i] * v[i];
                int32_t both = sum[0] + sum[1], minus = x.sum[b];
                switch (m->type) {
                case Q4_0: *to = fmaf(d * s, (float)(both + minus), *to); break;
                case Q8_0: *to = fmaf(d * s, (float)(both + 16 * minus), *to); break;
                case Q6_K:
                    both = (sum[0] + 4 * x.half_sum[2 * b]) * (int8_t)scales[row] +
                           (sum[1] + 4 * x.half_sum[2 * b + 1]) * (int8_t)scales[GROUP + row];
                    *to = fmaf(d * s, (float)both, *to);
                    break;
                default:
                    *to = fmaf(d * scales[row] * s, (float)both, *to);
                    *to = fmaf(d_min * scales[GROUP + row] * 0.125f * s, (float)minus, *to);
                }
            }
            if (m->type > Q8_0) scales += 2 * GROUP;
        }
    }
}

const kernels kernels_portable = {"portable", attend, quantise, matrix_product};
