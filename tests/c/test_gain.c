/* test_gain.c - what the gain makes of quiet, loud and noisy slots. */
#include "gain.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "mel.h"

static uint32_t seed = 1;

/* A slot of noise of this root mean square, or of an evener sound, and what the gain makes of it.
 */
static void make(float *samples, float loudness, int is_tone) {
    for (int i = 0; i < MEL_SLOT; i++) {
        seed = seed * 1664525u + 1013904223u;
        float noise = ((float)(seed >> 8) / 8388608.0f - 1) * 1.7320508f;
        float tone = 1.4142136f * sinf((float)(i % 32) * 0.19634954f);
        samples[i] = loudness * (is_tone ? tone : noise);
    }
}

static float loudness_of(const float *samples) {
    double sum = 0;
    for (int i = 0; i < MEL_SLOT; i++) sum += (double)samples[i] * samples[i];
    return (float)sqrt(sum / MEL_SLOT);
}

/* The factor at the end of a slot. */
static float hear(gain_state *g, float loudness, int is_tone) {
    float samples[MEL_SLOT], before[MEL_SLOT];
    make(samples, loudness, is_tone);
    memcpy(before, samples, sizeof before);
    gain_slot(g, samples, 1);
    for (int i = 160; i < MEL_SLOT; i++) {
        CHECK(fabsf(samples[i]) <= fmaxf(1, fabsf(before[i])));
        CHECK(samples[i] == before[i] * g->factor || fabsf(samples[i]) == 1);
    }
    return g->factor;
}

static void test_quiet_speech(void) {
    gain_state g;
    gain_reset(&g, 1, 0);
    /* Noise alone is never made louder, however long and however quiet. */
    for (int i = 0; i < 100; i++) CHECK(hear(&g, 0.00003f, 0) == 1);
    /* Speech is, from its first slot on, to one loudness. */
    float samples[MEL_SLOT];
    make(samples, 0.0003f, 1);
    gain_slot(&g, samples, 1);
    float speech = g.factor;
    CHECK(speech > 15 && speech < 30);
    CHECK(fabsf(loudness_of(samples) / (speech * 0.0003f) - 1) < 0.05f);
    /* Between words it stays, to the bit, and noise comes up no further. */
    for (int i = 0; i < 10; i++) CHECK(hear(&g, 0.00003f, 0) == speech);
    for (int i = 0; i < 10; i++) CHECK(hear(&g, 0, 0) == speech); /* nor in digital silence */
    /* A louder voice is turned down at once, a quieter one up bit by bit. */
    float louder = hear(&g, 0.003f, 1);
    CHECK(louder < 0.2f * speech);
    float before = hear(&g, 0.003f, 1);
    for (int i = 0; i < 8; i++) {
        float quieter = hear(&g, 0.0006f, 1);
        CHECK(quieter >= before && quieter < 1.05f * before);
        before = quieter;
        hear(&g, 0.00003f, 0);
    }
    CHECK(before > louder);
}

static void test_limits(void) {
    gain_state g;
    gain_reset(&g, 1, 0);
    hear(&g, 0.000032f, 0);
    float most = hear(&g, 0.00007f, 1); /* 40 dB are the most: what is fainter is noise */
    CHECK(most > 85 && most < 100 && hear(&g, 0.00006f, 1) == most);
    CHECK(hear(&g, 0.9f, 1) == 1); /* and full scale is not left, from the next slot's start */
    gain_reset(&g, 1, 0);
    for (int i = 0; i < 50; i++) CHECK(hear(&g, i % 2 ? 0.5f : 0.01f, 1) >= 1);
    gain_reset(&g, 1, 0);
    float samples[MEL_SLOT] = {[1279] = 0.001f};
    gain_slot(&g, samples, 0); /* padding: nothing is learnt */
    CHECK(g.factor == 1 && g.n_slots == 0 && samples[1279] == 0.001f);
    float loud[MEL_SLOT] = {1.5f, -3, 0.001f}; /* beyond full scale it was before */
    gain_reset(&g, 0, 20);
    gain_slot(&g, loud, 1);
    CHECK(loud[0] == 1.5f && loud[1] == -3 && loud[2] == 0.001f * g.factor);
}

static void test_fixed(void) {
    gain_state g;
    gain_reset(&g, 0, 20);
    CHECK(g.factor == 10);
    float samples[MEL_SLOT] = {0.01f, -0.2f};
    gain_slot(&g, samples, 0);
    CHECK(samples[0] == 0.01f * 10 && samples[1] == -1);
    gain_reset(&g, 0, -20);
    gain_slot(&g, samples, 1);
    CHECK(samples[1] == -1 * g.factor && fabsf(g.factor - 0.1f) < 1e-7f);
    gain_reset(&g, 0, 0);
    CHECK(g.factor == 1 && hear(&g, 0.001f, 1) == 1);
}

int main(void) {
    test_quiet_speech();
    test_limits();
    test_fixed();
    return 0;
}
