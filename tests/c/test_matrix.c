/* test_matrix.c - packed weights and their products: every instruction set gives the bits of plain
 * C, for every type, odd sizes and numbers of columns, plain C is right, and rows come back as ggml
 * would give them.
 */
#include <ggml.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "kernels/functions.h"
#include "kernels/kernels.h"
#include "platform.h"
#include "voxtral.h"

enum { MAX_ROWS = 64, MAX_K = 3072, MAX_COLUMNS = 100 };

#ifdef VOXTRAL_TILE_MODEL
extern const kernels kernels_tile_model;
#endif

/* The i-th kernels to compare with plain C; NULL past the last. */
static const kernels *compared(int i) {
    const kernels *table = kernels_at(i + 1);
#ifdef VOXTRAL_TILE_MODEL
    static int has_vectors; /* which the rest of the model's file needs */
    if (table == &kernels_avx512) has_vectors = 1;
    if (!table && has_vectors && kernels_at(i)) return &kernels_tile_model;
#endif
    return table;
}

static const enum ggml_type ggml_types[N_MATRIX_TYPES] = {
    GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K};

static float weights[MAX_ROWS * MAX_K], unpacked[MAX_ROWS * MAX_K], x[MAX_COLUMNS * MAX_K];
static unsigned char rows[MAX_ROWS * MAX_K * 2];

static float noise(void) {
    static uint32_t seed = 1;
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1;
}

static void *room(size_t size) {
    void *p = platform_alloc_large(size);
    CHECK(p);
    memset(p, 0xff, size); /* NaN: what is not written shows */
    return p;
}

/* y [n_columns][n_rows], with rows shared out in two parts. */
static float *multiply(const kernels *k, const packed_matrix *m, int n_columns) {
    int64_t n = (int64_t)m->n_blocks * BLOCK;
    char *columns = room((size_t)n_columns * column_bytes(n));
    float *y = room((size_t)(n_columns * m->n_rows) * sizeof *y);
    int n_groups = (m->n_rows + GROUP - 1) / GROUP, half = m->n_blocks / 2;
    k->quantise(x, (size_t)n, n_columns, m->n_blocks, 0, half, columns);
    k->quantise(x, (size_t)n, n_columns, m->n_blocks, half, m->n_blocks, columns);
    k->product(m, 0, n_groups / 2, columns, n_columns, y, (size_t)m->n_rows);
    k->product(m, n_groups / 2, n_groups, columns, n_columns, y, (size_t)m->n_rows);
    platform_free_large(columns);
    return y;
}

/* Off by no more than what rounding the activations to 8 bits can make, and float sums. */
static void check_right(const packed_matrix *m, const float *y, int n_columns) {
    int n = m->n_blocks * BLOCK;
    for (int c = 0; c < n_columns; c++)
        for (int r = 0; r < m->n_rows; r++) {
            double sum = 0, bound = 0;
            for (int b = 0; b < m->n_blocks; b++) {
                const float *w = unpacked + r * n + b * BLOCK, *v = x + c * n + b * BLOCK;
                double largest = 0;
                for (int i = 0; i < BLOCK; i++)
                    if (fabsf(v[i]) > largest) largest = fabsf(v[i]);
                for (int i = 0; i < BLOCK; i++) {
                    sum += (double)w[i] * v[i];
                    bound += fabs((double)w[i]) * largest * (0.5 / 127 + 1e-5);
                }
            }
            CHECK(fabs(y[c * m->n_rows + r] - sum) <= bound);
        }
}

