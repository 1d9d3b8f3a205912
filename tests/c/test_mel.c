/* test_mel.c - the mel stage alone: silence, the filterbank, a tone against a direct transform, and
 * that a slot sees exactly its history, its own samples and nothing else. */
#include "mel.h"

#include <math.h>
#include <string.h>

#include "check.h"

static mel_tables tables;

/* The definition, term by term, in double: power spectrum of one windowed frame through the
 * filters. */
static void direct_frame(const float *samples, float *frame) {
    double power[MEL_N_FREQ];
    for (int k = 0; k < MEL_N_FREQ; k++) {
        double re = 0, im = 0;
        for (int n = 0; n < MEL_N_FFT; n++) {
            double w = 0.5 - 0.5 * cos(2 * acos(-1) * n / MEL_N_FFT);
            re += samples[n] * w * cos(2 * acos(-1) * n * k / MEL_N_FFT);
            im -= samples[n] * w * sin(2 * acos(-1) * n * k / MEL_N_FFT);
        }
        power[k] = re * re + im * im;
    }
    for (int m = 0; m < MEL_N_BINS; m++) {
        double sum = 0;
        for (int k = 0; k < MEL_N_FREQ; k++) sum += tables.filter[m][k] * power[k];
        double y = log10(sum > 1e-10 ? sum : 1e-10);
        frame[m] = (float)(((y > -6.5 ? y : -6.5) + 4) / 4);
    }
}

/* What earlier calls left on the stack must not matter. */
static double spoil_stack(void) {
    volatile double left[4096];
    for (int i = 0; i < 4096; i++) left[i] = (double)NAN;
    return left[0];
}

static void test_silence(void) {
    mel_state state;
    mel_reset(&state);
    float samples[MEL_SLOT] = {0}, frames[MEL_FRAMES * MEL_N_BINS];
    mel_slot(kernels_best(), &tables, &state, samples, frames);
    for (int i = 0; i < MEL_FRAMES * MEL_N_BINS; i++) CHECK(frames[i] == -0.625f);
    CHECK(mel_is_silent(frames));
    for (int i = 0; i < MEL_FRAMES * MEL_N_BINS; i += MEL_N_BINS - 1) { /* in any bin */
        frames[i] = nextafterf(frames[i], 0);
        CHECK(!mel_is_silent(frames));
        frames[i] = -0.625f;
    }
    frames[MEL_FRAMES * MEL_N_BINS - 1] = 0;
    CHECK(!mel_is_silent(frames));
    memset(&state, 1, sizeof state);
    mel_reset(&state);
    for (int i = 0; i < MEL_HISTORY; i++) CHECK(state.tail[i] == 0);
}

static double hz(double mel) {
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

/* Triangles whose corners are equal steps of Slaney's mel apart, from 0 to 8000 Hz. */
static void test_filterbank(void) {
    const double top = 15 + 27 * log(8) / log(6.4);
    int non_zero = 0;
    for (int m = 0; m < MEL_N_BINS; m++) {
        CHECK(tables.filter_begin[m] < tables.filter_end[m]);
        CHECK(tables.filter[m][0] == 0 && tables.filter[m][MEL_N_FREQ - 1] == 0);
        CHECK(tables.filter[m][tables.filter_begin[m]] > 0);
        CHECK(tables.filter[m][tables.filter_end[m] - 1] > 0);
        double low = hz(top * m / 129), mid = hz(top * (m + 1) / 129),
               high = hz(top * (m + 2) / 129);
        for (int k = 0; k < MEL_N_FREQ; k++) {
            double share = fmin((40 * k - low) / (mid - low), (high - 40 * k) / (high - mid));
            CHECK(fabs(tables.filter[m][k] - fmax(share, 0) * 2 / (high - low)) < 4e-9);
            if (tables.filter[m][k] > 0) {
                non_zero++;
                CHECK(k >= tables.filter_begin[m] && k < tables.filter_end[m]);
            }
        }
    }
    CHECK(non_zero == 394);
}

static void test_against_definition(void) {
    enum { N = 3 * MEL_SLOT };
    static float line[MEL_HISTORY + N], frames[3 * MEL_FRAMES * MEL_N_BINS];
    unsigned seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        line[MEL_HISTORY + i] =
            0.3f * sinf(0.05f * (float)i) + 0.01f * ((float)(seed >> 8) / 8388608.0f - 1);
    }
    mel_state state;
    mel_reset(&state);
    for (int s = 0; s < 3; s++) {
        spoil_stack();
        mel_slot(kernels_best(), &tables, &state, line + MEL_HISTORY + s * MEL_SLOT,
                 frames + s * MEL_FRAMES * MEL_N_BINS);
    }
    for (int f = 0; f < 3 * MEL_FRAMES; f++) {
        float expected[MEL_N_BINS];
        direct_frame(line + f * MEL_HOP_LENGTH, expected);
        for (int m = 0; m < MEL_N_BINS; m++)
            CHECK(fabsf(frames[f * MEL_N_BINS + m] - expected[m]) < 2e-7f);
    }
}

int main(void) {
    memset(&tables, 0xFF, sizeof tables);
    spoil_stack();
    mel_tables_init(&tables);
    test_silence();
    test_filterbank();
    test_against_definition();
    return 0;
}
