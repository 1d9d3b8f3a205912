/* matrix.c - see matrix.h: from ggml's blocks to groups of rows, four numbers at a time, as words;
 * and back to floats. */
#include "matrix.h"

#include <ggml.h>
#include <string.h>

static const struct {
    int bytes;        /* of ggml's block */
    int is_super;     /* which has 256 inputs */
    int numbers;      /* bytes of a packed block's numbers, per row */
    int block_scales; /* bytes of a block's scales, per row */
    int super_scales; /* and of eight blocks' */
} types[N_MATRIX_TYPES] = {[Q4_0] = {18, 0, 16, 2, 0},
                           [Q8_0] = {34, 0, 32, 2, 0},
                           [Q4_K] = {144, 1, 16, 2, 4},
                           [Q5_K] = {176, 1, 20, 2, 4},
                           [Q6_K] = {210, 1, 24, 2, 2}};

size_t matrix_layout(packed_matrix *m, matrix_type type, int n_rows, int64_t n) {
    int n_blocks = (int)(n / BLOCK);
    size_t numbers = (size_t)n_blocks * (size_t)types[type].numbers * GROUP;
    size_t scales = (size_t)n_blocks * (size_t)types[type].block_scales +
                    (size_t)(n_blocks / SUPER) * (size_t)types[type].super_scales;
    size_t bytes = (numbers + scales * GROUP + 63) / 64 * 64; /* groups start on cache lines */
    *m = (packed_matrix){.type = type,
                         .n_rows = n_rows,
                         .n_blocks = n_blocks,
                         .group_numbers = numbers,
                         .group_bytes = bytes};
    return bytes * (size_t)((n_rows + GROUP - 1) / GROUP);
}

static uint32_t word(const unsigned char *p, int i) {
    uint32_t w;
    memcpy(&w, p + 4 * i, sizeof w);
    return w;
}

static void put(unsigned char *numbers, int vector, int row, uint32_t w) {
    memcpy(numbers + (vector * GROUP + row) * 4, &w, sizeof w);
}

static void put_half(unsigned char *scales, int row, const unsigned char *half) {
    memcpy(scales + 2 * row, half, 2);
}

/* low[8]: four bits of each number. */
static void put_low(unsigned char *numbers, int row, const uint32_t *low) {
    for (int j = 0; j < 4; j++) put(numbers, j, row, low[j] | low[4 + j] << 4);
}

static void pack_q4_0(const unsigned char *p, int row, unsigned char *numbers,
                      unsigned char *scales) {
    put_half(scales, row, p);
    for (int j = 0; j < 4; j++) put(numbers, j, row, word(p + 2, j));
}

static void pack_q8_0(const unsigned char *p, int row, unsigned char *numbers,
                      unsigned char *scales) {
    put_half(scales, row, p);
    for (int j = 0; j < 8; j++) put(numbers, j, row, word(p + 2, j) ^ 0x80808080u);
}

/* Block b of a q4_k or q5_k super-block: d, dmin, 12 bytes of six-bit scales and minima, the fifth
 * bits (q5_k), the low four bits of two blocks at a time. */
static void pack_k(const unsigned char *p, int b, int has_fifth, int row, unsigned char *numbers,
                   unsigned char *scales) {
    const unsigned char *s = p + 4, *fifth = p + 16, *low = p + (has_fifth ? 48 : 16) + b / 2 * 32;
    uint32_t four[8], high = 0;
    scales[row] = b < 4 ? s[b] & 63 : (s[b + 4] & 15) | (s[b - 4] >> 6) << 4;
    scales[GROUP + row] = b < 4 ? s[b + 4] & 63 : s[b + 4] >> 4 | (s[b] >> 6) << 4;
    for (int j = 0; j < 8; j++) four[j] = word(low, j) >> 4 * (b & 1) & 0x0f0f0f0fu;
    put_low(numbers, row, four);
    for (int j = 0; has_fifth && j < 8; j++) high |= (word(fifth, j) >> b & 0x01010101u) << j;
    if (has_fifth) put(numbers, 4, row, high);
}

/* Block b of a q6_k super-block: 128 bytes of low four bits, 64 of the upper two, 16 scales, d. */
static void pack_q6_k(const unsigned char *p, int b, int row, unsigned char *numbers,
                      unsigned char *scales) {
    const unsigned char *low = p + b / 4 * 64 + b % 2 * 32, *high = p + 128 + b / 4 * 32;
    uint32_t four[8], two[2] = {0, 0};
    scales[row] = p[192 + 2 * b];
    scales[GROUP + row] = p[192 + 2 * b + 1];
    for (int j = 0; j < 8; j++) {
        four[j] = word(low, j) >> (b % 4 < 2 ? 0 : 4) & 0x0f0f0f0fu;
        two[j / 4] |= (word(high, j) >> 2 * (b % 4) & 0x03030303u) << 2 * (j % 4);
    }
    put_low(numbers, row, four);
    for (int i = 0; i < 2; i++) put(numbers, 4 + i, row, two[i]);
}

