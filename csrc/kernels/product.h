/* product.h - packed weights times quantised columns in vectors, included by the file of each
 * instruction set, which defines what columns.h asks for. One that adds and stores columns in a way
 * of its own names its functions ADD_COLUMNS and STORE_COLUMNS.
 */
#include "columns.h"

#ifndef ADD_COLUMNS
#define ADD_COLUMNS add_columns
#define STORE_COLUMNS store_columns
#endif

enum { AHEAD = 16384 /* bytes fetched before they are needed */ };

/* What the blocks of a super-block share, of the rows of one part, and where the rest begins. */
typedef struct {
    vec d, d_min;
    const unsigned char *scales, *numbers;
} super_block;

INLINE super_block super_block_at(const matrix_type type, const unsigned char *p, int n_blocks,
                                  int part) {
    const int row = part * LANES;
    super_block s = {vec_all(0), vec_all(0), p, p + scale_bytes(type, n_blocks)};
    if (type > Q8_0) {
        s.d = vec_load_half((const uint16_t *)s.scales + row);
        s.scales += 2 * GROUP;
    }
    if (type == Q4_K || type == Q5_K) {
        s.d_min = vec_mul(vec_load_half((const uint16_t *)s.scales + row), vec_all(0.125f));
        s.scales += 2 * GROUP;
    }
    return s;
}

/* Block b: its numbers, and what they are multiplied by. Each part fetches its share of what comes
 * later, so that memory is never idle. */
INLINE block_scales load_block(const matrix_type type, super_block s, int b, int part, ivec v[8]) {
    const size_t step = number_bytes(type);
    const unsigned char *p = s.numbers + (size_t)b * step + part * PART;
    const unsigned char *scales = s.scales + b * 2 * GROUP;
    const int row = part * LANES;
    block_scales by = {.w = s.d, .w_min = s.d_min};
    for (size_t line = (size_t)part * LINE; line < step; line += PARTS * LINE)
        fetch((uintptr_t)p + AHEAD + line);
    load_numbers(type, p, v);
    if (type <= Q8_0) {
        by.w = vec_load_half((const uint16_t *)scales + row);
    } else if (type == Q6_K) {
        by.low = vec_load_i8((const int8_t *)scales + row);
        by.high = vec_load_i8((const int8_t *)scales + GROUP + row);
    } else {
        by.w = vec_mul(s.d, vec_load_u8(scales + row));
        by.w_min = vec_mul(s.d_min, vec_load_u8(scales + GROUP + row));
    }
    return by;
}

INLINE void fetch_scales(const matrix_type type, const unsigned char *p) {
    for (size_t line = 0; line < scale_bytes(type, SUPER); line += LINE)
        fetch((uintptr_t)p + AHEAD + line);
}

/* One group times columns first .. first + n - 1 of a tile; to[c] has the group's rows. */
INLINE void multiply_group(const matrix_type type, const packed_matrix *m,
                           const unsigned char *group, const char *tile, const int width, int first,
                           const int n, float to[][GROUP]) {
    /* Blocks that one part goes through before the other one does: one, as memory would have it,
     * but where all sums together leave too few registers, SUPER. */
    const int run = PARTS * n <= 4 ? 1 : SUPER;
    vec sum[PARTS][AT_ONCE];
    for (int part = 0; part < PARTS; part++)
        for (int c = 0; c < n; c++) sum[part][c] = vec_all(0);
    for (int left = m->n_blocks; left > 0; left -= SUPER) {
        const int n_blocks = type > Q8_0 || left >= SUPER ? SUPER : left;
        fetch_scales(type, group);
        for (int at = 0; at < n_blocks; at += run)
#pragma GCC unroll 2
            for (int part = 0; part < PARTS; part++) {
                const super_block s = super_block_at(type, group, n_blocks, part);
                for (int b = at; b < at + run && b < n_blocks; b++) {
                    ivec v[8];
                    block_scales by = load_block(type, s, b, part, v);
                    ADD_COLUMNS(type, v, by, column_block_at(tile, width, first, b), n, sum[part]);
                }
            }
        group += scale_bytes(type, n_blocks) + (size_t)n_blocks * number_bytes(type);
        tile += (size_t)(n_blocks * width) * COLUMN_BLOCK;
    }
    for (int part = 0; part < PARTS; part++) STORE_COLUMNS(sum[part], n, part * LANES, to);
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

/* Copies the first n rows of a group: mostly all, and so many are few instructions. */
INLINE void copy_rows(float *to, const float from[GROUP], int n) {
    if (n == GROUP) memcpy(to, from, GROUP * sizeof *to);
    else memcpy(to, from, (size_t)n * sizeof *to);
}

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
                    copy_rows(y + (size_t)(c + at + i) * stride + (size_t)g * GROUP, out[i],
                              n_rows);
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
