/* encoder.h - mel frames to audio embeddings: conv stem, causal transformer, adapter.
 *
 * In: 8 mel frames per slot. Out: one audio embedding [dec.dim] per slot. encoder_state is what one
 * stream carries from pass to pass: the conv tails and the KV ring. encoder holds what passes
 * share: graphs and scratch. Invariant: a slot's embedding depends on the frames before its end
 * only, never on the width of the pass that made it.
 */
#ifndef VOXTRAL_ENCODER_H
#define VOXTRAL_ENCODER_H

#include "attention.h"
#include "compute.h"
#include "kv.h"
#include "model.h"

/* The conv stem starts from zeros in feature space (its left padding), which is not the mel of
 * silence. */
typedef struct {
    kv_ring kv;        /* encoder frames */
    float *conv1_tail; /* [2, N_MEL] the two mel frames before the next slot */
    float *conv2_tail; /* [enc.dim] the conv1 frame before the next slot */
} encoder_state;

int encoder_state_init(encoder_state *st, const vox_model *m);
void encoder_state_reset(encoder_state *st, const vox_model *m,
                         int64_t slot); /* the next slot's index */
/* Make to hold what from holds, both of one model. */
void encoder_state_copy(encoder_state *to, const encoder_state *from, const vox_model *m);
void encoder_state_free(encoder_state *st);

typedef struct {
    graph g;
    struct ggml_tensor *stem_in; /* [3 * N_MEL, 8 w] each frame after its two predecessors */
    struct ggml_tensor *tail_in; /* [enc.dim] */
    struct ggml_tensor *conv1;   /* [enc.dim, 1 + 8 w] tail and conv1 frames */
    struct ggml_tensor *audio;   /* [dec.dim, w] */
} encoder_graph;

typedef struct {
    const vox_model *m;
    compute *c;
    attention attn;
    attention_layer *layers;             /* [enc.n_layers] */
    ggml_gallocr_t memory;               /* in which the graphs compute */
    encoder_graph graphs[ENCODER_WIDTH]; /* by width - 1; built on first use */
} encoder;

int encoder_init(encoder *e, const vox_model *m, compute *c);
void encoder_free(encoder *e);
/* Make everything a pass of w slots needs; after VOX_OK the pass cannot run out of memory. */
int encoder_reserve(encoder *e, encoder_state *st, int w);
/* w slots, 1..ENCODER_WIDTH: mel [8 w, N_MEL] in, audio [w, dec.dim] out. */
int encoder_run(encoder *e, encoder_state *st, const float *mel, int w, float *audio);
size_t encoder_bytes(const encoder *e);

#endif
