/* decoder.h - audio embeddings and previous tokens to logits: the language model with its delay
 * conditioning.
 *
 * In: one token id and one audio embedding per position. Out: logits [n_vocab] per position.
 * decoder_state is what one stream carries: the KV ring and the feed-forward norms scaled for its
 * delay. decoder holds what passes share. Invariant: as for the encoder, results do not depend on
 * the width of a pass.
 */
#ifndef VOXTRAL_DECODER_H
#define VOXTRAL_DECODER_H

#include "attention.h"
#include "compute.h"
#include "kv.h"
#include "model.h"

typedef struct {
    kv_ring kv;      /* positions */
    float *ffn_norm; /* [n_layers, dim] norm weight times (1 + ada scale of the delay) */
} decoder_state;

/* n_delay: slots by which text trails speech. */
int decoder_state_init(decoder_state *st, const vox_model *m, int n_delay);
void decoder_state_reset(decoder_state *st, int64_t position);
void decoder_state_free(decoder_state *st);

typedef struct {
    graph g;
    struct ggml_tensor *tokens_in;   /* [w] int32 */
    struct ggml_tensor *audio_in;    /* [dim, w] */
    struct ggml_tensor *ffn_norm_in; /* [dim, n_layers] */
    struct ggml_tensor *logits;      /* [n_vocab, w], or NULL: a pass that only fills the ring */
} decoder_graph;

typedef struct {
    const vox_model *m;
    compute *c;
    attention attn;
    attention_layer *layers;           /* [dec.n_layers] */
    decoder_graph graphs[2][N_WIDTHS]; /* [without, with logits]; built on first use */
} decoder;

int decoder_init(decoder *d, const vox_model *m, compute *c);
void decoder_free(decoder *d);
void decoder_drop_graphs(decoder *d);
int decoder_reserve(decoder *d, decoder_state *st, int w, int with_logits);
/* w positions (1, 2, 4, 8 or 16). *logits, if wanted (logits not NULL), points to [w, n_vocab],
 * valid until the next run. */
int decoder_run(decoder *d, decoder_state *st, const int32_t *tokens, const float *audio, int w,
                const float **logits);
size_t decoder_bytes(const decoder *d);

#endif
