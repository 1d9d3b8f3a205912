/* attention.c - see attention.h. */
#include "attention.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* QUERIES: most queries that go through the ring together; their sums still fit a core's cache.
 * STORED: most keys that are turned before they are stored, so that a cache line of the ring is
 * written at once. */
enum { QUERIES = 64, STORED = 8 };

int attention_init(attention *a, const transformer_params *p, enum ggml_type kv_type, int width,
                   const kernels *table) {
    int half = p->head_dim / 2;
    *a = (attention){.p = p, .kv_type = kv_type, .kernels = table};
    a->frequency = malloc((size_t)half * sizeof *a->frequency);
    a->turn = malloc((size_t)width * (size_t)half * 2 * sizeof *a->turn);
    a->runs = malloc((size_t)width * sizeof *a->runs);
    if (!a->frequency || !a->turn || !a->runs) {
        attention_free(a);
        return VOX_ERR_MEMORY;
    }
    for (int j = 0; j < half; j++)
        a->frequency[j] = maths_turn(maths_power(p->rope_theta, -2.0 * j / p->head_dim));
    return VOX_OK;
}

void attention_free(attention *a) {
    free(a->frequency);
    free(a->turn);
    free(a->runs);
    *a = (attention){0};
}

void attention_begin(attention *a) {
    a->n_runs = 0;
}

void attention_add(attention *a, kv_ring *kv, int n) {
    int half = a->p->head_dim / 2, first = 0;
    if (a->n_runs > 0) first = a->runs[a->n_runs - 1].first + a->runs[a->n_runs - 1].n;
    a->runs[a->n_runs++] = (attention_run){kv, first, n};
    float *turn = a->turn + 2 * first * half;
    for (int c = 0; c < n; c++)
        for (int j = 0; j < half; j++) {
            turns angle = (turns)(kv->end + c) * a->frequency[j];
            *turn++ = (float)maths_cos(angle);
            *turn++ = (float)maths_sin(angle);
        }
}

/* n turned keys, and the values of as many columns from c on, into their places in one page. */
static void store(const attention *a, kv_ring *kv, int layer, int head, int64_t position, int n,
                  float keys[STORED][MAX_HEAD_DIM], const struct ggml_tensor *values, int c) {
    int dim = a->p->head_dim, place = (int)(position % KV_PAGE);
    void *to_keys = kv_block(kv, layer, 0, head, position);
    void *to_values = kv_block(kv, layer, 1, head, position);
    if (a->kv_type == GGML_TYPE_F16) {
        uint16_t half[STORED][MAX_HEAD_DIM];
        for (int i = 0; i < n; i++) {
            a->kernels->narrow(keys[i], dim, half[i]);
            a->kernels->narrow(column(values, c + i) + head * dim, dim,
                               (uint16_t *)to_values + (place + i) * dim);
        }
        for (int d = 0; d < dim; d++)
            for (int i = 0; i < n; i++) ((uint16_t *)to_keys)[d * KV_PAGE + place + i] = half[i][d];
    } else {
        for (int d = 0; d < dim; d++)
            for (int i = 0; i < n; i++) ((float *)to_keys)[d * KV_PAGE + place + i] = keys[i][d];
        for (int i = 0; i < n; i++)
            memcpy((float *)to_values + (place + i) * dim, column(values, c + i) + head * dim,
                   (size_t)dim * sizeof(float));
    }
}

/* dst = turned q; k and v go into the rings. KV heads are shared out over the threads: places of
 * neighbouring positions share cache lines. */
static void op_store(struct ggml_tensor *dst, int ith, int nth, void *user) {
    attention_layer *layer = user;
    const attention *a = layer->a;
    int dim = a->p->head_dim, group = a->p->n_heads / a->p->n_kv_heads;
    float keys[STORED][MAX_HEAD_DIM];
    if (ith == 0) atomic_store(&layer->next, 0);
    for (int item = ith; item < a->p->n_kv_heads * a->n_runs; item += nth) {
        const attention_run *run = &a->runs[item / a->p->n_kv_heads];
        int head = item % a->p->n_kv_heads, last = run->first + run->n;
        for (int c = run->first, n; c < last; c += n) {
            int64_t position = run->kv->end + c - run->first;
            n = last - c < STORED ? last - c : STORED;
            if (n > KV_PAGE - position % KV_PAGE) n = (int)(KV_PAGE - position % KV_PAGE);
            for (int i = 0; i < n; i++) {
                const float *turn = a->turn + (c + i) * dim;
                const float *q = column(dst->src[0], c + i) + head * group * dim;
                float *turned = column(dst, c + i) + head * group * dim;
                for (int g = 0; g < group; g++)
                    a->kernels->rotate(q + g * dim, turn, dim, turned + g * dim);
                a->kernels->rotate(column(dst->src[1], c + i) + head * dim, turn, dim, keys[i]);
            }
            store(a, run->kv, layer->layer, head, position, n, keys, dst->src[2], c);
        }
    }
}

/* Queries first .. first + n - 1 of a run and a KV head, which are ordered by position, over all
 * pages that any of them sees. */
static void attend(const attention_layer *layer, struct ggml_tensor *dst, const attention_run *run,
                   int head, int first, int n) {
    const attention *a = layer->a;
    const kv_ring *kv = run->kv;
    int dim = a->p->head_dim, group = a->p->n_heads / a->p->n_kv_heads;
    attend_query query[QUERIES];
    int64_t position[QUERIES];
    for (int i = 0; i < n; i++) {
        int c = (first + i) / group, offset = (head * group + (first + i) % group) * dim;
        query[i] = (attend_query){.q = column(dst->src[0], run->first + c) + offset,
                                  .out = column(dst, run->first + c) + offset,
                                  .max = -FLT_MAX};
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

/* dst = mixed values for the turned queries src[0]. The threads share out the runs and KV heads,
 * and where there are more threads than these also the queries of each; who has done his takes the
 * next. */
static void op_attend(struct ggml_tensor *dst, int ith, int nth, void *user) {
    attention_layer *layer = user;
    const attention *a = layer->a;
    int n_heads = a->p->n_kv_heads, group = a->p->n_heads / n_heads;
    int item = 0, mine = atomic_fetch_add(&layer->next, 1);
    (void)ith;
    int wanted = (nth + n_heads * a->n_runs - 1) / (n_heads * a->n_runs);
    for (const attention_run *run = a->runs; run < a->runs + a->n_runs; run++) {
        int n = run->n * group, size = (n + wanted - 1) / wanted;
        if (size > QUERIES) size = QUERIES;
        for (int first = 0; first < n; first += size)
            for (int head = 0; head < n_heads; head++)
                if (item++ == mine) {
                    attend(layer, dst, run, head, first, n - first < size ? n - first : size);
                    mine = atomic_fetch_add(&layer->next, 1);
                }
    }
}

struct ggml_tensor *attention_build(graph *g, attention_layer *layer, struct ggml_tensor *q,
                                    struct ggml_tensor *k, struct ggml_tensor *v) {
    struct ggml_tensor *turned =
        graph_op(g, op_store, layer, GGML_TYPE_F32, q->ne[0], q->ne[1], q, k, v);
    return operate(g, op_attend, layer, q->ne[0], turned, NULL);
}
