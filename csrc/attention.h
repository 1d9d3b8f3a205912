/* attention.h - rotary positions and windowed attention over a KV ring, as two operations of a
 * graph.
 *
 * In: q [n_heads * head_dim, n], k and v [n_kv_heads * head_dim, n]; the columns of a pass are the
 * next positions of one ring or of several, one after the other. Out: the mixed values [n_heads *
 * head_dim, n]. The first operator turns q and k by their absolute position and stores k and v in
 * the ring; the second attends. Keys keep their rotation in the ring: a product of two turned
 * vectors depends on the difference of their positions only.
 *
 * There are no tables of angles and no masks, for three reasons. Angles come from absolute
 * positions in double precision, so a stream may run for years. No mask and no row count enters the
 * graph, so one graph serves every moment of a stream, and a young stream pays only for the rows it
 * has. And each (head, position) sums over its keys in the order of their positions, whatever the
 * width of the pass, the threads or the place in the ring, so all of them give the same bits.
 */
#ifndef VOXTRAL_ATTENTION_H
#define VOXTRAL_ATTENTION_H

#include <stdatomic.h>

#include "compute.h"
#include "kernels/kernels.h"
#include "kv.h"
#include "maths.h"
#include "model.h"

/* Columns first .. first + n - 1 of a pass are the next n positions of a ring. */
typedef struct {
    kv_ring *kv;
    int first, n;
} attention_run;

/* Scratch of one transformer's passes, shared by its layers. */
typedef struct {
    const transformer_params *p;
    enum ggml_type kv_type;
    turns *frequency; /* [head_dim / 2] per position */
    float *turn;      /* [width][head_dim / 2][cos, sin] */
    const kernels *kernels;
    attention_run *runs; /* [width] n_runs of the pass at hand, which cover its columns in order */
    int n_runs;
} attention;

/* What a layer's operators are given. */
typedef struct {
    attention *a;
    int layer;
    atomic_int next; /* which of a pass's shares is to be taken next */
} attention_layer;

/* width: most positions in one pass. VOX_OK or VOX_ERR_MEMORY. */
int attention_init(attention *a, const transformer_params *p, enum ggml_type kv_type, int width,
                   const kernels *table);
void attention_free(attention *a);
/* Before each pass: none of its columns are known yet. */
void attention_begin(attention *a);
/* Its next n columns are the next n positions of a ring that has none in it so far. */
void attention_add(attention *a, kv_ring *kv, int n);
/* layer must outlive the graph. */
struct ggml_tensor *attention_build(graph *g, attention_layer *layer, struct ggml_tensor *q,
                                    struct ggml_tensor *k, struct ggml_tensor *v);

#endif
