/* attention.c - see attention.h. */
#include "attention.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* QUERIES: most queries that go through the ring together; their sums still fit a core's cache. */
enum { MAX_HEAD_DIM = 1024, QUERIES = 64 };

int attention_init(attention *a, const transformer_params *p, enum ggml_type kv_type, int width,
                   const kernels *table) {
    int half = p->head_dim / 2;
    *a = (attention){.p = p, .kv_type = kv_type, .kernels = table};
    a->frequency = malloc((size_t)half * sizeof *a->frequency);
    a->turn = malloc((size_t)width * (size_t)half * 2 * sizeof *a->turn);
    if (!a->frequency || !a->turn) {
        attention_free(a);
        return VOX_ERR_MEMORY;
    }
    for (int j = 0; j < half; j++) a->frequency[j] = pow(p->rope_theta, -2.0 * j / p->head_dim);
    return VOX_OK;
}

void attention_free(attention *a) {
    free(a->frequency);
    free(a->turn);
    *a = (attention){0};
}

void attention_prepare(attention *a, kv_ring *kv, int n) {
    int half = a->p->head_dim / 2;
    a->kv = kv;
    for (int c = 0; c < n; c++)
        for (int j = 0; j < half; j++) {
            double angle = (double)(kv->end + c) * a->frequency[j];
            a->turn[2 * (c * half + j)] = (float)cos(angle);
            a->turn[2 * (c * half + j) + 1] = (float)sin(angle);
        }
}

static float *column(const struct ggml_tensor *t, int64_t c) {
    return (float *)((char *)t->data + (size_t)c * t->nb[1]);
}

/* Turn pairs (2j, 2j + 1) of one head: the interleaved layout of the official checkpoint. Fused
 * explicitly, because compilers have been seen to fuse this pattern unasked. */
static void rotate(const float *x, const float *turn, int head_dim, float *y) {
    for (int j = 0; j < head_dim / 2; j++) {
        float c = turn[2 * j], s = turn[2 * j + 1];
        float x0 = x[2 * j], x1 = x[2 * j + 1];
        y[2 * j] = fmaf(x0, c, -(x1 * s));
        y[2 * j + 1] = fmaf(x1, c, x0 * s);
    }
}

/* A turned key and a value [head_dim] into their places. */
static void store(const attention *a, int layer, int head, int64_t position, const float *key,
                  const float *value) {
    int dim = a->p->head_dim, place = (int)(position % KV_PAGE);
    void *keys = kv_block(a->kv, layer, 0, head, position);
    void *values = kv_block(a->kv, layer, 1, head, position);
    if (a->kv_type == GGML_TYPE_F16) {
        ggml_fp16_t half[MAX_HEAD_DIM], *to = keys;
        ggml_cpu_fp32_to_fp16(key, half, dim);
        for (int d = 0; d < dim; d++) to[d * KV_PAGE + place] = half[d];
        ggml_cpu_fp32_to_fp16(value, (ggml_fp16_t *)values + place * dim, dim);
    } else {
        float *to = keys;
        for (int d = 0; d < dim; d++) to[d * KV_PAGE + place] = key[d];
        memcpy((float *)values + place * dim, value, (size_t)dim * sizeof *value);
    }
}

/* dst = turned q; k and v go into the ring. KV heads are shared out over the threads: places of
 * neighbouring positions share cache lines. */
static void op_store(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const attention_layer *layer = user;
    const attention *a = layer->a;
    int dim = a->p->head_dim, group = a->p->n_heads / a->p->n_kv_heads;
    float key[MAX_HEAD_DIM];
    for (int head = ith; head < a->p->n_kv_heads; head += nth)
        for (int c = 0; c < dst->ne[1]; c++) {
            const float *turn = a->turn + c * dim;
            const float *q = column(dst->src[0], c) + head * group * dim;
            float *turned = column(dst, c) + head * group * dim;
            for (int g = 0; g < group; g++) rotate(q + g * dim, turn, dim, turned + g * dim);
            rotate(column(dst->src[1], c) + head * dim, turn, dim, key);
            store(a, layer->layer, head, a->kv->end + c, key, column(dst->src[2], c) + head * dim);
        }
}

