/* compute.c - see compute.h. */
#include "compute.h"

#include <assert.h>
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
    c->pool = pool_open(n_threads);
    return c->pool ? VOX_OK : VOX_ERR_MEMORY;
}

void compute_free(compute *c) {
    pool_close(c->pool);
    *c = (compute){0};
}

/* ---- building graphs ------------------------------------------------------------------------ */

int graph_begin(graph *g, compute *c, int max_nodes, int width) {
    *g = (graph){.c = c, .width = width, .max_nodes = max_nodes};
    g->nodes = malloc((size_t)max_nodes * sizeof *g->nodes);
    return g->nodes ? VOX_OK : VOX_ERR_MEMORY;
}

static graph_node *node_new(graph *g, enum ggml_type type, int64_t ne0, int64_t ne1) {
    assert(g->n_nodes < g->max_nodes);
    graph_node *node = &g->nodes[g->n_nodes++];
    size_t number = ggml_type_size(type), column = number * (size_t)ne0,
           size = column * (size_t)ne1;
    *node = (graph_node){
        .tensor = {.type = type, .ne = {ne0, ne1, 1, 1}, .nb = {number, column, size, size}},
        .n_columns = ne1};
    return node;
}

struct ggml_tensor *graph_input(graph *g, enum ggml_type type, int64_t ne0, int64_t ne1) {
    return &node_new(g, type, ne0, ne1)->tensor;
}

struct ggml_tensor *graph_reshape(graph *g, struct ggml_tensor *t, int64_t ne0, int64_t ne1) {
    graph_node *node = node_new(g, t->type, ne0, ne1);
    node->tensor.view_src = t;
    return &node->tensor;
}

struct ggml_tensor *graph_op(graph *g, operation run, void *user, enum ggml_type type, int64_t ne0,
                             int64_t ne1, struct ggml_tensor *src0, struct ggml_tensor *src1,
                             struct ggml_tensor *src2) {
    graph_node *node = node_new(g, type, ne0, ne1);
    node->run = run;
    node->user = user;
    node->tensor.src[0] = src0;
    node->tensor.src[1] = src1;
    node->tensor.src[2] = src2;
    return &node->tensor;
}

/* A tensor of a graph is the first member of its node. */
static graph_node *node_of(struct ggml_tensor *t) {
    return (graph_node *)(void *)t;
}

void graph_by_rows(struct ggml_tensor *t) {
    node_of(t)->by_rows = 1;
}

void graph_output(struct ggml_tensor *t) {
    node_of(t)->is_output = 1;
}

void graph_probe(graph *g, struct ggml_tensor *t, const char *name, int index) {
    char full[WATCH_NAME];
    if (index >= 0) snprintf(full, sizeof full, "%s.%d", name, index);
    else snprintf(full, sizeof full, "%s", name);
    int watch = g->c->watch ? watch_find(g->c->watch, full) : -1;
    if (watch < 0) return;
    graph_output(t);
    g->probes[g->n_probes].watch = watch;
    g->probes[g->n_probes++].tensor = t;
}

/* ---- where threads meet --------------------------------------------------------------------- */

/* Whether src was made after the threads met before node `first`, and not all that the reader's
 * thread reads of it by that thread itself. */
static int is_others(const graph *g, int first, const struct ggml_tensor *src,
                     const graph_node *reader) {
    if (!src) return 0;
    for (int i = first; i < g->n_nodes; i++) {
        const graph_node *node = &g->nodes[i];
        if (src == &node->tensor) return node->run && !(reader->by_rows && node->by_rows);
        if (src->view_src == &node->tensor) return node->run != NULL;
    }
    return 0;
}

static void find_meetings(graph *g) {
    for (int i = 0, first = 0; i < g->n_nodes; i++) {
        graph_node *node = &g->nodes[i];
        if (!node->run) continue;
        for (int j = 0; j < MAX_SOURCES; j++)
            node->meets |= is_others(g, first, node->tensor.src[j], node);
        if (node->meets) first = i;
    }
}

/* ---- their memory --------------------------------------------------------------------------- */

