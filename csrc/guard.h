/* guard.h - the way out of a rut: a model that has said nothing but pads for long may go on so over
 * speech, because it hears its own pads.
 *
 * In: the tokens that were said. Out: what is taken off the pad's logit, nothing at first, then
 * more with every further pad, up to a limit, until something else is said. The limit is such that
 * speech wins over it and silence does not (docs/streaming.md). It depends on tokens only, so what
 * is said does not depend on the width of a pass. No ggml header.
 */
#ifndef VOXTRAL_GUARD_H
#define VOXTRAL_GUARD_H

#include <stdint.h>

typedef struct {
    int32_t pad;
    int64_t n_allowed; /* pads in a row that cost nothing; 0: no number of them does */
    int64_t n_pads;    /* said in a row so far */
} pad_guard;

/* penalties [n]: at n positions of which the first hears the last token said and the others heard
 * [1 .. n - 1], which count as said. */
void guard_plan(const pad_guard *g, const int32_t *heard, int n, float *penalties);
/* said [n] were said. */
void guard_learn(pad_guard *g, const int32_t *said, int n);

#endif
