/* engine.h - what runs passes: threads, graphs, scratch, and the start that all streams share.
 *
 * A model has an engine for each pass that runs at the same time, made when the first needs it; a
 * stream that is watched has its own, whose passes collect rows. An engine runs one pass at a time,
 * for one stream or for many: each asks for its part with a pass_request. The start: the slots
 * before the first sample are silence, so what encoder and decoder hold after them is the same for
 * every stream of a delay, and is computed once and shared.
 */
#ifndef VOXTRAL_ENGINE_H
#define VOXTRAL_ENGINE_H

#include "decoder.h"
#include "draft.h"
#include "encoder.h"

/* The silence before the first sample; the same, known from an earlier run, given to the engine;
 * the next slots through the encoder; the next positions through the decoder. */
typedef enum { PASS_START, PASS_ADOPT, PASS_ENCODE, PASS_DECODE } pass_kind;

typedef struct {
    int32_t token, n_alternatives;
    float confidence;
    vox_alternative alternatives[VOX_MAX_ALTERNATIVES];
    float turns[VOX_N_TURNS]; /* if the model has them */
} said_token;

/* What a stream wants of a pass. Until it has run, nobody touches the states and arrays that it
 * names. */
typedef struct pass_request {
    pass_kind kind;
    int n_delay;
    /* PASS_ENCODE: the part; audio is filled. */
    encoder_part enc;
    /* PASS_DECODE: the last dec.n of the dec.w positions speak; the first of these heard what it
     * should, those after it heard guesses, and a pass may leave out the last of these. */
    decoder_part dec;
    int32_t tokens[DECODER_WIDTH], next[DECODER_WIDTH]; /* of dec */
    float penalties[DECODER_WIDTH];
    int32_t places[DECODER_WIDTH];
    int has_confidence, n_alternatives; /* to be found for what is said */
    /* Out. right: how many of what was said counts: all until a guess was wrong. */
    int status; /* VOX_OK or VOX_ERR_MEMORY */
    int n_right;
    said_token said[DECODER_WIDTH];
    int64_t ns, head_ns; /* the stream's share of the time; of that in the output matrix */
    int width;           /* slots of all streams in the pass */

    /* batch.c's: what it waits for, and among which others. */
    int is_background;
    struct pass_request *after, *peer;
    struct batch_waiter *waiter;
    uint64_t served; /* the pass it was in last */
} pass_request;

/* What depends on the delay only. */
typedef struct delay_start {
    struct delay_start *next;
    int n_delay;
    float *ffn_norm;           /* decoder_delay_norms */
    decoder_state silence_dec; /* after n_silence positions; nothing in it until has_decoder */
    int has_decoder;
} delay_start;

typedef struct engine {
    const vox_model *m;
    compute c;
    encoder enc;
    decoder dec;
    int n_silence;             /* slots at the start that hear no sample */
    encoder_state silence_enc; /* after them; nothing in it until has_encoder */
    float *audio;              /* [n_silence, dec.dim] their embeddings, if has_audio */
    int has_encoder, has_audio;
    delay_start *delays;
    pass_cost cost; /* of decoder passes that only speak, by their columns */
} engine;

/* VOX_OK or VOX_ERR_MEMORY (no memory, or too few threads allowed); *e is NULL then. */
int engine_open(engine **e, const vox_model *m, watch_list *watch);
void engine_close(engine *e); /* NULL is fine */
/* Run one pass for n requests of one kind: n 1 for PASS_START and PASS_ADOPT, else as many as its
 * width allows. */
void engine_run(engine *e, pass_request *const *requests, int n);
size_t engine_bytes(const engine *e);

#endif
