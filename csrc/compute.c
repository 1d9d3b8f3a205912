/* compute.c - see compute.h. */
#include "compute.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"
#include "voxtral.h"

/* ---- watches -------------------------------------------------------------------------------- */

int watch_find(const watch_list *w, const char *name) {
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->list[i].name, name) == 0) return i;
    return -1;
}

int watch_append(watch_list *w, int index, const float *rows, int64_t n) {
    if (index < 0) return VOX_OK;
    int64_t need = w->list[index].n_rows + n;
    if (need > w->list[index].cap) {
        float *grown = realloc(w->list[index].rows, (size_t)(2 * need) * sizeof *grown);
        if (!grown) return VOX_ERR_MEMORY;
        w->list[index].rows = grown;
        w->list[index].cap = 2 * need;
    }
    memcpy(w->list[index].rows + w->list[index].n_rows, rows, (size_t)n * sizeof *rows);
    w->list[index].n_rows = need;
    return VOX_OK;
}

void watch_clear(watch_list *w) {
    for (int i = 0; i < w->n; i++) w->list[i].n_rows = 0;
}

void watch_free(watch_list *w) {
    for (int i = 0; i < w->n; i++) free(w->list[i].rows);
    *w = (watch_list){0};
}

/* ---- threads -------------------------------------------------------------------------------- */

int compute_init(compute *c, int n_threads, const kernels *table, watch_list *watch) {
    *c = (compute){.n_threads = n_threads, .kernels = table, .watch = watch};
    /* ggml ends the process if it cannot start a thread. */
    if (!platform_can_start(n_threads - 1)) return VOX_ERR_MEMORY;
    struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.poll = 0; /* between runs the workers sleep: a live stream mostly waits */
    c->pool = ggml_threadpool_new(&params);
    return c->pool ? VOX_OK : VOX_ERR_MEMORY;
}

void compute_free(compute *c) {
    if (c->pool) ggml_threadpool_free(c->pool);
    free(c->work);
    *c = (compute){0};
}

/* ---- graphs --------------------------------------------------------------------------------- */

int graph_begin(graph *g, compute *c, int max_nodes) {
    *g = (graph){.c = c};
    /* Twice the nodes: leaves (weights are the model's own, but views and inputs are here) and
     * slack. */
    size_t size = 2 * (size_t)max_nodes * ggml_tensor_overhead() +
                  ggml_graph_overhead_custom((size_t)max_nodes, false);
    g->meta = malloc(size);
    if (!g->meta) return VOX_ERR_MEMORY;
    struct ggml_init_params params = {.mem_size = size, .mem_buffer = g->meta, .no_alloc = true};
    g->ctx = ggml_init(params);
    if (!g->ctx) {
        graph_free(g);
        return VOX_ERR_MEMORY;
    }
    g->cgraph = ggml_new_graph_custom(g->ctx, (size_t)max_nodes, false);
    return VOX_OK;
}

struct ggml_tensor *graph_input(graph *g, enum ggml_type type, int64_t ne0, int64_t ne1) {
    struct ggml_tensor *t = ggml_new_tensor_2d(g->ctx, type, ne0, ne1);
    ggml_set_input(t);
    return t;
}

void graph_probe(graph *g, struct ggml_tensor *t, const char *name, int index) {
    char full[WATCH_NAME];
    if (index >= 0) snprintf(full, sizeof full, "%s.%d", name, index);
    else snprintf(full, sizeof full, "%s", name);
    int watch = g->c->watch ? watch_find(g->c->watch, full) : -1;
    if (watch < 0) return;
    graph_output(g, t);
    g->probes[g->n_probes].watch = watch;
    g->probes[g->n_probes++].tensor = t;
}

void graph_output(graph *g, struct ggml_tensor *t) {
    ggml_set_output(t);
    ggml_build_forward_expand(g->cgraph, t);
}

int graph_end(graph *g, ggml_gallocr_t shared) {
    compute *c = g->c;
    if (!ggml_gallocr_alloc_graph(shared, g->cgraph)) {
        graph_free(g);
        return VOX_ERR_MEMORY;
    }
    g->plan = ggml_graph_plan(g->cgraph, c->n_threads, c->pool);
    if (g->plan.work_size > c->n_work) {
        void *work = malloc(g->plan.work_size);
        if (!work) {
            graph_free(g);
            return VOX_ERR_MEMORY;
        }
        free(c->work);
        c->work = work;
        c->n_work = g->plan.work_size;
    }
    return VOX_OK;
}

int graph_run(graph *g) {
    g->plan.work_data = g->c->work;
    if (ggml_graph_compute(g->cgraph, &g->plan) != GGML_STATUS_SUCCESS) return VOX_ERR_COMPUTE;
    for (int i = 0; i < g->n_probes; i++) {
        struct ggml_tensor *t = g->probes[i].tensor;
        int status =
            watch_append(g->c->watch, g->probes[i].watch, ggml_get_data_f32(t), ggml_nelements(t));
        if (status != VOX_OK) return status;
    }
    return VOX_OK;
}

