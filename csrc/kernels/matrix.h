/* matrix.h - weights as the product kernels read them, and the activations they are multiplied by.
 *
 * A matrix is packed once from the rows of ggml's blocks, by the converter (docs/format.md) or when
 * a file of rows is opened: what is written here is what files hold. GROUP rows lie side by side,
 * so that one vector holds the same four inputs of 8 or 16 rows. A block is 32 inputs; per SUPER
 * blocks (fewer at the end of q4_0 and q8_0 rows) a group has their scales, then their numbers,
 * then the next ones: it is read from end to end, and one group after the other, as a single stream
 * that can be fetched ahead without a gap. Nothing is rounded: packed weights are the same numbers
 * in about the same number of bytes.
 *
 * Numbers of a block, as unsigned bytes v[8][GROUP][4] (v[j][r][i]: input 4 j + i of row r):
 *   4 bits: [4][GROUP][4] bytes, v[j] in the low halves and v[4 + j] in the high ones
 *   5 bits: then [GROUP][4] bytes, whose bit j is bit 4 of v[j]
 *   6 bits: then [2][GROUP][4] bytes, whose bits 2 j, 2 j + 1 are bits 4, 5 of v[j], v[4 + j]
 *   8 bits: [8][GROUP][4] bytes
 * Scales of SUPER blocks, filled up to a multiple of LINE bytes:
 *   q4_0, q8_0: half d[block][GROUP]
 *   q4_k, q5_k: half d[GROUP], dmin[GROUP]; uint8 [block][scale, minimum][GROUP]
 *   q6_k: half d[GROUP]; int8 [block][half][GROUP]
 *
 * A weight is d * (v - 8), d * (v - 128), d * scale * v - dmin * minimum, d * scale * (v - 32).
 */
#ifndef VOXTRAL_MATRIX_H
#define VOXTRAL_MATRIX_H

#include <stddef.h>
#include <stdint.h>

enum {
    GROUP = 16,
    BLOCK = 32,
    SUPER = 8,        /* blocks whose scales lie together; in the k types they share d */
    LINE = 64,        /* bytes of a cache line */
    MOST_COLUMNS = 8, /* in a tile */
};

typedef enum { Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, N_MATRIX_TYPES } matrix_type;

typedef struct {
    matrix_type type;
    int n_rows;   /* outputs */
    int n_blocks; /* inputs / BLOCK */
    size_t group_bytes;
    unsigned char
        *groups; /* [(n_rows + GROUP - 1) / GROUP][group_bytes]; whose they are, the model knows */
} packed_matrix;

/* Bytes of a group's scales of n_blocks blocks, SUPER or fewer. */
static inline size_t scale_bytes(matrix_type type, int n_blocks) {
    int bytes = type <= Q8_0 ? 2 * n_blocks : 2 * n_blocks + (type == Q6_K ? 2 : 4);
    return ((size_t)bytes * GROUP + LINE - 1) / LINE * LINE;
}
/* Bytes of a group's numbers of one block. */
static inline size_t number_bytes(matrix_type type) {
    return GROUP * (type == Q8_0 ? 32 : type == Q6_K ? 24 : type == Q5_K ? 20 : 16);
}

/* The kernels' name of a type of ggml's; 0 if there is none. */
int matrix_type_of(int ggml_type, matrix_type *type);
/* Bytes of the packed form of n_rows rows of n inputs (a multiple of BLOCK, of SUPER blocks for the
 * k types). Fills everything but groups. */
size_t matrix_layout(packed_matrix *m, matrix_type type, int n_rows, int64_t n);
/* Pack rows of ggml's blocks, one row after the other, into groups [first, last). */
void matrix_pack(const packed_matrix *m, const void *rows, int first, int last);

/* A row as floats y[n_blocks * BLOCK]: the values that ggml gives for it. */
void matrix_row(const packed_matrix *m, int row, float *y);

/* Activations in tiles of up to MOST_COLUMNS columns, tile_width() wide each: per block
 *   int8 numbers[width][BLOCK]; float scale[width], minus[width]; int32 sum[width],
 *   half_sum[width][2]
 * with sum -8 times the sum of the column's numbers, minus the same times scale, and half_sum -32
 * times the sums of their halves. So one pointer serves all columns of a tile, and a product reads
 * a tile from end to end. */
enum { COLUMN_BLOCK = BLOCK + 20 /* bytes per column and block */ };

static inline size_t column_bytes(int64_t n) {
    return (size_t)n / BLOCK * COLUMN_BLOCK;
}
/* Columns in the next tile when n are left: evenly, 9 are 5 and 4, not 8 and 1. Who makes tiles of
 * other widths multiplies them as well: kernels/amx.c. */
static inline int tile_width(int n) {
    int n_tiles = (n + MOST_COLUMNS - 1) / MOST_COLUMNS;
    return (n + n_tiles - 1) / n_tiles;
}

/* Columns [first, ...) of block b in a tile of that width. */
typedef struct {
    int8_t *q; /* column c's at q + c * BLOCK */
    float *scale, *minus;
    int32_t *sum, *half_sum;
} column_block;
static inline column_block column_block_at(const void *tile, int width, int first, int b) {
    char *q = (char *)tile + (size_t)width * (size_t)b * COLUMN_BLOCK;
    int32_t *tail = (int32_t *)(void *)(q + width * BLOCK);
    return (column_block){(int8_t *)q + first * BLOCK, (float *)tail + first,
                          (float *)tail + width + first, tail + 2 * width + first,
                          tail + 3 * width + 2 * first};
}

#endif
