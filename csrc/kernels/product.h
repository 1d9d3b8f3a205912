/* product.h - packed weights times quantised columns in vectors, included by the file of each
 * instruction set.
 *
 * That file defines vec (LANES floats) and ivec (as many integers) with the functions vec_* and
 * ivec_*, and MOST_COLUMNS (4 or 8), how many columns are in work at a time. A group's rows lie in
 * the lanes of one vector or of two. For each block its numbers are brought into eight vectors
 * once, for all columns at hand; a column's four inputs go to all lanes.
 */
#include "kernels.h"

enum { AHEAD = 2048 /* bytes fetched before they are needed */ };
enum { PARTS = GROUP / LANES, PART = LANES * 4 /* bytes */, LINE_BYTES = GROUP * 4 };

/* The numbers of a block, of the rows of one part. */
INLINE void load_numbers(const matrix_type type, const unsigned char *p, ivec v[8]) {
    if (type == Q8_0) {
        for (int j = 0; j < 8; j++) v[j] = ivec_load(p + j * LINE_BYTES);
        return;
    }
    for (int j = 0; j < 4; j++) {
        ivec both = ivec_load(p + j * LINE_BYTES);
        v[j] = ivec_and(both, 0x0f);
        v[4 + j] = ivec_and(ivec_shift_right(both, 4), 0x0f);
    }
    if (type == Q5_K) {
        ivec high = ivec_load(p + 4 * LINE_BYTES);
        for (int j = 0; j < 8; j++) {
            ivec bit = j < 4 ? ivec_shift_left(high, 4 - j) : ivec_shift_right(high, j - 4);
            v[j] = ivec_or(v[j], ivec_and(bit, 0x10));
        }
    }
    if (type == Q6_K)
        for (int j = 0; j < 8; j++) {
            ivec high = ivec_load(p + (4 + j / 4) * LINE_BYTES);
            int shift = 4 - 2 * (j % 4);
            ivec bits = shift >= 0 ? ivec_shift_left(high, shift) : ivec_shift_right(high, -shift);
            v[j] = ivec_or(v[j], ivec_and(bits, 0x30));
        }
}

/* n columns of one group. */
INLINE void multiply_group(const matrix_type type, const unsigned char *group,
                           const packed_matrix *m, const packed_column *x, const int n,
                           float y[][GROUP]) {
    const size_t step = type == Q8_0 ? 512 : type == Q6_K ? 384 : type == Q5_K ? 320 : 256;
    const unsigned char *numbers = group, *scales = group + m->group_numbers;
    const int n_blocks = m->n_blocks;
    vec sum[PARTS][MOST_COLUMNS], d[PARTS], d_min[PARTS];
    for (int part = 0; part < PARTS; part++) {
        d[part] = d_min[part] = vec_all(0);
        for (int c = 0; c < n; c++) sum[part][c] = vec_all(0);
    }
    for (int b = 0; b < n_blocks; b++, numbers += step) {
        if (type > Q8_0 && b % SUPER == 0) {
            for (int part = 0; part < PARTS; part++) {
                d[part] = vec_load_half((const uint16_t *)scales + part * LANES);
                if (type != Q6_K)
                    d_min[part] =
                        vec_load_half((const uint16_t *)(scales + 2 * GROUP) + part * LANES);
            }
            scales += (type == Q6_K ? 2 : 4) * GROUP;
        }
        for (int line = 0; line < (int)step; line += 64) fetch(numbers + AHEAD + line);
#pragma GCC unroll 2
        for (int part = 0; part < PARTS; part++) {
            ivec v[8], low_scale, high_scale;
            vec w = d[part], w_min = d_min[part];
            load_numbers(type, numbers + part * PART, v);
            if (type <= Q8_0) w = vec_load_half((const uint16_t *)scales + part * LANES);
            if (type == Q6_K) {
                low_scale = ivec_load_i8((const int8_t *)scales + part * LANES);
                high_scale = ivec_load_i8((const int8_t *)scales + GROUP + part * LANES);
            }
            if (type == Q4_K || type == Q5_K) {
                w = vec_mul(w, vec_load_u8(scales + part * LANES));
                w_min = vec_mul(w_min, vec_load_u8(scales + GROUP + part * LANES));
                w_min = vec_mul(w_min, vec_all(0.125f));
            }
#pragma GCC unroll 8
            for (int c = 0; c < n; c++) {
                const int8_t *q = x[c].q + b * BLOCK;
                vec s = vec_all(x[c].scale[b]);
                ivec t;
                if (type == Q6_K) {
                    const int32_t *minus = x[c].half_sum + 2 * b;
                    ivec low = dot(v, q, 4, 63, ivec_shift_left(ivec_all(minus[0]), 2));
                    ivec high = dot(v + 4, q + 16, 4, 63, ivec_shift_left(ivec_all(minus[1]), 2));
                    t = ivec_add(ivec_mul(low, low_scale), ivec_mul(high, high_scale));
                } else if (type == Q4_0) {
                    t = dot(v, q, 8, 15, ivec_all(x[c].sum[b]));
                } else if (type == Q8_0) {
                    t = dot(v, q, 8, 255, ivec_all(x[c].sum[b]));
                } else {
                    t = dot(v, q, 8, type == Q4_K ? 15 : 31, ivec_all(0));
                }
                sum[part][c] = vec_fma(vec_mul(w, s), vec_from_int(t), sum[part][c]);
                if (type == Q4_K || type == Q5_K)
                    sum[part][c] = vec_fma(vec_mul(w_min, s), vec_from_int(ivec_all(x[c].sum[b])),
                                           sum[part][c]);
            }
        }
        scales += 2 * GROUP;
    }
    for (int c = 0; c < n; c++)
        for (int part = 0; part < PARTS; part++) vec_store(y[c] + part * LANES, sum[part][c]);
}