/* What a tensor holds, until node `last` has run. */
typedef struct {
    size_t begin, end; /* bytes */
    int last;
} piece;

/* The last node that may run while somebody still reads node i's tensor: others are at work on all
 * nodes up to the next meeting. Outputs are read after all of them. */
static int last_reader(const graph *g, int i) {
    const graph_node *node = &g->nodes[i];
    if (node->is_output) return g->n_nodes;
    int last = i;
    for (int k = i + 1; k < g->n_nodes; k++)
        for (int j = 0; j < MAX_SOURCES; j++) {
            const struct ggml_tensor *src = g->nodes[k].tensor.src[j];
            if (src && (src == &node->tensor || src->view_src == &node->tensor)) last = k;
        }
    while (last + 1 < g->n_nodes && !g->nodes[last + 1].meets) last++;
    return last;
}

/* First fit among the pieces held, which are in order. */
static size_t place(piece *held, int *n_held, size_t size, int last) {
    size_t begin = 0;
    int i = 0;
    while (i < *n_held && held[i].begin - begin < size) begin = held[i++].end;
    memmove(held + i + 1, held + i, (size_t)(*n_held - i) * sizeof *held);
    held[i] = (piece){begin, begin + size, last};
    ++*n_held;
    return begin;
}

/* Fill offsets [n_nodes] of all tensors but those reshaped; the bytes they take together. Inputs
 * are there before the first operation. */
static size_t lay_out(const graph *g, piece *held, size_t *offsets) {
    size_t end = 0;
    int n_held = 0;
    for (int inputs = 1; inputs >= 0; inputs--)
        for (int i = 0; i < g->n_nodes; i++) {
            const graph_node *node = &g->nodes[i];
            if (node->tensor.view_src || (node->run == NULL) != inputs) continue;
            int n_kept = 0;
            for (int k = 0; k < n_held; k++)
                if (inputs || held[k].last >= i) held[n_kept++] = held[k];
            n_held = n_kept;
            size_t size = (ggml_nbytes(&node->tensor) + LINE - 1) / LINE * LINE;
            offsets[i] = place(held, &n_held, size, last_reader(g, i));
            if (offsets[i] + size > end) end = offsets[i] + size;
        }
    return end;
}

int graph_end(graph *g) {
    find_meetings(g);
    piece *held = malloc((size_t)g->n_nodes * sizeof *held);
    size_t *offsets = malloc((size_t)g->n_nodes * sizeof *offsets);
    if (held && offsets) {
        g->n_memory = lay_out(g, held, offsets);
        g->memory = platform_alloc_large(g->n_memory);
    }
    for (int i = 0; g->memory && i < g->n_nodes; i++) {
        struct ggml_tensor *t = &g->nodes[i].tensor;
        t->data = t->view_src ? t->view_src->data : (char *)g->memory + offsets[i];
    }
    free(held);
    free(offsets);
    if (g->memory) return VOX_OK;
    graph_free(g);
    return VOX_ERR_MEMORY;
}

/* ---- running -------------------------------------------------------------------------------- */

int graph_set_width(graph *g, int width) {
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].n_columns > 1)
            g->nodes[i].tensor.ne[1] = g->nodes[i].n_columns * width / g->width;
    int status = VOX_OK;
    for (int i = 0; status == VOX_OK && i < g->n_probes; i++)
        status =
            watch_reserve(g->c->watch, g->probes[i].watch, ggml_nelements(g->probes[i].tensor));
    return status;
}

static void run_share(int ith, int nth, void *user) {
    graph *g = user;
    for (int i = 0; i < g->n_nodes; i++) {
        graph_node *node = &g->nodes[i];
        if (!node->run) continue;
        if (node->meets) pool_meet(g->c->pool);
        node->run(&node->tensor, ith, nth, node->user);
    }
}

void graph_run(graph *g) {
    pool_run(g->c->pool, run_share, g);
    for (int i = 0; i < g->n_probes; i++)
        watch_append(g->c->watch, g->probes[i].watch, g->probes[i].tensor->data,
                     ggml_nelements(g->probes[i].tensor));
}

