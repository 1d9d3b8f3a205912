/* matrix.c - see matrix.h: from ggml's blocks to groups of rows, four numbers at a time, as words;
 * and back to floats. */
#include "matrix.h"

#include <ggml.h>
#include <string.h>

int matrix_type_of(int ggml_type, matrix_type *type) {
    switch (ggml_type) {
    case GGML_TYPE_Q4_0: *type = Q4_0; return 1;
    case GGML_TYPE_Q8_0: *type = Q8_0; return 1;
    case GGML_TYPE_Q4_K: *type = Q4_K; return 1;
    case GGML_TYPE_Q5_K: *type = Q5_K; return 1;
    case GGML_TYPE_Q6_K: *type = Q6_K; return 1;
    default: return 0;
    }
}

static int super_of(matrix_type type) {
    return type <= Q8_0 ? 1 : SUPER;
}

/* Bytes of ggml's block, of BLOCK inputs or of SUPER times as many. */
static size_t source_bytes(matrix_type type) {
    static const size_t bytes[N_MATRIX_TYPES] = {
        [Q4_0] = 18, [Q8_0] = 34, [Q4_K] = 144, [Q5_K] = 176, [Q6_K] = 210};
    return bytes[type];
}

size_t matrix_layout(packed_matrix *m, matrix_type type, int n_rows, int64_t n) {
    int n_blocks = (int)(n / BLOCK), rest = n_blocks % SUPER;
    size_t bytes = (size_t)n_blocks * number_bytes(type) +
                   (size_t)(n_blocks / SUPER) * scale_bytes(type, SUPER) +
                   (rest ? scale_bytes(type, rest) : 0);
    *m =
        (packed_matrix){.type = type, .n_rows = n_rows, .n_blocks = n_blocks, .group_bytes = bytes};
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
    size_t step = number_bytes(m->type);
    int is_super = super_of(m->type) == SUPER;
    for (int left = m->n_blocks; left > 0; left -= SUPER) {
        int n = left < SUPER ? left : SUPER;
        unsigned char *scales = group, *numbers = group + scale_bytes(m->type, n);
        if (is_super) { /* what all of its blocks have in common */
            put_half(scales, row, m->type == Q6_K ? p + 208 : p);
            scales += 2 * GROUP;
            if (m->type != Q6_K) {
                put_half(scales, row, p + 2);
                scales += 2 * GROUP;
            }
        }
        for (int b = 0; b < n; b++, numbers += step, scales += 2 * GROUP) {
            switch (m->type) {
            case Q4_0: pack_q4_0(p, row, numbers, scales); break;
            case Q8_0: pack_q8_0(p, row, numbers, scales); break;
            case Q6_K: pack_q6_k(p, b, row, numbers, scales); break;
            default: pack_k(p, b, m->type == Q5_K, row, numbers, scales);
            }
            if (!is_super) p += source_bytes(m->type);
        }
        if (is_super) p += source_bytes(m->type);
        group = numbers;
    }
}

void matrix_pack(const packed_matrix *m, const void *rows, int first, int last) {
    size_t stride = (size_t)(m->n_blocks / super_of(m->type)) * source_bytes(m->type);
    for (int g = first; g < last; g++) {
        unsigned char *group = m->groups + (size_t)g * m->group_bytes;
        int n = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
        memset(group, 0, m->group_bytes); /* what fills lines up, and rows that are not there */
        for (int row = 0; row < n; row++)
            pack_row(m, (const unsigned char *)rows + ((size_t)g * GROUP + (size_t)row) * stride,
                     row, group);
    }
}

/* ---- back to floats ------------------------------------------------------------------------- */

static float half(const unsigned char *p) {
    ggml_fp16_t h;
    memcpy(&h, p, sizeof h);
    return ggml_fp16_to_fp32(h);
}

/* Number i of a row in a block. */
static int number(matrix_type type, const unsigned char *numbers, int row, int i) {
    int j = i / 4, at = row * 4 + i % 4;
    const unsigned char *high = numbers + 4 * GROUP * 4 + at;
    if (type == Q8_0) return numbers[j * GROUP * 4 + at];
    int v = numbers[j % 4 * GROUP * 4 + at] >> (j < 4 ? 0 : 4) & 15;
    if (type == Q5_K) v |= (*high >> j & 1) << 4;
    if (type == Q6_K) v |= (high[j / 4 * GROUP * 4] >> 2 * (j % 4) & 3) << 4;
    return v;
}

void matrix_row(const packed_matrix *m, int r, float *y) {
    const unsigned char *group = m->groups + (size_t)(r / GROUP) * m->group_bytes;
    int row = r % GROUP, has_minimum = m->type == Q4_K || m->type == Q5_K;
    float d = 0, d_min = 0;
    for (int left = m->n_blocks; left > 0; left -= SUPER) {
        int n = left < SUPER ? left : SUPER;
        const unsigned char *scales = group, *numbers = group + scale_bytes(m->type, n);
        if (m->type > Q8_0) {
            d = half(scales + 2 * row);
            if (has_minimum) d_min = half(scales + 2 * GROUP + 2 * row);
            scales += has_minimum ? 4 * GROUP : 2 * GROUP;
        }
        for (int b = 0; b < n; b++, scales += 2 * GROUP, numbers += number_bytes(m->type)) {
            if (m->type <= Q8_0) d = half(scales + 2 * row);
            for (int i = 0; i < BLOCK; i++) {
                int v = number(m->type, numbers, row, i);
                switch (m->type) {
                case Q4_0: *y++ = d * (float)(v - 8); break;
                case Q8_0: *y++ = d * (float)(v - 128); break;
                case Q6_K: *y++ = d * (int8_t)scales[i / 16 * GROUP + row] * (float)(v - 32); break;
                default: *y++ = d * scales[row] * (float)v - d_min * scales[GROUP + row];
                }
            }
        }
        group = numbers;
    }
}
