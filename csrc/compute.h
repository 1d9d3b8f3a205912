/* compute.h - ggml for one engine: a thread pool, graphs that are built once and run often, and
 * probes.
 *
 * A graph has inputs (written before a run), outputs (read after it) and named probes, whose rows
 * the watch list collects if their name is watched. Invariant: a graph's arithmetic per column
 * depends on neither the number of columns nor of threads, so every width gives the same bits.
 */
#ifndef VOXTRAL_COMPUTE_H
#define VOXTRAL_COMPUTE_H

#include <ggml-alloc.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include "kernels/kernels.h"

enum { WATCH_NAME = 32, MAX_WATCHES = 64, MAX_PRODUCTS = 4 };
/* Rows of watched tensors, as of the last vox_stream_next. */
typedef struct {
    int n;
    struct {
        char name[WATCH_NAME];
        float *rows;
        int64_t n_rows, cap; /* floats */
    } list[MAX_WATCHES];
} watch_list;

int watch_find(const watch_list *w, const char *name); /* index or -1 */
/* Make room for n more floats. VOX_OK or VOX_ERR_MEMORY; index -1: nobody watches. */
int watch_reserve(watch_list *w, int index, int64_t n);
/* There is room for them. */
void watch_append(watch_list *w, int index, const float *rows, int64_t n);
void watch_clear(watch_list *w);
void watch_free(watch_list *w);

typedef struct {
    struct ggml_threadpool *pool;
    int n_threads;
    const kernels *kernels;
    void *work; /* [n_work] scratch of the operator that runs */
    size_t n_work;
    watch_list *watch; /* NULL: nothing is watched */
} compute;

/* VOX_OK or VOX_ERR_MEMORY (no memory, or too few threads allowed). */
int compute_init(compute *c, int n_threads, const kernels *table, watch_list *watch);
void compute_free(compute *c);

enum { MAX_INPUTS = 4 };
typedef struct {
    compute *c;
    void *meta; /* memory of ctx */
    struct ggml_context *ctx;
    struct ggml_cgraph *cgraph;
    struct ggml_cplan plan;
    ggml_gallocr_t memory; /* of inputs, intermediates and outputs */
    int width;             /* for which it was built */
    struct ggml_tensor *inputs[MAX_INPUTS];
    int n_inputs;
    int64_t *n_columns; /* [n_inputs + nodes] of each at that width; 1: does not depend on it */
    struct {
        int watch;
        struct ggml_tensor *tensor;
    } probes[MAX_WATCHES];
    int n_probes;
    struct ggml_tensor *x, *columns; /* what linear() was last given, and its quantised columns */
    int n_products;                  /* that read these columns so far, at most MAX_PRODUCTS */
} graph;

/* Begin building in g->ctx, for passes of up to width columns, at least 2 (or groups of columns);
 * tensors there have no memory yet. VOX_OK or VOX_ERR_MEMORY. */
int graph_begin(graph *g, compute *c, int max_nodes, int width);
struct ggml_tensor *graph_input(graph *g, enum ggml_type type, int64_t ne0, int64_t ne1);
/* Name an intermediate; its rows are collected after each run if the name is watched. */
void graph_probe(graph *g, struct ggml_tensor *t, const char *name, int index);
void graph_output(graph *g, struct ggml_tensor *t);
/* Allocate and plan. VOX_OK or VOX_ERR_MEMORY. */
int graph_end(graph *g);
/* Set the width of the next run, 1..width: the columns of every tensor change with it. Before
 * inputs are written. VOX_OK, or VOX_ERR_MEMORY for the rows of probes. */
int graph_set_width(graph *g, int width);
int graph_run(graph *g);   /* VOX_OK or VOX_ERR_COMPUTE */
void graph_free(graph *g); /* a zeroed graph is fine */
size_t graph_bytes(const graph *g);

/* An operator of ours, by as many threads as there are: op(dst, ith, nth, user) makes dst [rows]
 * for every column of columns. Its sources are other, unless that is NULL, and columns, in this
 * order. */
struct ggml_tensor *operate(graph *g, ggml_custom_op_t op, void *user, int64_t rows,
                            struct ggml_tensor *columns, struct ggml_tensor *other);
static inline float *column(const struct ggml_tensor *t, int64_t c) {
    return (float *)(void *)((char *)t->data + (size_t)c * t->nb[1]);
}

/* Every matrix product of the model: weight [k, n] times x [k, columns], plus bias [n] if not NULL.
 * Weights whose extra is a packed_matrix go through our kernels, with x quantised once however many
 * weights it meets in a row; others, floats, as they are. */
struct ggml_tensor *linear(graph *g, struct ggml_tensor *weight, struct ggml_tensor *bias,
                           struct ggml_tensor *x);
/* The rows of weight [k, n] whose numbers are in indices [1, columns] (I32): [k, columns]. */
struct ggml_tensor *lookup(graph *g, struct ggml_tensor *weight, struct ggml_tensor *indices);
/* x / rms(x) * weight, per column, as maths_rms_norm; weight [dim] (F32). *eps must outlive the
 * graph. */
struct ggml_tensor *rms_norm(graph *g, struct ggml_tensor *x, struct ggml_tensor *weight,
                             const float *eps);
struct ggml_tensor *gelu(graph *g, struct ggml_tensor *x);
/* down(silu(gate x) * up x): the feed-forward block of encoder and decoder. */
struct ggml_tensor *swiglu(graph *g, struct ggml_tensor *gate, struct ggml_tensor *up,
                           struct ggml_tensor *down, struct ggml_tensor *down_bias,
                           struct ggml_tensor *x);

#endif