static void pack_row(const packed_matrix *m, const unsigned char *p, int row,
                     unsigned char *group) {
    unsigned char *numbers = group, *scales = group + m->group_numbers;
    size_t step = (size_t)types[m->type].numbers * GROUP;
    for (int b = 0; b < m->n_blocks; b++, numbers += step) {
        int is_first = types[m->type].is_super && b % SUPER == 0;
        if (is_first) { /* what the whole super-block has in common */
            put_half(scales, row, m->type == Q6_K ? p + 208 : p);
            if (m->type != Q6_K) put_half(scales + 2 * GROUP, row, p + 2);
            scales += (size_t)types[m->type].super_scales * GROUP;
        }
        switch (m->type) {
        case Q4_0: pack_q4_0(p, row, numbers, scales); break;
        case Q8_0: pack_q8_0(p, row, numbers, scales); break;
        case Q6_K: pack_q6_k(p, b % SUPER, row, numbers, scales); break;
        default: pack_k(p, b % SUPER, m->type == Q5_K, row, numbers, scales);
        }
        scales += (size_t)types[m->type].block_scales * GROUP;
        if (!types[m->type].is_super || b % SUPER == SUPER - 1) p += types[m->type].bytes;
    }
}

void matrix_pack(const packed_matrix *m, const void *rows, int first, int last) {
    int per_super = types[m->type].is_super ? SUPER : 1;
    size_t stride = (size_t)(m->n_blocks / per_super) * (size_t)types[m->type].bytes;
    for (int g = first; g < last; g++) {
        unsigned char *group = m->groups + (size_t)g * m->group_bytes;
        int n = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
        if (n < GROUP) memset(group, 0, m->group_bytes);
        for (int row = 0; row < n; row++)
            pack_row(m, (const unsigned char *)rows + ((size_t)g * GROUP + (size_t)row) * stride,
                     row, group);
    }
}

float matrix_half(const unsigned char *p) {
    ggml_fp16_t half;
    memcpy(&half, p, sizeof half);
    return ggml_fp16_to_fp32(half);
}

void matrix_block(matrix_type type, const unsigned char *numbers, int row, int v[BLOCK]) {
    for (int i = 0; i < BLOCK; i++) {
        int j = i / 4, at = row * 4 + i % 4;
        const unsigned char *low = numbers + j % 4 * GROUP * 4 + at;
        const unsigned char *high = numbers + 4 * GROUP * 4 + at;
        if (type == Q8_0) {
            v[i] = numbers[j * GROUP * 4 + at];
            continue;
        }
        v[i] = j < 4 ? *low & 15 : *low >> 4;
        if (type == Q5_K) v[i] |= (*high >> j & 1) << 4;
        if (type == Q6_K) v[i] |= (high[j / 4 * GROUP * 4] >> 2 * (j % 4) & 3) << 4;
    }
}

void matrix_row(const packed_matrix *m, int r, float *y) {
    const unsigned char *group = m->groups + (size_t)(r / GROUP) * m->group_bytes;
    const unsigned char *scales = group + m->group_numbers;
    size_t step = (size_t)types[m->type].numbers * GROUP;
    int row = r % GROUP, is_super = types[m->type].is_super;
    float d = 0, d_min = 0;
    for (int b = 0; b < m->n_blocks; b++, y += BLOCK) {
        int v[BLOCK];
        matrix_block(m->type, group + (size_t)b * step, row, v);
        if (!is_super || b % SUPER == 0) {
            d = matrix_half(scales + 2 * row);
            if (m->type == Q4_K || m->type == Q5_K)
                d_min = matrix_half(scales + 2 * GROUP + 2 * row);
            scales += (size_t)(is_super ? types[m->type].super_scales : 2) * GROUP;
        }
        for (int i = 0; i < BLOCK; i++) switch (m->type) {
            case Q4_0: y[i] = d * (float)(v[i] - 8); break;
            case Q8_0: y[i] = d * (float)(v[i] - 128); break;
            case Q6_K: y[i] = d * (int8_t)scales[i / 16 * GROUP + row] * (float)(v[i] - 32); break;
            default: y[i] = d * scales[row] * (float)v[i] - d_min * scales[GROUP + row];
            }
        if (is_super) scales += 2 * GROUP;
    }
}
