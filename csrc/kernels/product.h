/* product.h - packed weights times quantised columns in vectors, included by the file of each
 * instruction set.
 *
 * That file defines vec (LANES floats) and ivec (as many integers) with the functions vec_* and
 * ivec_*, and AT_ONCE, how many columns are in work at a time. A group's rows lie in the lanes of
 * one vector or of two. For each block its numbers are brought into eight vectors once, for all
 * columns at hand; a column's four inputs go to all lanes.
 */
#include "kernels.h"

enum { PARTS = GROUP / LANES, PART = LANES * 4 /* bytes */, VECTOR_BYTES = GROUP * 4 };
enum { AHEAD = 16384 /* bytes fetched before they are needed */ };

/* The numbers of a block, of the rows of one part. */
INLINE void load_numbers(const matrix_type type, const unsigned char *p, ivec v[8]) {
    if (type == Q8_0) {
        for (int j = 0; j < 8; j++) v[j] = ivec_load(p + j * VECTOR_BYTES);
        return;
    }
    for (int j = 0; j < 4; j++) {
        ivec both = ivec_load(p + j * VECTOR_BYTES);
        v[j] = ivec_and(both, 0x0f);
        v[4 + j] = ivec_and(ivec_shift_right(both, 4), 0x0f);
    }
    if (type == Q5_K) {
        ivec high = ivec_load(p + 4 * VECTOR_BYTES);
        for (int j = 0; j < 8; j++) {
            ivec bit = j < 4 ? ivec_shift_left(high, 4 - j) : ivec_shift_right(high, j - 4);
            v[j] = ivec_or(v[j], ivec_and(bit, 0x10));
        }
    }
    if (type == Q6_K)
        for (int j = 0; j < 8; j++) {
            ivec high = ivec_load(p + (4 + j / 4) * VECTOR_BYTES);
            int shift = 4 - 2 * (j % 4);
            ivec bits = shift >= 0 ? ivec_shift_left(high, shift) : ivec_shift_right(high, -shift);
            v[j] = ivec_or(v[j], ivec_and(bits, 0x30));
        }
}

/* One group times columns first .. first + n - 1 of a tile; to[c] has the group's rows. */
INLINE void multiply_group(const matrix_type type, const packed_matrix *m,
                           const unsigned char *group, const char *tile, const int width, int first,
                           const int n, float to[][GROUP]) {
    const int has_minimum = type == Q4_K || type == Q5_K;
    const size_t step = number_bytes(type);
    /* Blocks that one part goes through before the other one does: one, as memory would have it,
     * but where all sums together leave too few registers, SUPER. */
    const int run = PARTS * n <= 4 ? 1 : SUPER;
    vec sum[PARTS][AT_ONCE];
    for (int part = 0; part < PARTS; part++)
        for (int c = 0; c < n; c++) sum[part][c] = vec_all(0);
    for (int left = m->n_blocks; left > 0; left -= SUPER) {
        const int n_blocks = type > Q8_0 || left >= SUPER ? SUPER : left;
        const unsigned char *shared = group;
        const unsigned char *scales = group + (type <= Q8_0  ? 0
                                               : has_minimum ? 4 * GROUP
                                                             : 2 * GROUP);
        const unsigned char *numbers = group + scale_bytes(type, n_blocks);
        for (size_t line = 0; line < scale_bytes(type, SUPER); line += LINE)
            fetch((uintptr_t)group + AHEAD + line);
        for (int at = 0; at < n_blocks; at += run)
#pragma GCC unroll 2
            for (int part = 0; part < PARTS; part++) {
                const int row = part * LANES;
                vec d = vec_all(0), d_min = d;
                if (type > Q8_0) d = vec_load_half((const uint16_t *)shared + row);
                if (has_minimum)
                    d_min = vec_mul(vec_load_half((const uint16_t *)(shared + 2 * GROUP) + row),
                                    vec_all(0.125f));
                for (int b = at; b < at + run && b < n_blocks; b++) {
                    const unsigned char *p = numbers + (size_t)b * step + part * PART;
                    const unsigned char *s = scales + b * 2 * GROUP;
                    column_block x = column_block_at(tile, width, first, b);
                    ivec v[8];
                    vec w = d, w_min = d_min, low_scale, high_scale;
                    /* Each part fetches its share, so that memory is never idle. */
                    for (size_t line = (size_t)part * LINE; line < step; line += PARTS * LINE)
                        fetch((uintptr_t)p + AHEAD + line);
                    load_numbers(type, p, v);
                    if (type <= Q8_0) w = vec_load_half((const uint16_t *)s + row);
                    if (type == Q6_K) {
                        low_scale = vec_load_i8((const int8_t *)s + row);
                        high_scale = vec_load_i8((const int8_t *)s + GROUP + row);
                    }
                    if (has_minimum) {
                        w = vec_mul(w, vec_load_u8(s + row));
                        w_min = vec_mul(w_min, vec_load_u8(s + GROUP + row));
                    }
#pragma GCC unroll 8
                    for (int c = 0; c < n; c++) {
                        const int8_t *q = x.q + c * BLOCK;
                        vec scale = vec_all(x.scale[c]);
                        vec t;
                        if (type == Q6_K) {
                            ivec low = dot(v, q, 4, 63, ivec_all(x.half_sum[2 * c]));
                            ivec high = dot(v + 4, q + 16, 4, 63, ivec_all(x.half_sum[2 * c + 1]));
                            t = vec_fma(vec_from_int(high), high_scale,
                                        vec_mul(vec_from_int(low), low_scale));
                        } else if (has_minimum) {
                            t = vec_from_int(dot(v, q, 8, type == Q4_K ? 15 : 31, ivec_all(0)));
                        } else {
                            t = vec_from_int(
                                dot(v, q, 8, type == Q4_0 ? 15 : 255, ivec_all(x.sum[c])));
                        }
                        sum[part][c] = vec_fma(vec_mul(w, scale), t, sum[part][c]);
                        if (has_minimum)
                            sum[part][c] = vec_fma(w_min, vec_all(x.minus[c]), sum[part][c]);
                    }
                }
            }
        group = numbers + (size_t)n_blocks * step;
        tile += (size_t)(n_blocks * width) * COLUMN_BLOCK;
    }
    for (int c = 0; c < n; c++)
        for (int part = 0; part < PARTS; part++) vec_store(to[c] + part * LANES, sum[part][c]);
}

