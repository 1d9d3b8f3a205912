/* decoder.h - audio embeddings and previous tokens to the next tokens: the language model with its
 * delay conditioning.
 *
 * In: one token id and one audio embedding per position. Out: the likeliest next token at the
 * positions for which it is asked: the output matrix is a large part of the work, so it is a graph
 * of its own. decoder_state is what one stream carries. decoder holds what passes share. Invariant:
 * as for the encoder, results depend on neither the width of a pass nor its other streams.
 */
#ifndef VOXTRAL_DECODER_H
#define VOXTRAL_DECODER_H

#include "attention.h"
#include "compute.h"
#include "kv.h"
#include "model.h"
#include "words.h"

typedef struct {
    kv_ring kv; /* positions */
} decoder_state;

/* The feed-forward norms times (1 + ada scale), [n_layers, dim], allocated; NULL when out of
 * memory. n_delay: slots by which text trails speech. */
float *decoder_delay_norms(const vox_model *m, int n_delay);
int decoder_state_init(decoder_state *st, const vox_model *m);
void decoder_state_reset(decoder_state *st, int64_t position);
void decoder_state_free(decoder_state *st);

/* One stream's part in a pass: w positions, the last n of which say something. */
typedef struct {
    decoder_state *state;
    const float *ffn_norm;  /* [n_layers, dim] decoder_delay_norms of the stream's delay */
    const int32_t *tokens;  /* [w] */
    const float *audio;     /* [w, dim] */
    const float *penalties; /* [n] taken off the pad's logit */
    const word_list *words; /* NULL: none are listed */
    const int32_t *places;  /* [n] in words */
    int32_t *next;          /* [n] out: the likeliest token, the lowest id in a tie, or what
                               words_lean gives in its place; -1: not all are finite */
    int w, n;
    int first_logits; /* their column in the last head */
} decoder_part;

typedef struct {
    attention_layer attention;
    struct decoder *d;
} decoder_layer;

typedef struct decoder {
    const vox_model *m;
    compute *c;
    attention attn;
    decoder_layer *layers; /* [dec.n_layers] */
    graph g, head;         /* of DECODER_COLUMNS positions */
    /* In g: [1, w] int32, [dim, w] and, before the last norm, [dim, w] */
    struct ggml_tensor *tokens_in, *audio_in, *hidden;
    /* In head: [dim, n], [n_vocab, n] and [threads, n] peaks */
    struct ggml_tensor *hidden_in, *logits, *peaks;
    struct ggml_tensor *turns; /* [VOX_N_TURNS, n] logits; NULL: the model has no such head */
    const float *ffn_norm[DECODER_COLUMNS]; /* of each column of the pass at hand */
    float penalty[DECODER_COLUMNS];         /* of each column of the head */
} decoder;

int decoder_init(decoder *d, const vox_model *m, compute *c);
void decoder_free(decoder *d);
/* Make room for what a pass adds to the stream. VOX_OK or VOX_ERR_MEMORY. */
int decoder_reserve(const decoder_part *part);
/* Parts of n streams, for which there is room; up to DECODER_COLUMNS positions in all. Their rows
 * are in the rings then, but a stream moves on only as far as decoder_keep says. VOX_OK,
 * or VOX_ERR_MEMORY (somebody watches). */
int decoder_run(decoder *d, decoder_part *const *parts, int n);
/* After it, of the same parts: fill next. */
int decoder_head(decoder *d, decoder_part *const *parts, int n);
/* After it: how likely next[i] is, and which other tokens with text are likeliest there, [n], in
 * this order; how many there are. */
int decoder_weigh(const decoder *d, const decoder_part *part, int i, float *confidence, int n,
                  vox_alternative *alternatives);
/* After it: how likely each state of the turn is where next[i] was said, [VOX_N_TURNS]. */
void decoder_turns(const decoder *d, const decoder_part *part, int i, float *states);
/* The first n positions of the last run stay; the rest is as if it had not been run. */
void decoder_keep(decoder_state *st, int n);
size_t decoder_bytes(const decoder *d);

#endif