static void test_size(matrix_type type, int n_rows, int n, int n_columns) {
    int id = (int)ggml_types[type];
    for (int i = 0; i < n_rows * n; i++) weights[i] = noise() * (i / 100 % 3 ? 0.1f : 2);
    for (int i = 0; i < n_columns * n; i++) x[i] = noise() * (i / BLOCK % 5 ? 1 : 100);
    CHECK(vox_packed_size(id, (int64_t)n_rows * n) <= sizeof rows);
    CHECK(vox_pack(id, weights, (int64_t)n_rows * n, n, rows) == VOX_OK);
    CHECK(vox_unpack(id, rows, (int64_t)n_rows * n, unpacked) == VOX_OK);
    packed_matrix m;
    size_t size = matrix_layout(&m, type, n_rows, n);
    m.groups = room(size);
    matrix_pack(&m, rows, 0, (n_rows + GROUP - 1) / GROUP);
    for (int r = 0; r < n_rows; r++) {
        float y[MAX_K];
        matrix_row(&m, r, y);
        CHECK(memcmp(y, unpacked + r * n, (size_t)n * sizeof *y) == 0);
    }
    float *portable = multiply(&kernels_portable, &m, n_columns);
    check_right(&m, portable, n_columns);
    for (int i = 0; compared(i); i++) {
        float *y = multiply(compared(i), &m, n_columns);
        CHECK(memcmp(y, portable, (size_t)(n_rows * n_columns) * sizeof *y) == 0);
        platform_free_large(y);
    }
    /* A column's numbers do not depend on the others. */
    if (n_columns > 1) {
        float *alone = multiply(kernels_best(), &m, 1);
        CHECK(memcmp(alone, portable, (size_t)n_rows * sizeof *alone) == 0);
        platform_free_large(alone);
    }
    platform_free_large(portable);
    platform_free_large(m.groups);
}

/* Columns that are zero, tiny, not finite, or have numbers half-way between two integers. */
static void test_columns(void) {
    enum { N = 8 * BLOCK };
    float v[N];
    for (int i = 0; i < N; i++) v[i] = 127 * noise();
    for (int i = 0; i < BLOCK; i++) {
        v[i] = 0;
        v[BLOCK + i] = 1e-40f * (float)i;
        v[2 * BLOCK + i] = (float)(i - 16) + 0.5f;
    }
    v[2 * BLOCK] = 127;
    v[3 * BLOCK + 5] = NAN;
    v[4 * BLOCK + 31] = -INFINITY;
    v[5 * BLOCK] = -3e38f;
    char *expected = room(column_bytes(N));
    kernels_portable.quantise(v, N, 1, N / BLOCK, 0, N / BLOCK, expected);
    column_block b[6];
    for (int i = 0; i < 6; i++) b[i] = column_block_at(expected, 1, 0, i);
    CHECK(b[0].scale[0] == 0 && b[1].scale[0] == 0 && b[0].q[3] == 0 && b[1].q[3] == 0);
    CHECK(b[2].scale[0] == 1 && b[2].q[16] == 0 && b[2].q[17] == 2);
    CHECK(isnan(b[3].scale[0]) && isnan(b[4].scale[0]) && isfinite(b[5].scale[0]));
    CHECK(4 * b[2].sum[0] == b[2].half_sum[0] + b[2].half_sum[1]);
    for (int i = 0; compared(i); i++) {
        char *y = room(column_bytes(N));
        compared(i)->quantise(v, N, 1, N / BLOCK, 0, N / BLOCK, y);
        CHECK(memcmp(y, expected, column_bytes(N)) == 0);
        platform_free_large(y);
    }
    platform_free_large(expected);
}

