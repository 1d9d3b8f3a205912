/* weights.c - see weights.h. */
#include "weights.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "pool.h"

enum {
    PACKED_AT_ONCE = 32 << 20, /* bytes of weights in memory in both forms while they are packed */
    HASHED_BYTES = 4096,       /* of each weight, at most */
};

static size_t n_groups(const packed_matrix *m) {
    return ((size_t)m->n_rows + GROUP - 1) / GROUP;
}

/* ---- version 1: packing --------------------------------------------------------------------- */

/* What the threads that pack share: groups of rows of one tensor. */
typedef struct {
    packed_matrix *matrix;
    const struct ggml_tensor *tensor;
    int first, last;
} packing;

static void pack_share(int ith, int nth, void *user) {
    const packing *p = user;
    int64_t n = p->last - p->first;
    matrix_pack(p->matrix, p->tensor->data, p->first + (int)(n * ith / nth),
                p->first + (int)(n * (ith + 1) / nth));
}

/* Part by part, so that only a part is in memory twice. */
static void pack(packed_matrix *m, const struct ggml_tensor *t, pool *threads) {
    int n = (int)n_groups(m), part = (int)(PACKED_AT_ONCE / m->group_bytes) + 1;
    packing p = {.matrix = m, .tensor = t};
    for (; p.first < n; p.first = p.last) {
        p.last = n - p.first < part ? n : p.first + part;
        pool_run(threads, pack_share, &p);
        size_t begin = (size_t)p.first * GROUP * t->nb[1], end = (size_t)p.last * GROUP * t->nb[1];
        end = end < ggml_nbytes(t) ? end : ggml_nbytes(t);
        platform_forget((const char *)t->data + begin, end - begin);
    }
}

/* All weights but float matrices leave the map, so that a quantised model needs neither the file
 * nor the map's pages, which a system may map in lumps of megabytes around each small tensor. */
static int leave_map(vox_model *m, size_t *size) {
    size_t n_packed = 0, n_small = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        const model_weight *w = &m->weights[i];
        const packed_matrix *packed = w->tensor.extra;
        n_packed += packed ? n_groups(packed) * packed->group_bytes : 0;
        n_small += w->is_matrix ? 0 : ggml_nbytes(&w->tensor);
    }
    *size += n_packed + n_small;
    unsigned char *groups = m->packed_groups = platform_alloc_large(n_packed + 1);
    char *small = m->small = malloc(n_small + 1);
    pool *threads = pool_open(m->n_threads); /* fewer do as well */
    if (!threads) threads = pool_open(1);
    if (!groups || !small || !threads) {
        pool_close(threads);
        return VOX_ERR_MEMORY;
    }
    for (size_t i = 0; i < m->n_weights; i++) {
        struct ggml_tensor *t = &m->weights[i].tensor;
        packed_matrix *packed = t->extra;
        if (packed) {
            packed->groups = groups;
            groups += n_groups(packed) * packed->group_bytes;
            pack(packed, t, threads);
        } else if (!m->weights[i].is_matrix) {
            memcpy(small, t->data, ggml_nbytes(t));
            t->data = small;
            small += ggml_nbytes(t);
        }
    }
    pool_close(threads);
    platform_forget(m->file.data, m->file.size); /* the header and what is small */
    return VOX_OK;
}

/* ---- both ----------------------------------------------------------------------------------- */

int weights_place(vox_model *m, size_t *size) {
    size_t n = 0;
    matrix_type type;
    for (size_t i = 0; i < m->n_weights; i++)
        n += (size_t)matrix_type_of(m->weights[i].tensor.type, &type);
    *size = (n + 1) * sizeof *m->packed;
    packed_matrix *next = m->packed = calloc(n + 1, sizeof *m->packed);
    if (!next) return VOX_ERR_MEMORY;
    for (size_t i = 0; i < m->n_weights; i++) {
        struct ggml_tensor *t = &m->weights[i].tensor;
        if (!matrix_type_of(t->type, &type)) continue;
        matrix_layout(next, type, (int)t->ne[1], t->ne[0]);
        next->groups = t->data;
        t->extra = next++;
    }
    return m->is_grouped ? VOX_OK : leave_map(m, size);
}

void weights_free(vox_model *m) {
    free(m->weights);
    free(m->packed);
    platform_free_large(m->packed_groups);
    free(m->small);
}

/* Other weights differ in nearly every value, so the first bytes of each tell them apart. */
uint64_t weights_hash(const vox_model *m, uint64_t h) {
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ggml_tensor *t = &m->weights[i].tensor;
        const packed_matrix *packed = t->extra;
        size_t n = packed ? n_groups(packed) * packed->group_bytes : ggml_nbytes(t);
        h = hash_bytes(h, &t->type, sizeof t->type);
        h = hash_bytes(h, packed ? packed->groups : t->data, n < HASHED_BYTES ? n : HASHED_BYTES);
    }
    return h;
}
