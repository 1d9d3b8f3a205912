/* attention.c - see attention.h. */
#include "attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 32, MAX_HEAD_DIM = 1024 };

int attention_init(attention *a, const transformer_params *p, enum ggml_type kv_type, int width,
                   int n_threads) {
    int half = p->head_dim / 2, group = p->n_heads / p->n_kv_heads;
    *a = (attention){.p = p, .kv_type = kv_type};
    a->frequency = malloc((size_t)half * sizeof *a->frequency);
    a->turn = malloc((size_t)width * (size_t)half * 2 * sizeof *a->turn);
    a->scores = malloc((size_t)n_threads * (size_t)group * (size_t)p->window * sizeof *a->scores);
    if (!a->frequency || !a->turn || !a->scores) {
        attention_free(a);
        return VOX_ERR_MEMORY;
    }
    for (int j = 0; j < half; j++) a->frequency[j] = pow(p->rope_theta, -2.0 * j / p->head_dim);
    return VOX_OK;
}

void attention_free(attention *a) {
    free(a->frequency);
    free(a->turn);
    free(a->scores);
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

static const float *column(const struct ggml_tensor *t, int64_t c) {
    return (const float *)((const char *)t->data + (size_t)c * t->nb[1]);
}

/* Turn pairs (2j, 2j + 1) of one head: the interleaved layout of the official checkpoint. */
static void rotate(const float *x, const float *turn, int head_dim, float *y) {
    for (int j = 0; j < head_dim / 2; j++) {
        float c = turn[2 * j], s = turn[2 * j + 1];
        float x0 = x[2 * j], x1 = x[2 * j + 1];
        y[2 * j] = x0 * c - x1 * s;
        y[2 * j + 1] = x1 * c + x0 * s;
    }
}

static void store(const attention *a, const float *x, void *row) {
    if (a->kv_type == GGML_TYPE_F16) ggml_cpu_fp32_to_fp16(x, row, a->p->head_dim);
    else memcpy(row, x, (size_t)a->p->head_dim * sizeof *x);
}

/* A ring row as floats: in place, or converted into room [head_dim]. */
static const float *load(const attention *a, const void *row, float *room) {
    if (a->kv_type != GGML_TYPE_F16) return row;
    ggml_cpu_fp16_to_fp32(row, room, a->p->head_dim);
    return room;
}

/* dst = turned q; k and v go into the ring. Columns are shared out over the threads. */
static void op_store(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const attention_layer *layer = user;
    const attention *a = layer->a;
    const transformer_params *p = a->p;
    float turned[MAX_HEAD_DIM];
    for (int64_t c = ith; c < dst->ne[1]; c += nth) {
        const float *q = column(dst->src[0], c), *k = column(dst->src[1], c),
                    *v = column(dst->src[2], c);
        const float *turn = a->turn + c * p->head_dim;
        float *out = (float *)column(dst, c);
        int64_t position = a->kv->end + c;
        for (int h = 0; h < p->n_heads; h++)
            rotate(q + h * p->head_dim, turn, p->head_dim, out + h * p->head_dim);
        for (int h = 0; h < p->n_kv_heads; h++) {
            rotate(k + h * p->head_dim, turn, p->head_dim, turned);
            store(a, turned, kv_row(a->kv, layer->layer, 0, h, position));
            store(a, v + h * p->head_dim, kv_row(a->kv, layer->layer, 1, h, position));
        }
    }
}

static float dot(const float *x, const float *y, int n) {
    float lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * y[i + j];
    float sum = 0;
    for (int j = 0; j < LANES; j++) sum += lane[j];
    for (; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* One KV head and one position: all query heads that share the KV head, so that each key is loaded
 * once. */
static void attend(const attention *a, int layer, int kv_head, int64_t position, const float *q,
                   float *scores, float *out) {
    const transformer_params *p = a->p;
    const kv_ring *kv = a->kv;
    int group = p->n_heads / p->n_kv_heads, head_dim = p->head_dim;
    int64_t oldest = kv_oldest(kv, position);
    int n_keys = (int)(position - oldest + 1);
    float scale = 1 / sqrtf((float)head_dim), room[MAX_HEAD_DIM];

    for (int i = 0; i < n_keys; i++) {
        const float *key = load(a, kv_row(kv, layer, 0, kv_head, oldest + i), room);
        for (int h = 0; h < group; h++)
            scores[h * p->window + i] = scale * dot(q + h * head_dim, key, head_dim);
    }
    for (int h = 0; h < group; h++) {
        float *s = scores + h * p->window, max = -INFINITY;
        double sum = 0;
        for (int i = 0; i < n_keys; i++) max = s[i] > max ? s[i] : max;
        for (int i = 0; i < n_keys; i++) sum += s[i] = expf(s[i] - max);
        for (int i = 0; i < n_keys; i++) s[i] = (float)(s[i] / sum);
    }
    memset(out, 0, (size_t)group * (size_t)head_dim * sizeof *out);
    for (int i = 0; i < n_keys; i++) {
        const float *value = load(a, kv_row(kv, layer, 1, kv_head, oldest + i), room);
        for (int h = 0; h < group; h++) {
            float weight = scores[h * p->window + i], *o = out + h * head_dim;
            for (int j = 0; j < head_dim; j++) o[j] += weight * value[j];
        }
    }
}

/* dst = mixed values for the turned queries src[0]; (KV head, column) pairs are shared out over the
 * threads. */
static void op_attend(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const attention_layer *layer = user;
    const attention *a = layer->a;
    const transformer_params *p = a->p;
    int group = p->n_heads / p->n_kv_heads;
    float *scores = a->scores + (size_t)ith * (size_t)group * (size_t)p->window;
    for (int64_t item = ith; item < dst->ne[1] * p->n_kv_heads; item += nth) {
        int64_t c = item / p->n_kv_heads;
        int kv_head = (int)(item % p->n_kv_heads), first = kv_head * group * p->head_dim;
        attend(a, layer->layer, kv_head, a->kv->end + c, column(dst->src[0], c) + first, scores,
               (float *)column(dst, c) + first);
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
