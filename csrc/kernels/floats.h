/* floats.h - products with matrices of floats in vectors, included by the file of each instruction
 * set after attend.h. A row is read once for COLUMNS columns, whose sums lie in registers. */
enum { COLUMNS = 4, VECTORS = FLOAT_SUMS / LANES };

INLINE void load_weights(float_type type, const char *row, int i, vec w[VECTORS]) {
    for (int v = 0; v < VECTORS; v++) {
        int at = i + v * LANES;
        w[v] = type == FLOATS   ? vec_load((const float *)row + at)
               : type == HALVES ? vec_load_half((const uint16_t *)row + at)
                                : vec_load_brain((const uint16_t *)row + at);
    }
}

INLINE void multiply_row(float_type type, const char *row, int k, const float *x, size_t x_stride,
                         const int n, float *y, size_t stride) {
    const size_t size = type == FLOATS ? 4 : 2;
    vec sum[COLUMNS][VECTORS], w[VECTORS];
    for (int c = 0; c < n; c++)
        for (int v = 0; v < VECTORS; v++) sum[c][v] = vec_all(0);
    int i = 0;
    for (; i + FLOAT_SUMS <= k; i += FLOAT_SUMS) {
        load_weights(type, row, i, w);
        for (int c = 0; c < n; c++)
            for (int v = 0; v < VECTORS; v++)
                sum[c][v] =
                    vec_fma(w[v], vec_load(x + (size_t)c * x_stride + i + v * LANES), sum[c][v]);
    }
    if (i < k) {
        float rest[FLOAT_SUMS] = {0};
        memcpy(rest, row + (size_t)i * size, (size_t)(k - i) * size);
        load_weights(type, (const char *)rest, 0, w);
        for (int c = 0; c < n; c++) {
            float by[FLOAT_SUMS] = {0};
            memcpy(by, x + (size_t)c * x_stride + i, (size_t)(k - i) * sizeof *by);
            for (int v = 0; v < VECTORS; v++)
                sum[c][v] = vec_fma(w[v], vec_load(by + v * LANES), sum[c][v]);
        }
    }
    for (int c = 0; c < n; c++) {
        float s[FLOAT_SUMS];
        for (int v = 0; v < VECTORS; v++) vec_store(s + v * LANES, sum[c][v]);
        for (int half = FLOAT_SUMS / 2; half > 0; half /= 2)
            for (int j = 0; j < half; j++) s[j] += s[j + half];
        y[(size_t)c * stride] = s[0];
    }
}

INLINE void multiply_rows(float_type type, const float_matrix *m, int first, int last,
                          const float *x, size_t x_stride, int n_columns, float *y, size_t stride) {
    const size_t row_bytes = (size_t)m->n_columns * (type == FLOATS ? 4 : 2);
    for (int r = first; r < last; r++) {
        const char *row = (const char *)m->rows + (size_t)r * row_bytes;
        int c = 0;
        for (; c + COLUMNS <= n_columns; c += COLUMNS)
            multiply_row(type, row, m->n_columns, x + (size_t)c * x_stride, x_stride, COLUMNS,
                         y + (size_t)c * stride + r, stride);
        for (; c < n_columns; c++)
            multiply_row(type, row, m->n_columns, x + (size_t)c * x_stride, x_stride, 1,
                         y + (size_t)c * stride + r, stride);
    }
}

static void float_product(const float_matrix *m, int first, int last, const float *x,
                          size_t x_stride, int n_columns, float *y, size_t stride) {
    switch (m->type) {
    case FLOATS: multiply_rows(FLOATS, m, first, last, x, x_stride, n_columns, y, stride); break;
    case HALVES: multiply_rows(HALVES, m, first, last, x, x_stride, n_columns, y, stride); break;
    default: multiply_rows(BRAINS, m, first, last, x, x_stride, n_columns, y, stride);
    }
}
