/* engine.h - what runs passes: threads, graphs, scratch, and the start that all streams share.
 *
 * A model has one engine for all of its streams, made when the first of them needs it; a stream
 * that is watched has its own, whose passes collect rows. One pass runs at a time. The start: the
 * slots before the first sample are silence, so what encoder and decoder hold after them is the
 * same for every stream of a delay, and is computed once and shared.
 */
#ifndef VOXTRAL_ENGINE_H
#define VOXTRAL_ENGINE_H

#include "decoder.h"
#include "draft.h"
#include "encoder.h"

/* What depends on the delay only. */
typedef struct delay_start {
    struct delay_start *next;
    int n_delay;
    float *ffn_norm;       /* decoder_delay_norms */
    decoder_state decoder; /* after n_silence positions; nothing in it until has_decoder */
    int has_decoder;
} delay_start;

typedef struct engine {
    const vox_model *m;
    compute c;
    encoder enc;
    decoder dec;
    int n_silence;         /* slots at the start that hear no sample */
    encoder_state encoder; /* after them; nothing in it until has_encoder */
    float *audio;          /* [n_silence, dec.dim] their embeddings */
    int has_encoder;
    delay_start *delays;
    pass_cost cost; /* of decoder passes that speak */
} engine;

/* VOX_OK or VOX_ERR_MEMORY (no memory, or too few threads allowed); *e is NULL then. */
int engine_open(engine **e, const vox_model *m, watch_list *watch);
void engine_close(engine *e); /* NULL is fine */
/* The feed-forward norms of a delay; NULL when out of memory. They live as long as the engine. */
const float *engine_norms(engine *e, int n_delay);
/* Bring the states of a stream, just reset to position 0, to where it has heard n_silence slots.
 * VOX_OK, VOX_ERR_MEMORY or VOX_ERR_COMPUTE; after an error the states are as they were. */
int engine_start(engine *e, int n_delay, encoder_state *enc, decoder_state *dec);
size_t engine_bytes(const engine *e);

#endif