/* Matrices that are not quantised: every table gives the same bits, near the exact sums. */
static void test_floats(float_type type, int n_rows, int n, int n_columns) {
    const size_t size = type == FLOATS ? 4 : 2;
    for (int i = 0; i < n_rows * n; i++) weights[i] = noise();
    for (int i = 0; i < n_columns * n; i++) x[i] = noise();
    unsigned char *m_rows = room((size_t)(n_rows * n) * size); /* no byte more: reads end there */
    for (int i = 0; i < n_rows * n; i++) {
        uint32_t bits;
        memcpy(&bits, &weights[i], sizeof bits);
        uint16_t narrow = type == HALVES ? ggml_fp32_to_fp16(weights[i]) : (uint16_t)(bits >> 16);
        memcpy(m_rows + (size_t)i * size, type == FLOATS ? (void *)&bits : (void *)&narrow, size);
        if (type == HALVES) weights[i] = ggml_fp16_to_fp32(narrow);
        bits = (uint32_t)narrow << 16;
        if (type == BRAINS) memcpy(&weights[i], &bits, sizeof bits);
    }
    float_matrix m = {.rows = m_rows, .type = type, .n_columns = n};
    float *y[8];
    size_t stride = (size_t)n_rows + 3, bytes = stride * (size_t)n_columns * sizeof **y;
    for (int i = 0; kernels_at(i); i++) {
        y[i] = room(bytes);
        memset(y[i], 0, bytes);
        kernels_at(i)->float_product(&m, 0, n_rows / 2, x, (size_t)n, n_columns, y[i], stride);
        kernels_at(i)->float_product(&m, n_rows / 2, n_rows, x, (size_t)n, n_columns, y[i], stride);
        CHECK(memcmp(y[i], y[0], bytes) == 0);
    }
    for (int c = 0; c < n_columns; c++)
        for (int r = 0; r < n_rows; r++) {
            double sum = 0, most = 1e-6;
            for (int k = 0; k < n; k++) {
                sum += (double)weights[r * n + k] * x[c * n + k];
                most += fabs((double)weights[r * n + k] * x[c * n + k]);
            }
            CHECK(fabs(y[0][(size_t)c * stride + (size_t)r] - sum) < 1e-6 * most);
        }
    for (int i = 0; kernels_at(i); i++) platform_free_large(y[i]);
    platform_free_large(m_rows);
}

/* x * y + z in every lane of every table, where rounding twice is not rounding once: the product,
 * (1 + d) (1 - d) half of z's last place, takes the sum less than a double can tell away from
 * half-way. With the least power z is the largest of what lies below the normal numbers. Processors
 * that round once decide; C libraries do not: one has fmaf wrong there. */
static void test_rounding(void) {
    enum { N = 2 * FLOAT_SUMS };
    int n_twice = 0;
    for (int power = -149; power < 100; power++)
        for (int k = 8; k < 24; k++)
            for (int last = 0; last < 16; last++) {
                float row[N], by[N], d = ldexpf(1, -k);
                float x = ldexpf(1 + d, (power - 1) / 2), z = ldexpf(1, power);
                float y = ldexpf(last & 1 ? d - 1 : 1 - d, power - 1 - (power - 1) / 2);
                z *= (float)((last & 4 ? 1 << 23 : 1 << 22) + last / 8);
                if (last & 2) z = -z;
                float sum = fused(x, y, z), once;
                n_twice += (float)((double)x * y + z) != sum;
                for (int i = 0; i < FLOAT_SUMS; i++) {
                    row[i] = z;
                    by[i] = 1;
                    row[FLOAT_SUMS + i] = x;
                    by[FLOAT_SUMS + i] = y;
                }
                sum *= FLOAT_SUMS;
                float_matrix m = {.rows = row, .type = FLOATS, .n_columns = N};
                for (int i = 0; kernels_at(i); i++) {
                    kernels_at(i)->float_product(&m, 0, 1, by, N, 1, &once, 1);
                    CHECK(memcmp(&once, &sum, sizeof sum) == 0);
                }
            }
    CHECK(n_twice > 1000);
}

int main(void) {
    static const int n_rows[] = {1, 15, 17, 33, 64}, ks[] = {32, 64, 96, 256, 512};
    static const int columns[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 48};
    for (int t = 0; t < N_MATRIX_TYPES; t++) {
        for (size_t r = 0; r < sizeof n_rows / sizeof *n_rows; r++)
            for (size_t k = 0; k < sizeof ks / sizeof *ks; k++)
                if (ks[k] % (int)ggml_blck_size(ggml_types[t]) == 0)
                    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
                        test_size((matrix_type)t, n_rows[r], ks[k], columns[c]);
        test_size((matrix_type)t, 33, MAX_K, MAX_COLUMNS);
    }
    test_columns();
    for (int type = FLOATS; type <= BRAINS; type++)
        for (int n = 1; n < 200; n += n < 40 ? 1 : 37)
            for (int c = 1; c < 10; c++) test_floats((float_type)type, 3, n, c);
    test_rounding();
    return 0;
}
