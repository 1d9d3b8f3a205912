/* stream.h - the pipeline of one audio stream: samples -> mel -> encoder -> adapter -> decoder ->
 * text.
 *
 * Only this file, stream.c and the engine know more than one stage. The stages' states hold what
 * the stream carries from pass to pass; the engine holds what passes compute in. All positions are
 * absolute int64: slot e of the padded signal, where n_left_pad slots of silence come before the
 * first sample, is decoder position e.
 */
#ifndef VOXTRAL_STREAM_H
#define VOXTRAL_STREAM_H

#include "batch.h"
#include "gain.h"
#include "gate.h"
#include "guard.h"
#include "mel.h"
#include "slots.h"
#include "text.h"
#include "words.h"

/* OPEN -finish-> DRAINING -last slot-> DONE; an error that loses data -> FAILED; reset -> OPEN from
 * any. */
typedef enum { STREAM_OPEN, STREAM_DRAINING, STREAM_DONE, STREAM_FAILED } stream_phase;

/* What the stages before the encoder carry. */
typedef struct {
    mel_state mel;
    silence_gate gate;
    gain_state gain;
} front_state;

struct vox_stream {
    vox_model *m;
    vox_stream_params params; /* with the defaults filled in; its words are in the list */
    int batch;                /* most slots in one pass */
    int width;                /* for tests: slots that may speak in each decoder pass; 0: as pays */
    stream_phase phase;
    char message[160];

    float *samples; /* [cap_samples]; pushed and not yet encoded are n_samples from first_sample */
    size_t first_sample, n_samples, cap_samples;
    slot_counts slots;
    int64_t clock; /* position of the first slot; 0, but in tests */

    front_state front;
    encoder_state enc_state;
    decoder_state dec_state;
    text_state text;
    float *mel_frames; /* [ENCODER_WIDTH * 8, N_MEL] of the pass at hand */
    float *audio; /* [DECODER_WIDTH + ENCODER_WIDTH, dec.dim] those that wait for the decoder */
    draft_state draft;
    pad_guard guard;
    listed_words words;
    pass_request request; /* the next pass, or the last one */
    int is_planned;       /* stream_advance runs it */
    front_state before;   /* what front was before it: no pass, no step */
    int keeps_rows;       /* the last call ran out of memory: what it computed is still watched */
    said_token said[DECODER_WIDTH]; /* of the last pass; n_given of n_said were handed out */
    int32_t token; /* what the next position hears: the last one said, at first a pad */
    char *slot_text;
    vox_stats stats; /* but for the bytes, which are counted when asked for */

    watch_list watch;
    engine *own_engine; /* of a stream that is watched, from its first pass on; else NULL: the
                           model's */
};

/* Keep the message, at most as long as message has room for; the status, for the caller to return.
 */
int stream_fail(vox_stream *s, int status, const char *message);
/* As stream_fail, for any use of a failed stream. */
int stream_refuse_failed(vox_stream *s);
/* Fill in the defaults; what is wrong with the rest, or NULL. */
const char *stream_params_fault(const vox_model *m, vox_stream_params *params);
/* params: without fault, but that its words may have one. VOX_OK, VOX_ERR_ARGUMENT or
 * VOX_ERR_MEMORY; on failure *fault says why. */
int stream_init(vox_stream *s, vox_model *m, const vox_stream_params *params, const char **fault);
void stream_free(vox_stream *s);
/* As just opened, but with the clock of both transformers at slot, which only tests set: results do
 * not depend on it. */
void stream_reset(vox_stream *s, int64_t slot);
int stream_push(vox_stream *s, const float *samples, size_t n);
int stream_finish(vox_stream *s);
int stream_next(vox_stream *s, vox_slot *slot);
/* Bring n streams to where stream_next needs no pass, in passes that they share: status [n] is what
 * it would return. */
void stream_advance(vox_stream *const *streams, int n, int *status);
int stream_embed(vox_stream *s, float *audio);
int stream_watch(vox_stream *s, const char *name);
/* Make *copy, which is not a stream yet, a stream that goes on from where s is; nobody watches it.
 * VOX_OK or VOX_ERR_MEMORY. */
int stream_copy(vox_stream *copy, const vox_stream *s);
/* Write the state to bytes [cap]; NULL: nowhere. Its size, or a negative status. */
int64_t stream_save(vox_stream *s, void *bytes, size_t cap);
/* Make *s, which is not a stream yet, the stream that was saved as bytes [n]. On failure message
 * says why. */
int stream_load(vox_stream *s, vox_model *m, const void *bytes, size_t n, const char **message);
/* Of a stream that has heard the silence before the first sample and nothing else: make this the
 * start of the model's streams of its delay. VOX_OK, VOX_ERR_FORMAT (it is no such stream) or
 * VOX_ERR_MEMORY. */
int stream_give_start(vox_stream *s);
int64_t stream_pending(const vox_stream *s);
vox_stats stream_stats(const vox_stream *s);
int64_t stream_memory(const vox_stream *s);

#endif