/* The width is a constant where a tile is done at once: its columns are then at fixed distances. */
#define MULTIPLY(n)                                                                                \
    static void multiply_##n(const packed_matrix *m, const unsigned char *group, const char *tile, \
                             int width, int first, float to[][GROUP]) {                            \
        if (AT_ONCE == MOST_COLUMNS) width = n, first = 0;                                         \
        switch (m->type) {                                                                         \
        case Q4_0: multiply_group(Q4_0, m, group, tile, width, first, n, to); break;               \
        case Q8_0: multiply_group(Q8_0, m, group, tile, width, first, n, to); break;               \
        case Q4_K: multiply_group(Q4_K, m, group, tile, width, first, n, to); break;               \
        case Q5_K: multiply_group(Q5_K, m, group, tile, width, first, n, to); break;               \
        default: multiply_group(Q6_K, m, group, tile, width, first, n, to);                        \
        }                                                                                          \
    }
MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
MULTIPLY(4)
#if AT_ONCE > 4
MULTIPLY(5)
MULTIPLY(6)
MULTIPLY(7)
MULTIPLY(8)
#endif

static void matrix_product(const packed_matrix *m, int first, int last, const void *tiles,
                           int n_columns, float *y, size_t stride) {
    static void (*const multiply_n[])(const packed_matrix *, const unsigned char *, const char *,
                                      int, int, float[][GROUP]) = {
        multiply_1, multiply_2, multiply_3, multiply_4,
#if AT_ONCE > 4
        multiply_5, multiply_6, multiply_7, multiply_8,
#endif
    };
    const size_t column = column_bytes((int64_t)m->n_blocks * BLOCK);
    for (int g = first; g < last; g++) {
        const unsigned char *group = m->groups + (size_t)g * m->group_bytes;
        int n_rows = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
        for (int c = 0, width; c < n_columns; c += width) {
            const char *tile = (const char *)tiles + (size_t)c * column;
            width = tile_width(n_columns - c);
            for (int at = 0, n; at < width; at += n) {
                _Alignas(64) float out[AT_ONCE][GROUP];
                int steps = (width - at + AT_ONCE - 1) / AT_ONCE;
                n = (width - at + steps - 1) / steps;
                multiply_n[n - 1](m, group, tile, width, at, out);
                for (int i = 0; i < n; i++)
                    memcpy(y + (size_t)(c + at + i) * stride + (size_t)g * GROUP, out[i],
                           (size_t)n_rows * sizeof(float));
            }
        }
    }
}

static void quantise_block(const float *x, column_block to) {
    ivec most = ivec_all(0);
    for (int i = 0; i < BLOCK; i += LANES) most = ivec_max(most, ivec_size(vec_load(x + i)));
    uint32_t bits = ivec_most(most);
    float largest, by = 0;
    memcpy(&largest, &bits, sizeof largest);
    int is_finite = bits < 0x7f800000;
    if (is_finite && largest >= TINY) by = 127 / largest;
    int32_t sum[2] = {0, 0};
    if (by > 0)
        for (int i = 0; i < BLOCK; i += LANES)
            sum[i / 16] += store_rounded(to.q + i, vec_mul(vec_load(x + i), vec_all(by)));
    else memset(to.q, 0, BLOCK);
    to.scale[0] = !is_finite ? NAN : by > 0 ? largest / 127 : 0;
    to.sum[0] = -8 * (sum[0] + sum[1]);
    to.minus[0] = to.scale[0] * (float)to.sum[0];
    to.half_sum[0] = -32 * sum[0];
    to.half_sum[1] = -32 * sum[1];
}

#include "tiles.h"
