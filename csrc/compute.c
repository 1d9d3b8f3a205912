/* compute.c - see compute.h. */
#include "compute.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maths.h"
#include <ggml-backend.h>

#include "platform.h"
#include "voxtral.h"

/* ---- watches -------------------------------------------------------------------------------- */

int watch_find(const watch_list *w, const char *name) {
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->list[i].name, name) == 0) return i;
    return -1;
}

int watch_reserve(watch_list *w, int index, int64_t n) {
    if (index < 0) return VOX_OK;
    int64_t need = w->list[index].n_rows + n;
    if (need > w->list[index].cap) {
        float *grown = realloc(w->list[index].rows, (size_t)(2 * need) * sizeof *grown);
        if (!grown) return VOX_ERR_MEMORY;
        w->list[index].rows = grown;
        w->list[index].cap = 2 * need;
    }
    return VOX_OK;
}

void watch_append(watch_list *w, int index, const float *rows, int64_t n) {
    if (index < 0) return;
    memcpy(w->list[index].rows + w->list[index].n_rows, rows, (size_t)n * sizeof *rows);
    w->list[index].n_rows += n;
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

int graph_begin(graph *g, compute *c, int max_nodes, int width) {
    *g = (graph){.c = c, .width = width};
    /* Twice the nodes: leaves (weights are the model's own, but views and inputs are here) and
     * slack. */
    size_t size = 2 * (size_t)max_nodes * ggml_tensor_overhead() +
                  ggml_graph_overhead_custom((size_t)max_nodes, false);
    g->meta = malloc(size);
    g->n_columns = malloc((size_t)(MAX_INPUTS + max_nodes) * sizeof *g->n_columns);
    g->memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
    if (!g->meta || !g->n_columns || !g->memory) {
        graph_free(g);
        return VOX_ERR_MEMORY;
    }
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
    return g->inputs[g->n_inputs++] = t;
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

/* The i-th of the tensors whose columns change with the width. */
static struct ggml_tensor *sized(const graph *g, int i) {
    return i < g->n_inputs ? g->inputs[i] : ggml_graph_node(g->cgraph, i - g->n_inputs);
}

int graph_end(graph *g) {
    compute *c = g->c;
    for (int i = 0; i < g->n_inputs + ggml_graph_n_nodes(g->cgraph); i++)
        g->n_columns[i] = sized(g, i)->ne[1];
    if (!ggml_gallocr_alloc_graph(g->memory, g->cgraph)) {
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

int graph_set_width(graph *g, int width) {
    for (int i = 0; i < g->n_inputs + ggml_graph_n_nodes(g->cgraph); i++)
        if (g->n_columns[i] > 1) sized(g, i)->ne[1] = g->n_columns[i] * width / g->width;
    int status = VOX_OK;
    for (int i = 0; status == VOX_OK && i < g->n_probes; i++)
        status =
            watch_reserve(g->c->watch, g->probes[i].watch, ggml_nelements(g->probes[i].tensor));
    return status;
}

int graph_run(graph *g) {
    g->plan.work_data = g->c->work;
    if (ggml_graph_compute(g->cgraph, &g->plan) != GGML_STATUS_SUCCESS) return VOX_ERR_COMPUTE;
    for (int i = 0; i < g->n_probes; i++) {
        struct ggml_tensor *t = g->probes[i].tensor;
        watch_append(g->c->watch, g->probes[i].watch, ggml_get_data_f32(t), ggml_nelements(t));
    }
    return VOX_OK;
}

void graph_free(graph *g) {
    if (g->ctx) ggml_free(g->ctx);
    if (g->memory) ggml_gallocr_free(g->memory);
    free(g->meta);
    free(g->n_columns);
    *g = (graph){0};
}

size_t graph_bytes(const graph *g) {
    return g->ctx ? ggml_used_mem(g->ctx) + ggml_gallocr_get_buffer_size(g->memory, 0) : 0;
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

/* dst = the float weight src[0] times src[1]; rows are shared out over the threads. */
static void op_float_product(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const kernels *k = user;
    const struct ggml_tensor *weight = dst->src[0], *x = dst->src[1];
    float_matrix m = {.rows = weight->data,
                      .type = weight->type == GGML_TYPE_F32   ? FLOATS
                              : weight->type == GGML_TYPE_F16 ? HALVES
                                                              : BRAINS,
                      .n_columns = (int)weight->ne[0]};
    int64_t n = weight->ne[1];
    k->float_product(&m, (int)(n * ith / nth), (int)(n * (ith + 1) / nth), x->data,
                     x->nb[1] / sizeof(float), (int)x->ne[1], dst->data, (size_t)n);
}

struct ggml_tensor *operate(graph *g, ggml_custom_op_t op, void *user, int64_t rows,
                            struct ggml_tensor *columns, struct ggml_tensor *other) {
    struct ggml_tensor *src[] = {other ? other : columns, columns};
    return ggml_custom_4d(g->ctx, GGML_TYPE_F32, rows, columns->ne[1], 1, 1, src, other ? 2 : 1, op,
                          GGML_N_TASKS_MAX, user);
}

struct ggml_tensor *linear(graph *g, struct ggml_tensor *weight, struct ggml_tensor *bias,
                           struct ggml_tensor *x) {
    struct ggml_tensor *y = weight->extra ? product(g, weight->extra, x)
                                          : operate(g, op_float_product, (void *)g->c->kernels,
                                                    weight->ne[1], x, weight);
    return bias ? ggml_add(g->ctx, y, bias) : y;
}

static void op_lookup(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const struct ggml_tensor *weight = user;
    for (int64_t c = ith; c < dst->ne[1]; c += nth) {
        int32_t i = *(const int32_t *)(const void *)column(dst->src[0], c);
        const char *row = (const char *)weight->data + (size_t)i * weight->nb[1];
        if (weight->extra) matrix_row(weight->extra, i, column(dst, c));
        else if (weight->type == GGML_TYPE_F32) memcpy(column(dst, c), row, weight->nb[1]);
        else ggml_get_type_traits(weight->type)->to_float(row, column(dst, c), dst->ne[0]);
    }
}

struct ggml_tensor *lookup(graph *g, struct ggml_tensor *weight, struct ggml_tensor *indices) {
    return operate(g, op_lookup, weight, weight->ne[0], indices, NULL);
}

static void op_rms_norm(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const float *eps = user;
    for (int64_t c = ith; c < dst->ne[1]; c += nth)
        maths_rms_norm(column(dst->src[1], c), dst->src[0]->data, *eps, (int)dst->ne[0],
                       column(dst, c));
}

struct ggml_tensor *rms_norm(graph *g, struct ggml_tensor *x, struct ggml_tensor *weight,
                             const float *eps) {
    return operate(g, op_rms_norm, (void *)eps, x->ne[0], x, weight);
}

static void op_gelu(struct ggml_tensor *dst, int ith, int nth, void *user) {
    int64_t n = ggml_nelements(dst), first = n * ith / nth;
    (void)user;
    maths_gelu((const float *)dst->src[0]->data + first, n * (ith + 1) / nth - first,
               (float *)dst->data + first);
}

struct ggml_tensor *gelu(graph *g, struct ggml_tensor *x) {
    return operate(g, op_gelu, NULL, x->ne[0], x, NULL);
}

static void op_swiglu(struct ggml_tensor *dst, int ith, int nth, void *user) {
    int64_t n = ggml_nelements(dst), first = n * ith / nth;
    (void)user;
    maths_swiglu((const float *)dst->src[0]->data + first, (const float *)dst->src[1]->data + first,
                 n * (ith + 1) / nth - first, (float *)dst->data + first);
}

struct ggml_tensor *swiglu(graph *g, struct ggml_tensor *gate, struct ggml_tensor *up,
                           struct ggml_tensor *down, struct ggml_tensor *down_bias,
                           struct ggml_tensor *x) {
    struct ggml_tensor *gated = linear(g, gate, NULL, x), *by = linear(g, up, NULL, x);
    struct ggml_tensor *h = operate(g, op_swiglu, NULL, gated->ne[0], by, gated);
    return linear(g, down, down_bias, h);
}