void graph_free(graph *g) {
    free(g->nodes);
    platform_free_large(g->memory);
    *g = (graph){0};
}

size_t graph_bytes(const graph *g) {
    return (size_t)g->max_nodes * sizeof *g->nodes + g->n_memory;
}

/* ---- building blocks ------------------------------------------------------------------------ */

row_share share_rows(int64_t n, int ith, int nth) {
    int64_t n_blocks = (n + BLOCK - 1) / BLOCK;
    row_share share = {n_blocks * ith / nth * BLOCK, n_blocks * (ith + 1) / nth * BLOCK};
    if (share.last > n) share.last = n;
    return share;
}

/* Parts of a product that a thread takes at a time: so many that one which is late, because another
 * program has its processor, leaves little for the others to wait for. */
enum { PARTS_PER_THREAD = 16 };

/* Quantised columns carry behind their tiles, per product that reads them, which group of rows is
 * next. */
static atomic_int *next_groups(const struct ggml_tensor *columns, const struct ggml_tensor *x) {
    return (atomic_int *)(void *)((char *)columns->data +
                                  column_bytes(x->ne[0]) * (size_t)x->ne[1]);
}

/* dst = tiles of src[0]'s columns, quantised. */
static void op_quantise(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const kernels *k = user;
    const struct ggml_tensor *x = dst->src[0];
    row_share rows = share_rows(x->ne[0], ith, nth);
    k->quantise(x->data, x->nb[1] / sizeof(float), (int)x->ne[1], (int)(x->ne[0] / BLOCK),
                (int)(rows.first / BLOCK), (int)(rows.last / BLOCK), dst->data);
    if (ith == 0)
        for (int i = 0; i < MAX_PRODUCTS; i++) atomic_store(next_groups(dst, x) + i, 0);
}

/* Add to rows [first, last) of dst, a product, its bias src[1] and what it goes onto, src[2]. */
static void finish(const kernels *k, struct ggml_tensor *dst, int64_t first, int64_t last) {
    const struct ggml_tensor *bias = dst->src[1], *onto = dst->src[2];
    for (int64_t c = 0; c < dst->ne[1]; c++) {
        float *y = column(dst, c) + first;
        if (bias) k->add(y, (const float *)bias->data + first, last - first, y);
        if (onto) k->add(column(onto, c) + first, y, last - first, y);
    }
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
    for (int first; (first = atomic_fetch_add(next, part)) < n_groups;) {
        int last = first + part < n_groups ? first + part : n_groups;
        k->product(m, first, last, columns->data, (int)dst->ne[1], dst->data, (size_t)m->n_rows);
        finish(k, dst, first * GROUP, last < n_groups ? last * GROUP : m->n_rows);
    }
}

static struct ggml_tensor *product(graph *g, packed_matrix *m, struct ggml_tensor *bias,
                                   struct ggml_tensor *x, struct ggml_tensor *onto) {
    if (g->x != x || g->n_products == MAX_PRODUCTS) {
        size_t size = column_bytes(x->ne[0]) * (size_t)x->ne[1] + MAX_PRODUCTS * sizeof(atomic_int);
        g->x = x;
        g->n_products = 0;
        g->columns = graph_op(g, op_quantise, (void *)g->c->kernels, GGML_TYPE_I8, (int64_t)size, 1,
                              x, NULL, NULL);
        g->columns->extra = (void *)g->c->kernels;
        graph_by_rows(g->columns);
    }
    struct ggml_tensor *y =
        graph_op(g, op_product, m, GGML_TYPE_F32, m->n_rows, x->ne[1], g->columns, bias, onto);
    y->extra = (void *)(intptr_t)g->n_products++;
    return y;
}

