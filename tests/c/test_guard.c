/* test_guard.c - what pads cost, however the positions are cut into passes, and which slots the
 * silence gate shuts out. */
#include "guard.h"

#include "check.h"
#include "gate.h"
#include "mel.h"

enum { PAD = 32, WORD = 33 };

static void test_penalties(void) {
    pad_guard g = {.pad = PAD, .n_allowed = 3};
    int32_t pads[32];
    float penalties[32];
    for (int i = 0; i < 32; i++) pads[i] = PAD;
    guard_plan(&g, pads, 32, penalties);
    for (int i = 0; i < 32; i++) {
        float expected = i <= 3 ? 0 : 0.5f * (float)(i - 3);
        CHECK(penalties[i] == (expected < 7 ? expected : 7));
    }
    guard_learn(&g, pads, 20);
    penalties[1] = -1;
    guard_plan(&g, pads, 1, penalties);
    CHECK(penalties[0] == 7 && penalties[1] == -1);
    int32_t heard[] = {PAD, WORD, PAD, PAD, PAD, PAD, PAD};
    guard_plan(&g, heard, 7, penalties);
    float expected[] = {7, 0, 0, 0, 0, 0.5f, 1};
    for (int i = 0; i < 7; i++) CHECK(penalties[i] == expected[i]);
    guard_learn(&g, heard, 2);
    CHECK(g.n_pads == 0);
    g = (pad_guard){.pad = PAD, .n_allowed = 1};
    guard_plan(&g, pads, 4, penalties);
    for (int i = 0; i < 4; i++) CHECK(penalties[i] == (i < 1 ? 0 : 0.5f * (float)(i - 1)));
    g = (pad_guard){.pad = PAD};
    guard_learn(&g, pads, 32);
    guard_plan(&g, pads, 32, penalties);
    for (int i = 0; i < 32; i++) CHECK(penalties[i] == 0);
}

/* One position per pass, and several: the same penalties for the same tokens. */
static void test_widths(void) {
    int32_t said[200];
    float alone[200], together[16];
    unsigned seed = 1;
    for (int i = 0; i < 200; i++) {
        seed = seed * 1664525u + 1013904223u;
        said[i] = (seed >> 16) % 9 ? PAD : WORD;
    }
    pad_guard g = {.pad = PAD, .n_allowed = 2};
    for (int i = 0; i < 200; i++) {
        guard_plan(&g, i ? &said[i - 1] : said, 1, &alone[i]);
        guard_learn(&g, &said[i], 1);
    }
    for (int width = 1; width <= 16; width++) {
        g.n_pads = 0;
        for (int i = 1; i + width < 200; i += width) {
            if (i == 1) guard_learn(&g, said, 1);
            guard_plan(&g, &said[i - 1], width, together);
            for (int k = 0; k < width; k++) CHECK(together[k] == alone[i + k]);
            guard_learn(&g, &said[i], width);
        }
    }
}

static int shuts(silence_gate *g, const mel_tables *t, mel_state *m, float loudness) {
    static unsigned seed = 1;
    float samples[MEL_SLOT], frames[MEL_FRAMES * MEL_N_BINS];
    for (int i = 0; i < MEL_SLOT; i++) {
        seed = seed * 1664525u + 1013904223u;
        samples[i] = loudness * ((float)(seed >> 8) / 8388608.0f - 1);
    }
    mel_slot(kernels_best(), t, m, samples, frames);
    return gate_shuts(g, frames);
}

static void test_gate(void) {
    static mel_tables t;
    mel_state m;
    mel_tables_init(&t);
    mel_reset(&m);
    float one_bit = 1 / 32768.0f, audible = 32 * one_bit;
    silence_gate g = {.n_computed = 3}, off = {0};
    for (int i = 0; i < 6; i++) CHECK(shuts(&g, &t, &m, 0) == (i >= 3));
    CHECK(!shuts(&g, &t, &m, audible));
    CHECK(!shuts(&g, &t, &m, 0)); /* its first frame still hears the slot before */
    for (int i = 0; i < 6; i++) CHECK(shuts(&g, &t, &m, one_bit) == (i >= 3));
    for (int i = 0; i < 6; i++) CHECK(!shuts(&g, &t, &m, audible));
    for (int i = 0; i < 6; i++) CHECK(!shuts(&off, &t, &m, 0));
}

int main(void) {
    test_penalties();
    test_widths();
    test_gate();
    return 0;
}
