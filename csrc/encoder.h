/* encoder.h - mel frames to audio embeddings: conv stem, causal transformer, adapter.
 *
 * In: 8 mel frames per slot. Out: one audio embedding [dec.dim] per slot. encoder_state is what one
 * stream carries from pass to pass: the conv tails and the KV ring. encoder holds what passes
 * share: the graph and scratch. Invariant: a slot's embedding depends on its own stream's frames
 * before its end only, never on the width of the pass that made it or on whose slots are in it.
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
    float *conv2_next; /* [enc.dim] and after it, while a pass runs */
} encoder_state;

int encoder_state_init(encoder_state *st, const vox_model *m);
void encoder_state_reset(encoder_state *st, const vox_model *m,
                         int64_t slot); /* the next slot's index */
/* Make to hold what from holds, both of one model. */
void encoder_state_copy(encoder_state *to, const encoder_state *from, const vox_model *m);
void encoder_state_free(encoder_state *st);

/* One stream's part in a pass: w slots, mel [8 w, N_MEL] in, audio [w, dec.dim] out. */
typedef struct {
    encoder_state *state;
    const float *mel;
    float *audio;
    int w;
} encoder_part;

typedef struct {
    const vox_model *m;
    compute *c;
    attention attn;
    attention_layer *layers;     /* [enc.n_layers] */
    graph g;                     /* of ENCODER_WIDTH slots */
    struct ggml_tensor *stem_in; /* [3 * N_MEL, 8 per slot] each frame after its two predecessors */
    struct ggml_tensor *audio;   /* [dec.dim, slots] */
    encoder_part *const *parts;  /* [n_parts] of the pass at hand */
    int n_parts;
} encoder;

int encoder_init(encoder *e, const vox_model *m, compute *c);
void encoder_free(encoder *e);
/* Make room for what a pass adds to the stream. VOX_OK or VOX_ERR_MEMORY. */
int encoder_reserve(const encoder_part *part);
/* Parts of n streams, for which there is room; up to ENCODER_WIDTH slots in all. VOX_OK,
 * or VOX_ERR_MEMORY (somebody watches), and all states are as they were. */
int encoder_run(encoder *e, encoder_part *const *parts, int n);
size_t encoder_bytes(const encoder *e);

#endif
