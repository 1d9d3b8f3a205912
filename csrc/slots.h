/* slots.h - where a stream is: how far its slots have come through the stages.
 *
 * Pure counts, all of them absolute. A slot is 80 ms of audio. Slot 0 is the first of n_left_pad
 * slots of silence before the first sample; each slot is decoder position of the same number, less
 * those that the silence gate shut out before it. The decoder says nothing before n_left_pad +
 * n_delay positions are heard, and one token for each from then on. No ggml header.
 */
#ifndef VOXTRAL_SLOTS_H
#define VOXTRAL_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "mel.h"

enum {
    SAMPLES_PER_SLOT = MEL_SLOT, /* 1280: 80 ms */
    LOOK_AHEAD =
        MEL_N_FFT / 2 - MEL_HOP_LENGTH, /* 40 samples after a slot that its last mel frame sees */
};

typedef struct {
    int n_left_pad, n_delay, n_right_extra; /* slots; of the model and the options */
    int64_t n_pushed;                       /* samples in all */
    int64_t n_total;      /* slots in all, padding included; -1 until the audio has ended */
    int64_t n_encoded;    /* through the encoder */
    int64_t n_decoded;    /* of these through the decoder, or handed out as embeddings */
    int64_t n_skipped;    /* shut out by the gate; none of them waits */
    int64_t n_out;        /* handed out with their tokens */
    int n_said, n_given;  /* tokens of the last pass, or of slots skipped; those handed out */
    int gives_embeddings; /* and no tokens */
} slot_counts;

/* Of any count: 2800 years. No sum of counts overflows. */
static const int64_t SLOTS_MAX = (int64_t)1 << 40;
static inline int is_between(int64_t value, int64_t low, int64_t high) {
    return low <= value && value <= high;
}

/* As before the first sample. */
void slots_reset(slot_counts *c);
/* No more samples: silence until the text of the last word is out. */
void slots_end(slot_counts *c);
/* First sample of a slot as the mel stage takes it, counted from the first pushed one: its
 * look-ahead later than the slot itself, so that all eight frames are complete; negative in the
 * left padding. */
int64_t slots_begin(const slot_counts *c, int64_t slot);
/* Slots whose samples are all there, padding included; counted from the start. */
int64_t slots_complete(const slot_counts *c);
/* Slots through the encoder, or past it; through the decoder, or past it. */
int64_t slots_taken(const slot_counts *c);
int64_t slots_done(const slot_counts *c);
/* Positions before the first that says something: the prompt but for its last one. */
int64_t slots_silent(const slot_counts *c);
/* Pushed samples that the encoder still needs. */
size_t slots_samples_waiting(const slot_counts *c);
/* Pushed samples whose slots were not handed out. */
int64_t slots_samples_pending(const slot_counts *c);
/* Whether counts can be those of a stream: the invariant, for at most max_waiting slots between the
 * encoder and the decoder, and max_said tokens. */
int slots_hold(const slot_counts *c, int max_waiting, int max_said);

#endif
