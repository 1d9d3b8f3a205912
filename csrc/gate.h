/* gate.h - the slots of a long silence, which need no computing.
 *
 * In: the mel frames of one slot after the other. Out: whether the slot may be left out, as if it
 * had never been: it is silent, and so were many before it. Silent is what lies on the floor of the
 * mel in every frame and bin (noise below about -71 dBFS): the model cannot tell it from zeros. It
 * depends on the audio only, so what is said does not depend on how audio is cut. No ggml header.
 */
#ifndef VOXTRAL_GATE_H
#define VOXTRAL_GATE_H

#include <stdint.h>

typedef struct {
    int64_t n_computed; /* slots of a silence that are computed all the same; 0: all */
    int64_t n_quiet;    /* in a row so far */
} silence_gate;

/* frames [8, 128] of the next slot: whether it may be left out. */
int gate_shuts(silence_gate *g, const float *frames);

#endif
