/* gate.c - see gate.h. */
#include "gate.h"

#include "mel.h"

int gate_shuts(silence_gate *g, const float *frames) {
    if (g->n_computed == 0) return 0;
    g->n_quiet = mel_is_silent(frames) ? g->n_quiet + 1 : 0;
    return g->n_quiet > g->n_computed;
}