void graph_free(graph *g) {
    if (g->ctx) ggml_free(g->ctx);
    free(g->meta);
    *g = (graph){0};
}

size_t graph_bytes(const graph *g) {
    return g->ctx ? ggml_used_mem(g->ctx) : 0;
}

/* ---- building blocks ------------------------------------------------------------------------ */

/* Parts of a product that a thread takes at a time: so many that one which is late, because another
 * program has its processor, leaves little for the others to wait for. */
enum { PARTS_PER_THREAD = 16 };

/* Quantised columns carry behind their tiles, per product that reads them, which group of rows is
 * next. */
static atomic_int *next_groups(const struct ggml_tensor *columns, const struct ggml_tensor *x) {
    return (atomic_int *)(void *)((char *)columns->data +
                                  column_bytes(x->ne[0]) * (size_t)x->ne[1]);
}

/* dst = tiles of src[0]'s columns, quantised; blocks are shared out over the threads. */
static void op_quantise(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const kernels *k = user;
    const struct ggml_tensor *x = dst->src[0];
    int n_blocks = (int)(x->ne[0] / BLOCK);
    k->quantise(x->data, x->nb[1] / sizeof(float), (int)x->ne[1], n_blocks, n_blocks * ith / nth,
                n_blocks * (ith + 1) / nth, dst->data);
    if (ith == 0)
        for (int i = 0; i < MAX_PRODUCTS; i++) atomic_store(next_groups(dst, x) + i, 0);
}

/* dst = the weight times the quantised columns src[0]; each thread takes rows until none are left.
 */
static void op_product(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const packed_matrix *m = user;
    const struct ggml_tensor *columns = dst->src[0];
    const kernels *k = columns->extra;
    atomic_int *next = next_groups(columns, columns->src[0]) + (intptr_t)dst->extra;
    int n_groups = (m->n_rows + GROUP - 1) / GROUP, part = n_groups / (PARTS_PER_THREAD * nth) + 1;
    (void)ith;
    for (int first; (first = atomic_fetch_add(next, part)) < n_groups;)
        k->product(m, first, first + part < n_groups ? first + part : n_groups, columns->data,
                   (int)dst->ne[1], dst->data, (size_t)m->n_rows);
}

static struct ggml_tensor *product(graph *g, packed_matrix *m, struct ggml_tensor *x) {
    if (g->x != x || g->n_products == MAX_PRODUCTS) {
        size_t size = column_bytes(x->ne[0]) * (size_t)x->ne[1] + MAX_PRODUCTS * sizeof(atomic_int);
        g->x = x;
        g->n_products = 0;
        g->columns = ggml_custom_4d(g->ctx, GGML_TYPE_I8, (int64_t)size, 1, 1, 1, &x, 1,
                                    op_quantise, GGML_N_TASKS_MAX, (void *)g->c->kernels);
        g->columns->extra = (void *)g->c->kernels;
    }
    struct ggml_tensor *y = ggml_custom_4d(g->ctx, GGML_TYPE_F32, m->n_rows, x->ne[1], 1, 1,
                                           &g->columns, 1, op_product, GGML_N_TASKS_MAX, m);
    y->extra = (void *)(intptr_t)g->n_products++;
    return y;
}

struct ggml_tensor *linear(graph *g, struct ggml_tensor *weight, struct ggml_tensor *bias,
                           struct ggml_tensor *x) {
    struct ggml_tensor *y =
        weight->extra ? product(g, weight->extra, x) : ggml_mul_mat(g->ctx, weight, x);
    return bias ? ggml_add(g->ctx, y, bias) : y;
}

static void op_lookup(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const int32_t *indices = dst->src[0]->data;
    for (int64_t c = ith; c < dst->ne[1]; c += nth)
        matrix_row(user, indices[c], (float *)((char *)dst->data + (size_t)c * dst->nb[1]));
}

struct ggml_tensor *lookup(graph *g, struct ggml_tensor *weight, struct ggml_tensor *indices) {
    if (!weight->extra) return ggml_get_rows(g->ctx, weight, indices);
    return ggml_custom_4d(g->ctx, GGML_TYPE_F32, weight->ne[0], indices->ne[0], 1, 1, &indices, 1,
                          op_lookup, GGML_N_TASKS_MAX, weight->extra);
}

struct ggml_tensor *rms_norm(graph *g, struct ggml_tensor *x, struct ggml_tensor *weight,
                             float eps) {
    return ggml_mul(g->ctx, ggml_rms_norm(g->ctx, x, eps), weight);
}

struct ggml_tensor *swiglu(graph *g, struct ggml_tensor *gate, struct ggml_tensor *up,
                           struct ggml_tensor *down, struct ggml_tensor *down_bias,
                           struct ggml_tensor *x) {
    struct ggml_tensor *h =
        ggml_swiglu_split(g->ctx, linear(g, gate, NULL, x), linear(g, up, NULL, x));
    return linear(g, down, down_bias, h);
}
