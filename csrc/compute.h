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
int watch_append(watch_list *w, int index, const float *rows,
                 int64_t n); /* VOX_OK or VOX_ERR_MEMORY */
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

typedef struct {
    compute *c;
    void *meta; /* memory of ctx */
    struct ggml_context *ctx;
    struct ggml_cgraph *cgraph;
    struct ggml_cplan plan;
    struct {
        int watch;
        struct ggml_tensor *tensor;
    } probes[MAX_WATCHES];
    int n_probes;
    struct ggml_tensor *x, *columns; /* what linear() was last given, and its quantised columns */
    int n_products;                  /* that read these columns so far, at most MAX_PRODUCTS */
} graph;

/* Begin building in g->ctx; tensors there have no memory yet. VOX_OK or VOX_ERR_MEMORY. */
int graph_begin(graph *g, compute *c, int max_nodes);
struct ggml_tensor *graph_input(graph *g, enum ggml_type type, int64_t ne0, int64_t ne1);
/* Name an intermediate; its rows are collected after each run if the name is watched. */
void graph_probe(graph *g, struct ggml_tensor *t, const char *name, int index);
void graph_output(graph *g, struct ggml_tensor *t);
/* Allocate and plan. Inputs, intermediates and outputs lie in memory which the graphs of one shape
 * and different widths share, as one of them runs at a time. The widest must come first: the others
 * then fit into its plan, so that nothing moves. VOX_OK or VOX_ERR_MEMORY. */
int graph_end(graph *g, ggml_gallocr_t shared);
int graph_run(graph *g);   /* VOX_OK, VOX_ERR_MEMORY (a watch) or VOX_ERR_COMPUTE */
void graph_free(graph *g); /* a zeroed graph is fine */
size_t graph_bytes(const graph *g);

/* Every matrix product of the model: weight [k, n] times x [k, columns], plus bias [n] if not NULL.
 * Weights whose extra is a packed_matrix go through our kernels, with x quantised once however many
 * weights it meets in a row; others, floats, through ggml. */
struct ggml_tensor *linear(graph *g, struct ggml_tensor *weight, struct ggml_tensor *bias,
                           struct ggml_tensor *x);
/* The rows of weight [k, n] whose numbers are in indices [columns] (I32): [k, columns]. */
struct ggml_tensor *lookup(graph *g, struct ggml_tensor *weight, struct ggml_tensor *indices);
/* x / rms(x) * weight, per column; weight [dim] (F32). */
struct ggml_tensor *rms_norm(graph *g, struct ggml_tensor *x, struct ggml_tensor *weight,
                             float eps);
/* down(silu(gate x) * up x): the feed-forward block of encoder and decoder. */
struct ggml_tensor *swiglu(graph *g, struct ggml_tensor *gate, struct ggml_tensor *up,
                           struct ggml_tensor *down, struct ggml_tensor *down_bias,
                           struct ggml_tensor *x);

#endif
