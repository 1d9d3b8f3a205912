/* portable.c - the kernels in plain C: what runs on processors without a file of their own, and the
 * reference that the others equal bit for bit. Loops run over neighbouring numbers, so that a
 * compiler can use whatever vectors there are. */
#include <ggml.h>
#include <math.h>
#include <string.h>

#include "functions.h"
#include "kernels.h"

static void exps(float *x, int n) {
    for (int i = 0; i < n; i++) x[i] = exp_neg(x[i]);
}

#include "loops.h"

enum { TILE = 16 }; /* queries at a time */

/* Row i of a matrix as floats: in place, or converted into room [width]. */
static const float *row(const void *matrix, int is_half, int width, int i, float *room) {
    if (!is_half) return (const float *)matrix + (ptrdiff_t)i * width;
    ggml_fp16_to_fp32_row((const ggml_fp16_t *)matrix + (ptrdiff_t)i * width, room, width);
    return room;
}

/* s [ATTEND_PAGE]: scores in, weights out. Returns what the sums so far are to be multiplied by. */
static float weigh(attend_query *x, float scale, float *s) {
    float max = x->max;
    for (int i = 0; i < ATTEND_PAGE; i++)
        s[i] = i >= x->first && i < x->last ? scale * s[i] : -INFINITY;
    for (int i = 0; i < ATTEND_PAGE; i++) max = s[i] > max ? s[i] : max;
    for (int i = 0; i < ATTEND_PAGE; i++) s[i] -= max;
    exps(s, ATTEND_PAGE);
    float keep = exp_neg(x->max - max);
    for (int j = 0; j < ATTEND_LANES; j++)
        x->sum[j] = fused(x->sum[j], keep, s[j] + s[j + 16] + s[j + 32] + s[j + 48]);
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
                for (int i = 0; i < ATTEND_PAGE; i++) s[r][i] = fused(x[r].q[d], key[i], s[r][i]);
        }
        for (int r = 0; r < m; r++) {
            if (x[r].first < x[r].last) keep[r] = weigh(&x[r], page->scale, s[r]);
            memset(v[r], 0, (size_t)dim * sizeof *v[r]);
        }
        for (int i = 0; i < ATTEND_PAGE; i++) {
            const float *value = row(page->values, page->is_half, dim, i, room);
            for (int r = 0; r < m; r++)
                for (int d = 0; i >= x[r].first && i < x[r].last && d < dim; d++)
                    v[r][d] = fused(s[r][i], value[d], v[r][d]);
        }
        for (int r = 0; r < m; r++)
            for (int d = 0; x[r].first < x[r].last && d < dim; d++)
                x[r].out[d] = fused(x[r].out[d], keep[r], v[r][d]);
    }
}

static void narrow(const float *x, int n, uint16_t *y) {
    ggml_fp32_to_fp16_row(x, (ggml_fp16_t *)y, n);
}

/* ---- products ------------------------------------------------------------------------------- */

