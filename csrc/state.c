/* state.c - a stream's state as a whole: copied into another stream.
 *
 * In: a stream that has not failed, at any moment between two calls. Out: another one that gives
 * the same slots from there on. What the two keep apart is allocated; pages of the rings are shared
 * until one of them writes.
 */
#include <stdlib.h>
#include <string.h>

#include "stream.h"

int stream_copy(vox_stream *copy, const vox_stream *s) {
    int status = stream_init(copy, s->m, s->n_delay, s->batch);
    if (status != VOX_OK) return status;
    float *samples = malloc((s->n_samples + 1) * sizeof *samples);
    if (!samples) {
        stream_free(copy);
        return VOX_ERR_MEMORY;
    }
    /* All numbers are copied; what is allocated stays the copy's own. */
    vox_stream own = *copy;
    *copy = *s;
    copy->samples = samples;
    copy->first_sample = 0;
    copy->cap_samples = s->n_samples + 1;
    copy->enc_state = own.enc_state;
    copy->dec_state = own.dec_state;
    copy->mel_frames = own.mel_frames;
    copy->audio = own.audio;
    copy->slot_text = own.slot_text;
    copy->watch = own.watch;
    copy->own = NULL;

    if (s->n_samples > 0)
        memcpy(samples, s->samples + s->first_sample, s->n_samples * sizeof *samples);
    memcpy(copy->audio, s->audio,
           (size_t)(s->n_encoded - s->n_decoded) * (size_t)s->m->dec.dim * sizeof *s->audio);
    encoder_state_copy(&copy->enc_state, &s->enc_state, s->m);
    kv_share(&copy->dec_state.kv, &s->dec_state.kv);
    return VOX_OK;
}