#define WIDTH(n)                                                                                   \
    static void multiply_##n(const packed_matrix *m, const unsigned char *group,                   \
                             const packed_column *x, float y[][GROUP]) {                           \
        switch (m->type) {                                                                         \
        case Q4_0: multiply_group(Q4_0, group, m, x, n, y); break;                                 \
        case Q8_0: multiply_group(Q8_0, group, m, x, n, y); break;                                 \
        case Q4_K: multiply_group(Q4_K, group, m, x, n, y); break;                                 \
        case Q5_K: multiply_group(Q5_K, group, m, x, n, y); break;                                 \
        default: multiply_group(Q6_K, group, m, x, n, y);                                          \
        }                                                                                          \
    }
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
#if MOST_COLUMNS > 4
WIDTH(5)
WIDTH(6)
WIDTH(7)
WIDTH(8)
#endif

static void matrix_product(const packed_matrix *m, int first, int last, const void *columns,
                           int n_columns, float *y, size_t stride) {
    static void (*const multiply_n[])(const packed_matrix *, const unsigned char *,
                                      const packed_column *, float[][GROUP]) = {
        multiply_1, multiply_2, multiply_3, multiply_4,
#if MOST_COLUMNS > 4
        multiply_5, multiply_6, multiply_7, multiply_8,
#endif
    };
    for (int g = first; g < last; g++) {
        const unsigned char *group = m->groups + (size_t)g * m->group_bytes;
        int n_rows = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
        for (int c = 0, n; c < n_columns; c += n) {
            packed_column x[MOST_COLUMNS];
            _Alignas(64) float out[MOST_COLUMNS][GROUP];
            /* Evenly: 9 columns are 5 and 4, not 8 and 1. */
            int tiles = (n_columns - c + MOST_COLUMNS - 1) / MOST_COLUMNS;
            n = (n_columns - c + tiles - 1) / tiles;
            for (int i = 0; i < n; i++) x[i] = column_at(columns, m->n_blocks, c + i);
            multiply_n[n - 1](m, group, x, out);
            for (int i = 0; i < n; i++)
                memcpy(y + (size_t)(c + i) * stride + (size_t)g * GROUP, out[i],
                       (size_t)n_rows * sizeof(float));
        }
    }
}

static void quantise(const float *x, int n_blocks, int first, int last, void *out) {
    packed_column to = column_at(out, n_blocks, 0);
    for (int b = first; b < last; b++) {
        const float *from = x + b * BLOCK;
        ivec most = ivec_all(0);
        for (int i = 0; i < BLOCK; i += LANES) most = ivec_max(most, ivec_size(vec_load(from + i)));
        uint32_t bits = ivec_most(most);
        float largest, by = 0;
        memcpy(&largest, &bits, sizeof largest);
        int is_finite = bits < 0x7f800000;
        if (is_finite && largest >= TINY) by = 127 / largest;
        int8_t *q = (int8_t *)to.q + b * BLOCK;
        int32_t sum[2] = {0, 0};
        if (by > 0)
            for (int i = 0; i < BLOCK; i += LANES)
                sum[i / 16] += store_rounded(q + i, vec_mul(vec_load(from + i), vec_all(by)));
        else memset(q, 0, BLOCK);
        ((float *)to.scale)[b] = !is_finite ? NAN : by > 0 ? largest / 127 : 0;
        ((int32_t *)to.sum)[b] = -8 * (sum[0] + sum[1]);
        ((int32_t *)to.half_sum)[2 * b] = -8 * sum[0];
        ((int32_t *)to.half_sum)[2 * b + 1] = -8 * sum[1];
    }
}
