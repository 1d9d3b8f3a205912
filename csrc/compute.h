/* compute.h - graphs of operations that are built once and run often, by all threads of an engine.
 *
 * A tensor is ggml's struct, which says how numbers lie in memory; what is done with it is ours. A
 * graph has inputs (written before a run), outputs (read after it) and named probes, whose rows
 * the watch list collects if their name is watched. Invariant: a graph's arithmetic per column
 * depends on neither the number of columns nor of threads, so every width gives the same bits.
 */
#ifndef VOXTRAL_COMPUTE_H
#define VOXTRAL_COMPUTE_H

#include <ggml.h>

#include "kernels/kernels.h"
#include "pool.h"

enum { WATCH_NAME = 32, MAX_WATCHES = 64, MAX_PRODUCTS = 4, MAX_SOURCES = 3 };
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
    pool *pool;
    int n_threads; /* at most */
    const kernels *kernels;
    watch_list *watch; /* NULL: nothing is watched */
} compute;

/* VOX_OK or VOX_ERR_MEMORY (no memory, or too few threads allowed). */
int compute_init(compute *c, int n_threads, const kernels *table, watch_list *watch);
void compute_free(compute *c);

/* Fill dst from dst->src, together with the nth - 1 others that are called at the same time. */
typedef void (*operation)(struct ggml_tensor *dst, int ith, int nth, void *user);
/* The share of thread ith of nth in n rows, in whole blocks: first to last - 1. */
typedef struct {
    int64_t first, last;
} row_share;
row_share share_rows(int64_t n, int ith, int nth);

typedef struct {
    struct ggml_tensor tensor;
    int64_t n_columns; /* at the graph's width; 1: does not depend on it */
    operation run;     /* NULL: an input, or another's numbers in another shape */
    void *user;
    int is_output;
    int by_rows; /* a thread makes its share_rows() of every column, from the same rows of sources
                  */
    int meets;   /* before it: it reads what other threads have made since they met last */
} graph_node;

typedef struct {
    compute *c;
    int width;         /* for which it was built */
    graph_node *nodes; /* [n_nodes] in the order in which they run */
    int n_nodes, max_nodes;
    void *memory; /* [n_memory] of inputs, intermediates and outputs */
    size_t n_memory;
    struct {
        int watch;
        struct ggml_tensor *tensor;
    } probes[MAX_WATCHES];
    int n_probes;
    struct ggml_tensor *x, *columns; /* what linear() was last given, and its quantised columns */
    int n_products;                  /* that read these columns so far, at most MAX_PRODUCTS */
} graph;

/* Begin a graph of at most max_nodes nodes, for passes of up to width columns, at least 2 (or
 * groups of columns); its tensors have no memory yet. VOX_OK or VOX_ERR_MEMORY. */
int graph_begin(graph *g, compute *c, int max_nodes, int width);
struct ggml_tensor *graph_input(graph *g, enum ggml_type type, int64_t ne0, int64_t ne1);
/* The numbers of t, which lies in memory of its own, in another shape. */
struct ggml_tensor *graph_reshape(graph *g, struct ggml_tensor *t, int64_t ne0, int64_t ne1);
/* [ne0, ne1] made by run, which all threads call with user. Sources are tensors made before,
 * weights or NULL. */
struct ggml_tensor *graph_op(graph *g, operation run, void *user, enum ggml_type type, int64_t ne0,
                             int64_t ne1, struct ggml_tensor *src0, struct ggml_tensor *src1,
                             struct ggml_tensor *src2);
/* Each thread makes its share_rows() of t, and reads the same rows of its sources only. */
void graph_by_rows(struct ggml_tensor *t);
/* t, which lies in memory of its own, is read after the run. */
void graph_output(struct ggml_tensor *t);
/* Name an intermediate; its rows are collected after each run if the name is watched. */
void graph_probe(graph *g, struct ggml_tensor *t, const char *name, int index);
/* Find out where the threads have to meet, and give all tensors their memory, in which one takes
 * the place of others that nobody reads any more. VOX_OK or VOX_ERR_MEMORY. */
int graph_end(graph *g);
/* Set the width of the next run, 1..width: the columns of every tensor change with it. Before
 * inputs are written. VOX_OK, or VOX_ERR_MEMORY for the rows of probes. */
int graph_set_width(graph *g, int width);
void graph_run(graph *g);
void graph_free(graph *g); /* a zeroed graph is fine */
size_t graph_bytes(const graph *g);

/* An operation of floats: dst [rows] for every column of columns. Its sources are other, unless
 * that is NULL, and columns, in this order. */
struct ggml_tensor *operate(graph *g, operation run, void *user, int64_t rows,
                            struct ggml_tensor *columns, struct ggml_tensor *other);
static inline float *column(const struct ggml_tensor *t, int64_t c) {
    return (float *)(void *)((char *)t->data + (size_t)c * t->nb[1]);
}

/* Every matrix product of the model: weight [k, n] times x [k, columns], plus bias [n], and added
 * to onto [n, columns], unless these are NULL. Weights whose extra is a packed_matrix go through
 * our kernels, with x quantised once however many weights it meets in a row; others, floats, as
 * they are. */
struct ggml_tensor *linear(graph *g, struct ggml_tensor *weight, struct ggml_tensor *bias,
                           struct ggml_tensor *x, struct ggml_tensor *onto);
/* The rows of weight [k, n] whose numbers are in indices [1, columns] (I32): [k, columns]. */
struct ggml_tensor *lookup(graph *g, struct ggml_tensor *weight, struct ggml_tensor *indices);
/* x / rms(x) * weight, per column, as maths_rms_norm; weight [dim] (F32). *eps must outlive the
 * graph. */
struct ggml_tensor *rms_norm(graph *g, struct ggml_tensor *x, struct ggml_tensor *weight,
                             const float *eps);
/* a plus b */
struct ggml_tensor *add(graph *g, struct ggml_tensor *a, struct ggml_tensor *b);
struct ggml_tensor *gelu(graph *g, struct ggml_tensor *x);
/* onto plus down(silu(gate x) * up x): the feed-forward block of encoder and decoder. */
struct ggml_tensor *swiglu(graph *g, struct ggml_tensor *gate, struct ggml_tensor *up,
                           struct ggml_tensor *down, struct ggml_tensor *down_bias,
                           struct ggml_tensor *x, struct ggml_tensor *onto);

#endif
