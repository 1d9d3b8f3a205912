/* neon_i8mm.c - the kernels for ARM with products of matrices of bytes: columns go through them in
 * pairs, and the last of an odd number goes the way of neon_dotprod.c. Compiled with these options
 * and run only where the processor has them.
 *
 * One instruction multiplies 8 numbers of 2 rows with those of 2 columns into 2 x 2 integers: row 0
 * with both columns, then row 1. Sums of floats keep this order until a group is done. In a tile,
 * the numbers of a pair of columns lie in pieces of 8, one column's and the other's in turn.
 */
#include "neon_dotprod.h"

#include "columns.h"

enum { PIECES = 4 /* of a column's block */ };

/* Numbers of rows 0 and 1, of rows 2 and 3. */
typedef struct {
    vec rows[2];
} spread;

/* Each row's twice: for both columns. */
INLINE spread spread_rows(vec x) {
    return (spread){{vzip1q_f32(x, x), vzip2q_f32(x, x)}};
}

/* A pair of columns' words, twice: for both rows. */
INLINE ivec pair_of(const void *two) {
    uint64_t both;
    memcpy(&both, two, sizeof both);
    return vreinterpretq_u8_u64(vdupq_n_u64(both));
}

INLINE vec floats_of(ivec x) {
    return vreinterpretq_f32_u8(x);
}

/* A block's numbers by pieces of two rows: [PIECES][rows 0 and 1, rows 2 and 3]. */
INLINE void pair_rows(const matrix_type type, const ivec v[8], int8x16_t to[PIECES][2]) {
    ivec sign = vdupq_n_u8(type == Q8_0 ? 0x80 : 0); /* numbers of 8 bits are made signed */
    for (int i = 0; i < PIECES; i++) {
        uint32x4_t x = vreinterpretq_u32_u8(veorq_u8(v[2 * i], sign));
        uint32x4_t y = vreinterpretq_u32_u8(veorq_u8(v[2 * i + 1], sign));
        to[i][0] = vreinterpretq_s8_u32(vzip1q_u32(x, y));
        to[i][1] = vreinterpretq_s8_u32(vzip2q_u32(x, y));
    }
}

/* start + the products of pieces [first, last) of two rows with those of two columns. */
INLINE vec dot_pairs(const int8x16_t v[PIECES][2], int rows, const int8_t *q, int first, int last,
                     ivec start) {
    int32x4_t sum = vreinterpretq_s32_u8(start);
    for (int i = first; i < last; i++) sum = vmmlaq_s32(sum, v[i][rows], vld1q_s8(q + 16 * i));
    return vcvtq_f32_s32(sum);
}

/* add_columns, two at a time: sum[c] has both of rows 0 and 1, sum[c + 1] of rows 2 and 3. */
INLINE void add_pairs(const matrix_type type, const ivec v[8], block_scales s, column_block x,
                      const int n, vec sum[AT_ONCE]) {
    const int has_minimum = type == Q4_K || type == Q5_K;
    int8x16_t pieces[PIECES][2];
    spread w = spread_rows(s.w), w_min, low, high;
    if (n > 1) pair_rows(type, v, pieces);
    if (has_minimum) w_min = spread_rows(s.w_min);
    if (type == Q6_K) low = spread_rows(s.low), high = spread_rows(s.high);
#pragma GCC unroll 4
    for (int c = 0; c + 2 <= n; c += 2) {
        const int8_t *q = x.q + c * BLOCK;
        vec scale = floats_of(pair_of(&x.scale[c]));
#pragma GCC unroll 2
        for (int r = 0; r < 2; r++) {
            vec t;
            if (type == Q6_K) {
                int32x4_t halves = vld1q_s32(&x.half_sum[2 * c]); /* of one column, of the other */
                vec a =
                    dot_pairs(pieces, r, q, 0, 2, vreinterpretq_u8_s32(vuzp1q_s32(halves, halves)));
                vec b =
                    dot_pairs(pieces, r, q, 2, 4, vreinterpretq_u8_s32(vuzp2q_s32(halves, halves)));
                t = vec_fma(b, high.rows[r], vec_mul(a, low.rows[r]));
            } else {
                t = dot_pairs(pieces, r, q, 0, 4, type == Q4_0 ? pair_of(&x.sum[c]) : ivec_all(0));
            }
            sum[c + r] = vec_fma(vec_mul(w.rows[r], scale), t, sum[c + r]);
            if (has_minimum)
                sum[c + r] = vec_fma(w_min.rows[r], floats_of(pair_of(&x.minus[c])), sum[c + r]);
        }
    }
    if (n % 2) {
        x.q += (n - 1) * BLOCK;
        x.scale += n - 1;
        x.minus += n - 1;
        x.sum += n - 1;
        x.half_sum += 2 * (n - 1);
        add_columns(type, v, s, x, 1, sum + n - 1);
    }
}

INLINE void store_pairs(const vec sum[AT_ONCE], const int n, int row, float to[][GROUP]) {
    for (int c = 0; c + 2 <= n; c += 2) {
        vec_store(to[c] + row, vuzp1q_f32(sum[c], sum[c + 1]));
        vec_store(to[c + 1] + row, vuzp2q_f32(sum[c], sum[c + 1]));
    }
    if (n % 2) vec_store(to[n - 1] + row, sum[n - 1]);
}

#define ADD_COLUMNS add_pairs
#define STORE_COLUMNS store_pairs
#include "product.h"

/* The numbers of two columns side by side, in pieces. */
static void interleave(int8_t *q) {
    int64x2_t x[4];
    for (int i = 0; i < 4; i++) x[i] = vreinterpretq_s64_s8(vld1q_s8(q + 16 * i));
    for (int i = 0; i < 2; i++) {
        vst1q_s8(q + 32 * i, vreinterpretq_s8_s64(vzip1q_s64(x[i], x[i + 2])));
        vst1q_s8(q + 32 * i + 16, vreinterpretq_s8_s64(vzip2q_s64(x[i], x[i + 2])));
    }
}

static void quantise_pairs(const float *x, size_t stride, int n_columns, int n_blocks, int first,
                           int last, void *tiles) {
    quantise(x, stride, n_columns, n_blocks, first, last, tiles);
    for (int c = 0, width; c < n_columns; c += width) {
        char *tile = (char *)tiles + (size_t)c * column_bytes((int64_t)n_blocks * BLOCK);
        width = tile_width(n_columns - c);
        for (int b = first; b < last; b++)
            for (int i = 0; i + 2 <= width; i += 2)
                interleave(column_block_at(tile, width, i, b).q);
    }
}

const kernels kernels_neon_i8mm = {"neon-i8mm",    attend,        narrow, quantise_pairs,
                                   matrix_product, float_product, LOOPS};
