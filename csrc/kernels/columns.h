/* columns.h - one block of packed weights times quantised columns in vectors: what product.h does
 * between memory and sums, included by it, or before it by a file that has a way of its own as
 * well.
 *
 * Who includes it defines vec (LANES floats) and ivec (as many integers) with the functions vec_*
 * and ivec_*, and AT_ONCE, how many columns are in work at a time. A group's rows lie in the lanes
 * of PARTS vectors. For each block its numbers are brought into eight vectors once, for all columns
 * at hand; a column's four inputs go to all lanes.
 */
#ifndef VOXTRAL_COLUMNS_H
#define VOXTRAL_COLUMNS_H

#include "kernels.h"

enum { PARTS = GROUP / LANES, PART = LANES * 4 /* bytes */, VECTOR_BYTES = GROUP * 4 };

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

/* What the rows of one part are multiplied by: w is d, of q4_k and q5_k d * scale; w_min (these
 * two only) is dmin / 8 * minimum; low and high (q6_k only) are the scales of the halves. */
typedef struct {
    vec w, w_min, low, high;
} block_scales;

/* sum[c] += the numbers v of a part times column c of x, for n columns. */
INLINE void add_columns(const matrix_type type, const ivec v[8], block_scales s, column_block x,
                        const int n, vec sum[AT_ONCE]) {
    const int has_minimum = type == Q4_K || type == Q5_K;
#pragma GCC unroll 8
    for (int c = 0; c < n; c++) {
        const int8_t *q = x.q + c * BLOCK;
        vec scale = vec_all(x.scale[c]);
        vec t;
        if (type == Q6_K) {
            ivec low = dot(v, q, 4, 63, ivec_all(x.half_sum[2 * c]));
            ivec high = dot(v + 4, q + 16, 4, 63, ivec_all(x.half_sum[2 * c + 1]));
            t = vec_fma(vec_from_int(high), s.high, vec_mul(vec_from_int(low), s.low));
        } else if (has_minimum) {
            t = vec_from_int(dot(v, q, 8, type == Q4_K ? 15 : 31, ivec_all(0)));
        } else {
            t = vec_from_int(dot(v, q, 8, type == Q4_0 ? 15 : 255, ivec_all(x.sum[c])));
        }
        sum[c] = vec_fma(vec_mul(s.w, scale), t, sum[c]);
        if (has_minimum) sum[c] = vec_fma(s.w_min, vec_all(x.minus[c]), sum[c]);
    }
}

/* to[c] = the sums of column c, of the rows of a part. */
INLINE void store_columns(const vec sum[AT_ONCE], const int n, int row, float to[][GROUP]) {
    for (int c = 0; c < n; c++) vec_store(to[c] + row, sum[c]);
}

#endif
