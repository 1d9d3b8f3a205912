/* gain.c - see gain.h. Sums go from the first sample to the last, in double; each sample is
 * multiplied once, in float. docs/quiet.md has the measurements behind the numbers. */
#include "gain.h"

#include <math.h>

#include "maths.h"
#include "mel.h"

/* Mean squares, of full scale 1. */
static const double TARGET = 4e-5;   /* -44 dBFS: from there on louder speech is heard no better */
static const double FAINTEST = 1e-9; /* -90 dBFS, the last bit of 16: nothing below is speech */
static const double STANDS_OUT = 4;  /* above the noise, 6 dB; so no factor is above 100 */
static const double RISE = 0.5, FALL = 1.0 / 16; /* of the way to the slot, where it stands out */
enum {
    BLOCK_SAMPLES = 320, /* 20 ms: the noise is that of the quietest */
    RAMP = 160,          /* in which a factor becomes the next one, 10 ms */
};

void gain_reset(gain_state *g, int is_auto, float db) {
    *g = (gain_state){.is_auto = is_auto, .factor = 1};
    if (db != 0) g->factor = (float)maths_power(10, (double)db / 20);
}

/* The mean square of the noise: of the quietest block of this stretch, which begins anew after
 * GAIN_STRETCH slots, and of the one before it. least: of this slot's blocks. */
static double noise(gain_state *g, double least) {
    if (g->n_slots == GAIN_STRETCH) {
        g->least_before = g->least;
        g->n_slots = 0;
    }
    if (g->n_slots++ == 0 || least < g->least) g->least = least;
    least = g->least_before > 0 && g->least_before < g->least ? g->least_before : g->least;
    return least > FAINTEST ? least : FAINTEST;
}

/* What the factor should be after a slot. Digital silence tells nothing. */
static float learn(gain_state *g, const float *samples) {
    double power = 0, least = 0, peak = 0;
    for (int block = 0; block < MEL_SLOT; block += BLOCK_SAMPLES) {
        double sum = 0;
        for (int i = block; i < block + BLOCK_SAMPLES; i++) {
            double x = samples[i];
            sum += x * x;
            peak = fabs(x) > peak ? fabs(x) : peak;
        }
        sum /= BLOCK_SAMPLES;
        power += sum;
        if (sum > 0 && (least == 0 || sum < least)) least = sum;
    }
    if (least == 0) return g->factor;
    power /= MEL_SLOT / BLOCK_SAMPLES;
    if (power > STANDS_OUT * noise(g, least)) {
        double share = g->level == 0 ? 1 : power > g->level ? RISE : FALL;
        g->level += share * (power - g->level);
    }
    double factor = g->level > 0 ? sqrt(TARGET / g->level) : 1;
    if (factor * peak > 1) factor = 1 / peak;
    return factor > 1 ? (float)factor : 1;
}

/* Not beyond full scale, unless it was there. */
static float amplified(float x, float factor) {
    float y = x * factor, most = fabsf(x) > 1 ? fabsf(x) : 1;
    if (factor <= 1) return y;
    return y > most ? most : y < -most ? -most : y;
}

void gain_slot(gain_state *g, float *samples, int is_heard) {
    float from = g->factor, to = g->is_auto && is_heard ? learn(g, samples) : from;
    if (from == 1 && to == 1) return;
    for (int i = 0; i < MEL_SLOT; i++) {
        float ramp = i < RAMP ? from + (to - from) * ((float)(i + 1) / RAMP) : to;
        samples[i] = amplified(samples[i], ramp);
    }
    g->factor = to;
}