static void quantise_block(const float *x, column_block to) {
    uint32_t most = 0; /* as integers, NaN is above infinity, which is above all else */
    for (int i = 0; i < BLOCK; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float largest, by = 0;
    memcpy(&largest, &most, sizeof largest);
    int is_finite = most < 0x7f800000;
    if (is_finite && largest >= TINY) by = 127 / largest;
    int32_t sum[2] = {0, 0};
    for (int i = 0; i < BLOCK; i++) {
        to.q[i] = by > 0 ? (int8_t)nearbyintf(x[i] * by) : 0;
        sum[i / 16] += to.q[i];
    }
    to.scale[0] = !is_finite ? NAN : by > 0 ? largest / 127 : 0;
    to.sum[0] = -8 * (sum[0] + sum[1]);
    to.minus[0] = to.scale[0] * (float)to.sum[0];
    to.half_sum[0] = -32 * sum[0];
    to.half_sum[1] = -32 * sum[1];
}

#include "tiles.h"

enum { VECTOR = GROUP * 4 };

/* The numbers of a block as in matrix.h. Loops here and below run over a whole vector of bytes, so
 * that compilers use the widest instructions there are. */
static void unpack(matrix_type type, const uint8_t *p, uint8_t v[8][VECTOR]) {
    if (type == Q8_0) {
        memcpy(v, p, 8 * VECTOR);
        return;
    }
    for (int j = 0; j < 4; j++)
        for (int k = 0; k < VECTOR; k++) {
            v[j][k] = p[j * VECTOR + k] & 15;
            v[4 + j][k] = p[j * VECTOR + k] >> 4;
        }
    const uint8_t *high = p + 4 * VECTOR;
    for (int j = 0; type == Q5_K && j < 8; j++)
        for (int k = 0; k < VECTOR; k++) v[j][k] |= (uint8_t)((high[k] >> j & 1) << 4);
    for (int j = 0; type == Q6_K && j < 8; j++)
        for (int k = 0; k < VECTOR; k++)
            v[j][k] |= (uint8_t)((high[j / 4 * VECTOR + k] >> 2 * (j % 4) & 3) << 4);
}

/* sum[r] += the products of n vectors of numbers with 4 n inputs. */
static void dot(uint8_t v[][VECTOR], const int8_t *q, int n, int32_t sum[GROUP]) {
    int32_t lane[VECTOR] = {0};
    for (int j = 0; j < n; j++) {
        int8_t four[VECTOR];
        for (int r = 0; r < GROUP; r++) memcpy(four + 4 * r, q + 4 * j, 4);
        for (int k = 0; k < VECTOR; k++) lane[k] += (int16_t)(v[j][k] * four[k]);
    }
    for (int r = 0; r < GROUP; r++)
        sum[r] += lane[4 * r] + lane[4 * r + 1] + lane[4 * r + 2] + lane[4 * r + 3];
}

/* One block of a group: w is d, of q4_k and q5_k d * scale; w_min is dmin / 8 * minimum. */
static void multiply_block(matrix_type type, uint8_t v[8][VECTOR], const float *w,
                           const float *w_min, const int8_t *scales, column_block x, int n,
                           float y[][GROUP]) {
    for (int c = 0; c < n; c++) {
        const int8_t *q = x.q + c * BLOCK;
        float scale = x.scale[c];
        int32_t sum[GROUP], high[GROUP];
        int start = type == Q4_0 ? x.sum[c] : type == Q8_0 ? 16 * x.sum[c] : 0;
        for (int r = 0; r < GROUP; r++) sum[r] = start;
        if (type == Q6_K) {
            for (int r = 0; r < GROUP; r++) sum[r] = x.half_sum[2 * c];
            for (int r = 0; r < GROUP; r++) high[r] = x.half_sum[2 * c + 1];
            dot(v, q, 4, sum);
            dot(v + 4, q + 16, 4, high);
            for (int r = 0; r < GROUP; r++)
                sum[r] = sum[r] * scales[r] + high[r] * scales[GROUP + r];
        } else {
            dot(v, q, 8, sum);
        }
        for (int r = 0; r < GROUP; r++) y[c][r] = fused(w[r] * scale, (float)sum[r], y[c][r]);
        if (type == Q4_K || type == Q5_K)
            for (int r = 0; r < GROUP; r++) y[c][r] = fused(w_min[r], x.minus[c], y[c][r]);
    }
}

static void multiply_group(const packed_matrix *m, const unsigned char *group, const char *tile,
                           int width, float y[][GROUP]) {
    int has_minimum = m->type == Q4_K || m->type == Q5_K;
    uint8_t v[8][VECTOR];
    float d[GROUP], d_min[GROUP], w[GROUP], w_min[GROUP] = {0};
    for (int left = m->n_blocks; left > 0; left -= SUPER) {
        int n_blocks = left < SUPER ? left : SUPER;
        const unsigned char *scales = group, *numbers = group + scale_bytes(m->type, n_blocks);
        if (m->type > Q8_0) {
            ggml_fp16_to_fp32_row((const ggml_fp16_t *)scales, d, GROUP);
            scales += 2 * GROUP;
        }
        if (has_minimum) {
            ggml_fp16_to_fp32_row((const ggml_fp16_t *)scales, d_min, GROUP);
            scales += 2 * GROUP;
        }
        for (int b = 0; b < n_blocks; b++) {
            unpack(m->type, numbers, v);
            if (m->type <= Q8_0) ggml_fp16_to_fp32_row((const ggml_fp16_t *)scales, d, GROUP);
            for (int r = 0; r < GROUP; r++) w[r] = has_minimum ? d[r] * scales[r] : d[r];
            for (int r = 0; has_minimum && r < GROUP; r++)
                w_min[r] = d_min[r] * 0.125f * scales[GROUP + r];
            multiply_block(m->type, v, w, w_min, (const int8_t *)scales,
                           column_block_at(tile, width, 0, b), width, y);
            numbers += number_bytes(m->type);
            scales += 2 * GROUP;
        }
        group = numbers;
        tile += (size_t)(n_blocks * width) * COLUMN_BLOCK;
    }
}

static void matrix_product(const packed_matrix *m, int first, int last, const void *tiles,
                           int n_columns, float *y, size_t stride) {
    for (int g = first; g < last; g++) {
        int n_rows = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
        for (int c = 0, width; c < n_columns; c += width) {
            float out[MOST_COLUMNS][GROUP] = {{0}};
            width = tile_width(n_columns - c);
            multiply_group(m, m->groups + (size_t)g * m->group_bytes,
                           (const char *)tiles +
                               (size_t)c * column_bytes((int64_t)m->n_blocks * BLOCK),
                           width, out);
            for (int i = 0; i < width; i++)
                memcpy(y + (size_t)(c + i) * stride + (size_t)g * GROUP, out[i],
                       (size_t)n_rows * sizeof(float));
        }
    }
}

static float widen(float_type type, const void *row, int i) {
    float x;
    if (type == FLOATS) return ((const float *)row)[i];
    if (type == HALVES) return ggml_fp16_to_fp32(((const ggml_fp16_t *)row)[i]);
    uint32_t bits = (uint32_t)((const uint16_t *)row)[i] << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void float_product(const float_matrix *m, int first, int last, const float *x,
                          size_t x_stride, int n_columns, float *y, size_t stride) {
    size_t row_bytes = (size_t)m->n_columns * (m->type == FLOATS ? 4 : 2);
    for (int r = first; r < last; r++)
        for (int c = 0; c < n_columns; c++) {
            const char *row = (const char *)m->rows + (size_t)r * row_bytes;
            float s[FLOAT_SUMS] = {0};
            for (int i = 0; i < m->n_columns; i += FLOAT_SUMS)
                for (int j = 0; j < FLOAT_SUMS; j++) {
                    int is_in = i + j < m->n_columns;
                    float w = is_in ? widen(m->type, row, i + j) : 0;
                    s[j] = fused(w, is_in ? x[(size_t)c * x_stride + (size_t)(i + j)] : 0, s[j]);
                }
            for (int half = FLOAT_SUMS / 2; half > 0; half /= 2)
                for (int j = 0; j < half; j++) s[j] += s[j + half];
            y[(size_t)c * stride + (size_t)r] = s[0];
        }
}

const kernels kernels_portable = {"portable",     attend,        narrow, quantise,
                                  matrix_product, float_product, LOOPS};
