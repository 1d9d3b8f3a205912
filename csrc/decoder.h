/* decoder.h - audio embeddings and previous tokens to the next tokens: the language model with its
 * delay conditioning.
 *
 * In: one token id and one audio embedding per position. Out: the likeliest next token at the
 * positions for which it is asked: the output matrix is a large part of the work, so it is a graph
 * of its own. decoder_state is what one stream carries. decoder holds what passes share. Invariant:
 * as for the encoder, results do not depend on the width of a pass.
 */
#ifndef VOXTRAL_DECODER_H
#define VOXTRAL_DECODER_H

#include "attention.h"
#include "compute.h"
#include "kv.h"
#include "model.h"

typedef struct {
    kv_ring kv;            /* positions */
    const float *ffn_norm; /* [n_layers, dim] borrowed: decoder_delay_norms of the stream's delay */
} decoder_state;

/* The feed-forward norms times (1 + ada scale), [n_layers, dim], allocated; NULL when out of
 * memory. n_delay: slots by which text trails speech. */
float *decoder_delay_norms(const vox_model *m, int n_delay);
int decoder_state_init(decoder_state *st, const vox_model *m);
void decoder_state_reset(decoder_state *st, int64_t position);
void decoder_state_free(decoder_state *st);

typedef struct {
    graph g;
    struct ggml_tensor *tokens_in;   /* [w] int32 */
    struct ggml_tensor *audio_in;    /* [dim, w] */
    struct ggml_tensor *ffn_norm_in; /* [dim, n_layers] */
    struct ggml_tensor *hidden;      /* [dim, w] before the last norm */
} decoder_graph;

typedef struct {
    graph g;
    struct ggml_tensor *hidden_in; /* [dim, n] */
    struct ggml_tensor *logits;    /* [n_vocab, n] */
} head_graph;

typedef struct {
    const vox_model *m;
    compute *c;
    attention attn;
    attention_layer *layers;             /* [dec.n_layers] */
    ggml_gallocr_t memory, head_memory;  /* in which the graphs compute */
    decoder_graph graphs[DECODER_WIDTH]; /* by width - 1; built on first use */
    head_graph head_graphs[DECODER_WIDTH];
    int width, head_width; /* of the last run, of the last head */
} decoder;

int decoder_init(decoder *d, const vox_model *m, compute *c);
void decoder_free(decoder *d);
/* Make everything a run of w positions needs, and a head over n of them (0: none); after VOX_OK
 * they cannot run out of memory. */
int decoder_reserve(decoder *d, decoder_state *st, int w, int n);
/* w positions, 1..DECODER_WIDTH: tokens [w], audio [w, dim]. Their rows are in the ring then, but
 * the stream moves on only as far as decoder_keep says. */
int decoder_run(decoder *d, decoder_state *st, const int32_t *tokens, const float *audio, int w);
/* next [n]: the likeliest token after each of the last n positions of the last run, the lowest id
 * in a tie, or -1 if a logit is not finite. penalties [n] are taken off the pad's logit. */
int decoder_head(decoder *d, int n, const float *penalties, int32_t *next);
/* How likely token is at position i of those of the last head, and which other tokens with text are
 * likeliest there, [n], in this order; how many there are. */
int decoder_weigh(const decoder *d, int i, int32_t token, float *confidence, int n,
                  vox_alternative *alternatives);
/* The first n positions of the last run stay; the rest is as if it had not been run. */
void decoder_keep(decoder_state *st, int n);
size_t decoder_bytes(const decoder *d);

#endif
