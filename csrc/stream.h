/* stream.h - the pipeline of one audio stream: samples -> mel -> encoder -> adapter -> decoder ->
 * text.
 *
 * Only this file and stream.c know more than one stage. The stages' states hold what the stream
 * carries from pass to pass; encoder and decoder hold graphs and scratch. All positions are
 * absolute int64: slot e of the padded signal, where n_left_pad slots of silence come before the
 * first sample, is decoder position e.
 */
#ifndef VOXTRAL_STREAM_H
#define VOXTRAL_STREAM_H

#include "decoder.h"
#include "encoder.h"
#include "mel.h"
#include "text.h"

/* OPEN -finish-> DRAINING -last slot-> DONE; an error that loses data -> FAILED; reset -> OPEN from
 * any. */
typedef enum { STREAM_OPEN, STREAM_DRAINING, STREAM_DONE, STREAM_FAILED } stream_phase;

struct vox_stream {
    vox_model *m;
    int n_delay; /* slots by which text trails speech */
    int batch;   /* most slots in one encoder pass */
    stream_phase phase;
    char message[160];

    float *samples; /* [cap_samples]; pushed and not yet encoded are n_samples from first_sample */
    size_t first_sample, n_samples, cap_samples;
    int64_t n_pushed; /* in all */
    int64_t n_total;  /* decoder positions in all; known once the phase is DRAINING */

    mel_state mel;
    encoder_state enc_state;
    decoder_state dec_state;
    text_state text;
    int64_t n_encoded, n_decoded; /* slots through the encoder; through the decoder */
    float *mel_frames;            /* [MAX_WIDTH * 8, N_MEL] of the pass at hand */
    float
        *audio; /* [MAX_WIDTH, dec.dim] embeddings of slots n_encoded - n_audio .. n_encoded - 1 */
    int n_audio;
    int32_t token; /* the last one */
    char *slot_text;
    vox_stats stats; /* but for the bytes, which are counted when asked for */

    compute c;
    encoder enc;
    decoder dec;
};

int stream_init(vox_stream *s, vox_model *m, int n_delay, int batch, int n_threads);
void stream_free(vox_stream *s);
/* As just opened, but with the clock of both transformers at slot: results do not depend on it. */
void stream_reset(vox_stream *s, int64_t slot);
int stream_push(vox_stream *s, const float *samples, size_t n);
int stream_finish(vox_stream *s);
int stream_next(vox_stream *s, vox_slot *slot);
int stream_watch(vox_stream *s, const char *name);
int64_t stream_pending(const vox_stream *s);
vox_stats stream_stats(const vox_stream *s);
int64_t stream_memory(const vox_stream *s);

#endif
