/* pack.c - quantisers for the converter: rows of floats to blocks and back; and rows of blocks to
 * the groups that the kernels read. Types whose scales leave a choice are fitted by our own search,
 * the others are ggml's. Stateless.
 */
#include <assert.h>
#include <ggml.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "kernels/fit.h"
#include "kernels/matrix.h"
#include "rounding.h"
#include "voxtral.h"

static int type_known(int type) {
    switch (type) {
    case GGML_TYPE_F32:
    case GGML_TYPE_F16:
    case GGML_TYPE_BF16:
    case GGML_TYPE_Q8_0:
    case GGML_TYPE_Q6_K:
    case GGML_TYPE_Q5_K:
    case GGML_TYPE_Q4_K:
    case GGML_TYPE_Q4_0: return 1;
    default: return 0;
    }
}

static int is_fitted(int type) {
    return type == GGML_TYPE_Q4_K || type == GGML_TYPE_Q5_K || type == GGML_TYPE_Q6_K;
}

size_t vox_packed_size(int type, int64_t n) {
    if (!type_known(type) || n < 0) return 0;
    int64_t block = ggml_blck_size((enum ggml_type)type);
    size_t size = ggml_type_size((enum ggml_type)type);
    if (n % block != 0 || (uint64_t)(n / block) > SIZE_MAX / size) return 0;
    return (size_t)(n / block) * size;
}

int vox_pack(int type, const float *values, int64_t n, int64_t n_row, void *blocks) {
    if (!values || !blocks || n < 0 || n_row <= 0 || n % n_row != 0) return VOX_ERR_ARGUMENT;
    if (!vox_packed_size(type, n_row)) return VOX_ERR_ARGUMENT;
    if (type == GGML_TYPE_F32) memcpy(blocks, values, (size_t)n * sizeof(float));
    else if (n > 0) {
        fenv_t callers = rounding_default();
        if (is_fitted(type)) fit_best()(type, values, (size_t)n, blocks);
        else ggml_quantize_chunk((enum ggml_type)type, values, blocks, 0, n / n_row, n_row, NULL);
        fesetenv(&callers);
    }
    return VOX_OK;
}

int vox_unpack(int type, const void *blocks, int64_t n, float *values) {
    if (!values || !blocks || n < 0 || (n > 0 && !vox_packed_size(type, n)))
        return VOX_ERR_ARGUMENT;
    if (type == GGML_TYPE_F32) memcpy(values, blocks, (size_t)n * sizeof(float));
    else if (n > 0) {
        fenv_t callers = rounding_default();
        ggml_get_type_traits((enum ggml_type)type)->to_float(blocks, values, n);
        fesetenv(&callers);
    }
    return VOX_OK;
}

static_assert((int)VOX_GROUP_ROWS == (int)GROUP, "the converter cuts matrices between groups");

/* The matrix, without its groups; 0 if there is none of that type and size. */
static size_t layout(packed_matrix *m, int type, int64_t n_rows, int64_t n) {
    matrix_type kind;
    if (!matrix_type_of(type, &kind) || n_rows <= 0 || n_rows > INT_MAX - GROUP || n <= 0 ||
        n > INT_MAX || !vox_packed_size(type, n))
        return 0;
    return matrix_layout(m, kind, (int)n_rows, n);
}

size_t vox_grouped_size(int type, int64_t n_rows, int64_t n) {
    packed_matrix m;
    return layout(&m, type, n_rows, n);
}

int vox_group(int type, const void *blocks, int64_t n_rows, int64_t n, void *groups) {
    packed_matrix m;
    if (!blocks || !groups || !layout(&m, type, n_rows, n)) return VOX_ERR_ARGUMENT;
    m.groups = groups;
    matrix_pack(&m, blocks, 0, (int)((n_rows + GROUP - 1) / GROUP));
    return VOX_OK;
}

int vox_ungroup(int type, const void *groups, int64_t n_rows, int64_t n, float *values) {
    packed_matrix m;
    if (!groups || !values || !layout(&m, type, n_rows, n)) return VOX_ERR_ARGUMENT;
    m.groups = (unsigned char *)groups; /* they are only read */
    fenv_t callers = rounding_default();
    for (int r = 0; r < m.n_rows; r++) matrix_row(&m, r, values + (int64_t)r * n);
    fesetenv(&callers);
    return VOX_OK;
}
