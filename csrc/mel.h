/* mel.h - samples to log-mel frames, incrementally.
 *
 * In: 1280 samples per slot. Out: 8 frames of 128 bins per slot (100 Hz). Frame f is centred on
 * sample 160 f of the left-padded signal and sees samples 160 f - 200 .. 160 f + 199, so a slot
 * also sees 240 samples before it: mel_state keeps them. Invariant: a frame depends on its 400
 * samples only, never on how they were cut. No ggml header.
 */
#ifndef VOXTRAL_MEL_H
#define VOXTRAL_MEL_H

#include "kernels/kernels.h"

enum {
    MEL_N_BINS = 128,
    MEL_N_FFT = 400, /* samples under the window */
    MEL_HOP_LENGTH = 160,
    MEL_N_FREQ = MEL_N_FFT / 2 + 1, /* 201 bins of 40 Hz */
    MEL_N_FOLD = MEL_N_FFT / 4 + 1, /* 101: bins left when the symmetry of the table is used */
    MEL_FRAMES = 8,                 /* frames of one slot */
    MEL_SLOT = MEL_FRAMES * MEL_HOP_LENGTH,   /* 1280 samples */
    MEL_HISTORY = MEL_N_FFT - MEL_HOP_LENGTH, /* 240 samples */
};

/* Tables; immutable once made. */
typedef struct {
    double window[MEL_N_FFT];                     /* periodic Hann */
    double cosine[MEL_N_FFT / 2 + 1][MEL_N_FOLD]; /* [sample n][bin k]: cos(2 pi n k / 400) */
    double sine[MEL_N_FFT / 2 + 1][MEL_N_FOLD];
    float filter[MEL_N_BINS][MEL_N_FREQ];                 /* Slaney triangles, area normalised */
    int filter_begin[MEL_N_BINS], filter_end[MEL_N_BINS]; /* the non-zero bins of each triangle */
} mel_tables;

typedef struct {
    float tail[MEL_HISTORY]; /* the samples before the next slot's */
} mel_state;

void mel_tables_init(mel_tables *t);
void mel_reset(mel_state *m); /* as after endless silence */
/* One slot: 1280 samples in, frames [8][128] out. */
void mel_slot(const kernels *table, const mel_tables *t, mel_state *m, const float *samples,
              float *frames);
/* Whether frames [8][128] are those of silence: on the floor in every bin. */
int mel_is_silent(const float *frames);

#endif
