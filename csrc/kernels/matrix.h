/* matrix.h - weights as the product kernels read them, and the activations they are multiplied by.
 *
 * A matrix is packed once from the rows of a GGUF tensor. GROUP rows lie side by side, so that one
 * vector holds the same four inputs of 8 or 16 rows, and a group is read from end to end: first all
 * of its numbers, block by block, then all of its scales. A block is 32 inputs. Nothing is rounded:
 * packed weights are the same numbers in about the same number of bytes.
 *
 * Numbers of a block, as unsigned bytes v[8][GROUP][4] (v[j][r][i]: input 4 j + i of row r):
 *   4 bits: [4][GROUP][4] bytes, v[j] in the low halves and v[4 + j] in the high ones
 *   5 bits: then [GROUP][4] bytes, whose bit j is bit 4 of v[j]
 *   6 bits: then [2][GROUP][4] bytes, whose bits 2 j, 2 j + 1 are bits 4, 5 of v[j], v[4 + j]
 *   8 bits: [8][GROUP][4] bytes
 * Scales, half: d[GROUP] per block (q4_0, q8_0); or per 8 blocks d[GROUP], for q4_k and q5_k also
 * dmin[GROUP], and then per block two times [GROUP] bytes: scale and minimum of the block (q4_k,
 * q5_k: unsigned), or the scales of its two halves (q6_k: signed).
 *
 * A weight is d * (v - 8), d * (v - 128), d * scale * v - dmin * minimum, d * scale * (v - 32).
 */
#ifndef VOXTRAL_MATRIX_H
#define VOXTRAL_MATRIX_H

#include <stddef.h>
#include <stdint.h>

enum { GROUP = 16, BLOCK = 32, SUPER = 8 /* blocks with common scales in the k types */ };

typedef enum { Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, N_MATRIX_TYPES } matrix_type;

typedef struct {
    matrix_type type;
    int n_rows;           /* outputs */
    int n_blocks;         /* inputs / BLOCK */
    size_t group_numbers; /* bytes of a group's numbers; its scales follow */
    size_t group_bytes;
    unsigned char *groups; /* [(n_rows + GROUP - 1) / GROUP][group_bytes]; owned */
} packed_matrix;

/* Bytes of the packed form of n_rows rows of n inputs (a multiple of BLOCK, of SUPER blocks for the
 * k types). Fills everything but groups. */
size_t matrix_layout(packed_matrix *m, matrix_type type, int n_rows, int64_t n);
/* Pack rows of ggml's blocks, one row after the other, into groups [first, last). */
void matrix_pack(const packed_matrix *m, const void *rows, int first, int last);

/* A half-precision number as a float. */
float matrix_half(const unsigned char *p);
/* The 32 numbers v of one row in a block, given where the block's numbers start in its group. */
void matrix_block(matrix_type type, const unsigned char *numbers, int row, int v[BLOCK]);
/* A row as floats y[n_blocks * BLOCK]: the values that ggml gives for it. */
void matrix_row(const packed_matrix *m, int row, float *y);

/* Activations, one column after the other, each [column_bytes(n)]: int8 numbers[n]; then per block
 * float scale; int32 -8 * sum of its numbers; int32 -8 * sum of each half. */
static inline size_t column_bytes(int64_t n) {
    return (size_t)n / 2 * 3;
}
typedef struct {
    const int8_t *q;
    const float *scale;
    const int32_t *sum, *half_sum;
} packed_column;
static inline packed_column column_at(const void *columns, int n_blocks, int c) {
    const char *at = (const char *)columns + (size_t)c * column_bytes((int64_t)n_blocks * BLOCK);
    const char *scale = at + (size_t)n_blocks * BLOCK, *sum = scale + (size_t)n_blocks * 4;
    return (packed_column){(const int8_t *)at, (const float *)scale, (const int32_t *)sum,
                           (const int32_t *)(sum + (size_t)n_blocks * 4)};
}

#endif