/* dst = the float weight times src[0]; rows are shared out over the threads. */
static void op_float_product(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const kernels *k = dst->extra;
    const struct ggml_tensor *weight = user, *x = dst->src[0];
    float_matrix m = {.rows = weight->data,
                      .type = weight->type == GGML_TYPE_F32   ? FLOATS
                              : weight->type == GGML_TYPE_F16 ? HALVES
                                                              : BRAINS,
                      .n_columns = (int)weight->ne[0]};
    int64_t n = weight->ne[1], first = n * ith / nth, last = n * (ith + 1) / nth;
    k->float_product(&m, (int)first, (int)last, x->data, x->nb[1] / sizeof(float), (int)x->ne[1],
                     dst->data, (size_t)n);
    finish(k, dst, first, last);
}

struct ggml_tensor *linear(graph *g, struct ggml_tensor *weight, struct ggml_tensor *bias,
                           struct ggml_tensor *x, struct ggml_tensor *onto) {
    if (weight->extra) return product(g, weight->extra, bias, x, onto);
    struct ggml_tensor *y = graph_op(g, op_float_product, weight, GGML_TYPE_F32, weight->ne[1],
                                     x->ne[1], x, bias, onto);
    y->extra = (void *)g->c->kernels;
    return y;
}

struct ggml_tensor *operate(graph *g, operation run, void *user, int64_t rows,
                            struct ggml_tensor *columns, struct ggml_tensor *other) {
    return graph_op(g, run, user, GGML_TYPE_F32, rows, columns->ne[1], other ? other : columns,
                    columns, NULL);
}

static void op_add(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const struct ggml_tensor *a = dst->src[1], *b = dst->src[0];
    const kernels *k = user;
    row_share rows = share_rows(dst->ne[0], ith, nth);
    for (int64_t c = 0; c < dst->ne[1]; c++)
        k->add(column(a, c) + rows.first, column(b, c) + rows.first, rows.last - rows.first,
               column(dst, c) + rows.first);
}

struct ggml_tensor *add(graph *g, struct ggml_tensor *a, struct ggml_tensor *b) {
    struct ggml_tensor *y = operate(g, op_add, (void *)g->c->kernels, a->ne[0], a, b);
    graph_by_rows(y);
    return y;
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
    const kernels *k = user;
    const float *eps = dst->extra;
    for (int64_t c = ith; c < dst->ne[1]; c += nth)
        k->rms_norm(column(dst->src[1], c), dst->src[0]->data, *eps, (int)dst->ne[0],
                    column(dst, c));
}

struct ggml_tensor *rms_norm(graph *g, struct ggml_tensor *x, struct ggml_tensor *weight,
                             const float *eps) {
    struct ggml_tensor *y = operate(g, op_rms_norm, (void *)g->c->kernels, x->ne[0], x, weight);
    y->extra = (void *)eps;
    return y;
}

static void op_gelu(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const kernels *k = user;
    row_share rows = share_rows(dst->ne[0], ith, nth);
    for (int64_t c = 0; c < dst->ne[1]; c++)
        k->gelu(column(dst->src[0], c) + rows.first, rows.last - rows.first,
                column(dst, c) + rows.first);
}

struct ggml_tensor *gelu(graph *g, struct ggml_tensor *x) {
    struct ggml_tensor *y = operate(g, op_gelu, (void *)g->c->kernels, x->ne[0], x, NULL);
    graph_by_rows(y);
    return y;
}

static void op_swiglu(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const kernels *k = user;
    row_share rows = share_rows(dst->ne[0], ith, nth);
    for (int64_t c = 0; c < dst->ne[1]; c++)
        k->swiglu(column(dst->src[0], c) + rows.first, column(dst->src[1], c) + rows.first,
                  rows.last - rows.first, column(dst, c) + rows.first);
}

struct ggml_tensor *swiglu(graph *g, struct ggml_tensor *gate, struct ggml_tensor *up,
                           struct ggml_tensor *down, struct ggml_tensor *down_bias,
                           struct ggml_tensor *x, struct ggml_tensor *onto) {
    struct ggml_tensor *gated = linear(g, gate, NULL, x, NULL), *by = linear(g, up, NULL, x, NULL);
    struct ggml_tensor *h = operate(g, op_swiglu, (void *)g->c->kernels, gated->ne[0], by, gated);
    graph_by_rows(h);
    return linear(g, down, down_bias, h, onto);
}
