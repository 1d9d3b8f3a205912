/* bits.c - see bits.h. */
#include "bits.h"

#include <float.h>
#include <string.h>

#include "hash.h"
#include "maths.h"
#include "rounding.h"

enum { N = 3 * BLOCK + 11, N_COLUMNS = 3, HEAD_DIM = 20 };

/* Numbers of all sizes that a model meets, made of integers. */
static void fill(float *x, int n, uint32_t seed) {
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)((int32_t)seed >> 8) / (float)(1 << (12 + i % 11));
    }
}

static uint64_t of_maths(const kernels *table, uint64_t sum) {
    float x[N], by[N], y[N];
    double d[5];
    fill(x, N, 1);
    fill(by, N, 2);
    table->gelu(x, N, y);
    sum = hash_bytes(sum, y, sizeof y);
    table->swiglu(x, by, N, y);
    sum = hash_bytes(sum, y, sizeof y);
    table->rms_norm(x, by, 1e-5f, N, y);
    sum = hash_bytes(sum, y, sizeof y);
    for (int i = 0; i < N; i++) {
        turns angle = (turns)(i * 7919) * maths_turn(maths_power(10000, -(double)i / N));
        d[0] = maths_cos(angle);
        d[1] = maths_sin(angle);
        d[2] = maths_log10(1.0 + i * 977);
        d[3] = maths_exp(-0.3 * i);
        d[4] = maths_erf((double)x[i]);
        sum = hash_bytes(sum, d, sizeof d);
    }
    return sum;
}

static uint64_t of_products(const kernels *table, uint64_t sum) {
    float x[N_COLUMNS * N], w[2 * N], y[N_COLUMNS * 2];
    _Alignas(64) unsigned char tiles[N_COLUMNS * 4 * BLOCK * 4];
    fill(x, N_COLUMNS * N, 3);
    fill(w, 2 * N, 4);
    float_matrix m = {.rows = w, .type = FLOATS, .n_columns = N};
    table->float_product(&m, 0, 2, x, N, N_COLUMNS, y, 2);
    sum = hash_bytes(sum, y, sizeof y);
    kernels_portable.quantise(x, N, N_COLUMNS, 3, 0, 3, tiles);
    for (int b = 0; b < 3; b++) {
        column_block at = column_block_at((char *)tiles, N_COLUMNS, 0, b);
        sum = hash_bytes(sum, at.q, N_COLUMNS * BLOCK);
        sum = hash_bytes(sum, at.scale, N_COLUMNS * sizeof *at.scale);
    }
    return sum;
}

static uint64_t of_attention(const kernels *table, uint64_t sum) {
    float keys[HEAD_DIM * ATTEND_PAGE], values[ATTEND_PAGE * HEAD_DIM];
    float q[HEAD_DIM], out[HEAD_DIM] = {0};
    fill(keys, HEAD_DIM * ATTEND_PAGE, 5);
    fill(values, ATTEND_PAGE * HEAD_DIM, 6);
    fill(q, HEAD_DIM, 7);
    for (int i = 0; i < HEAD_DIM; i++) q[i] /= 1 << 16;
    attend_page page = {.keys = keys,
                        .values = values,
                        .next_keys = keys,
                        .next_values = values,
                        .head_dim = HEAD_DIM,
                        .scale = 0.125f};
    attend_query query = {.q = q, .out = out, .max = -FLT_MAX, .first = 3, .last = 59};
    table->attend(&page, &query, 1);
    query.first = 0;
    table->attend(&page, &query, 1);
    for (int i = 0; i < HEAD_DIM; i++) out[i] += 0.0f; /* a zero may come with either sign */
    sum = hash_bytes(sum, query.sum, sizeof query.sum);
    return hash_bytes(sum, out, sizeof out);
}

uint64_t bits_fingerprint(const kernels *table) {
    fenv_t callers = rounding_default();
    uint64_t sum = of_attention(table, of_products(table, of_maths(table, 0)));
    fesetenv(&callers);
    return sum;
}
