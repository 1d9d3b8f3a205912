/* gain.h - samples made louder before the mel: by a fixed factor, or so that quiet speech is as
 * loud as the model likes it.
 *
 * In: the samples of one slot after the other, 80 ms each, from the first real one on. Out: the
 * same samples, amplified. The automatic factor follows a running level of what stands out of the
 * noise; in between it is held, so that pauses do not bring the noise up. No sample is amplified
 * beyond full scale, and no factor is below 1. It depends on the audio only, slot by slot, so what
 * is said does not depend on how audio is cut. Nothing is looked ahead at. No ggml header.
 */
#ifndef VOXTRAL_GAIN_H
#define VOXTRAL_GAIN_H

#include <stdint.h>

enum { GAIN_STRETCH = 16 /* slots: the noise is the quietest of the last one or two of them */ };

typedef struct {
    int32_t is_auto;
    float factor; /* at the end of the last slot; the fixed one; 1: samples stay as they are */
    double level; /* mean square of what stood out, running; 0: nothing has yet */
    double least, least_before; /* mean square of the quietest 20 ms of this stretch of slots, and
                                   of the one before; 0: there was none */
    int32_t n_slots;            /* of this stretch so far, at most GAIN_STRETCH */
} gain_state;

/* automatic, or by db decibels; 0: none */
void gain_reset(gain_state *g, int is_auto, float db);
/* samples [1280] of the next slot, amplified in place. is_heard: 0 for the padding before the first
 * sample, of which nothing is learnt. */
void gain_slot(gain_state *g, float *samples, int is_heard);

#endif