/* Queries first .. first + n - 1 of a KV head, which are ordered by position, over all pages that
 * any of them sees. */
static void attend(const attention_layer *layer, struct ggml_tensor *dst, int head, int first,
                   int n) {
    const attention *a = layer->a;
    const kv_ring *kv = a->kv;
    int dim = a->p->head_dim, group = a->p->n_heads / a->p->n_kv_heads;
    attend_query query[QUERIES];
    int64_t position[QUERIES];
    for (int i = 0; i < n; i++) {
        int c = (first + i) / group, offset = (head * group + (first + i) % group) * dim;
        query[i] = (attend_query){
            .q = column(dst->src[0], c) + offset, .out = column(dst, c) + offset, .max = -FLT_MAX};
        memset(query[i].out, 0, (size_t)dim * sizeof *query[i].out);
        position[i] = kv->end + c;
    }
    attend_page page = {
        .is_half = a->kv_type == GGML_TYPE_F16, .head_dim = dim, .scale = 1 / sqrtf((float)dim)};
    int64_t start = kv_oldest(kv, position[0]) / KV_PAGE * KV_PAGE;
    page.next_keys = kv_block(kv, layer->layer, 0, head, start);
    page.next_values = kv_block(kv, layer->layer, 1, head, start);
    for (; start <= position[n - 1]; start += KV_PAGE) {
        page.keys = page.next_keys;
        page.values = page.next_values;
        if (start + KV_PAGE <= position[n - 1]) {
            page.next_keys = kv_block(kv, layer->layer, 0, head, start + KV_PAGE);
            page.next_values = kv_block(kv, layer->layer, 1, head, start + KV_PAGE);
        }
        for (int i = 0; i < n; i++) {
            int64_t oldest = kv_oldest(kv, position[i]) - start, end = position[i] + 1 - start;
            query[i].last = (int)(end < 0 ? 0 : end < KV_PAGE ? end : KV_PAGE);
            query[i].first = (int)(oldest < 0               ? 0
                                   : oldest < query[i].last ? oldest
                                                            : query[i].last);
        }
        a->kernels->attend(&page, query, n);
    }
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int j = 0; j < ATTEND_LANES; j++) sum += query[i].sum[j];
        /* A zero may come with either sign; adding 0 makes it positive. */
        for (int d = 0; d < dim; d++) query[i].out[d] = query[i].out[d] / sum + 0.0f;
    }
}

/* dst = mixed values for the turned queries src[0]. The threads share out the KV heads, and where
 * there are more threads than heads also the queries of each. */
static void op_attend(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const attention_layer *layer = user;
    int n_heads = layer->a->p->n_kv_heads, group = layer->a->p->n_heads / n_heads;
    int n = (int)dst->ne[1] * group, parts = (nth + n_heads - 1) / n_heads;
    int size = (n + parts - 1) / parts;
    if (size > QUERIES) size = QUERIES;
    parts = (n + size - 1) / size;
    for (int item = ith; item < n_heads * parts; item += nth) {
        int head = item % n_heads, first = item / n_heads * size;
        attend(layer, dst, head, first, n - first < size ? n - first : size);
    }
}

struct ggml_tensor *attention_build(graph *g, attention_layer *layer, struct ggml_tensor *q,
                                    struct ggml_tensor *k, struct ggml_tensor *v) {
    struct ggml_tensor *qkv[] = {q, k, v};
    struct ggml_tensor *turned = ggml_custom_4d(g->ctx, GGML_TYPE_F32, q->ne[0], q->ne[1], 1, 1,
                                                qkv, 3, op_store, GGML_N_TASKS_MAX, layer);
    return ggml_custom_4d(g->ctx, GGML_TYPE_F32, q->ne[0], q->ne[1], 1, 1, &turned, 1, op_attend,
                          GGML_N_TASKS_MAX, layer);
}
