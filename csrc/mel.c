/* mel.c - see mel.h; the numbers are docs/model.md's, section "Log-mel". */
#include "mel.h"

#include <math.h>
#include <string.h>

#include "maths.h"

static const double PI = 3.14159265358979323846;
static const double NYQUIST_HZ = 8000, BIN_HZ = 40;
static const double LOG_MEL_MAX = 1.5,
                    LOG_MEL_RANGE = 8; /* params.json: global_log_mel_max; fixed, never the
                                          utterance's own maximum, or nothing could stream */

/* Slaney's mel scale: linear below 1 kHz, logarithmic above. */
static double hz_to_mel(double f) {
    return f < 1000 ? 3 * f / 200 : 15 + 27 * maths_log(f / 1000) / maths_log(6.4);
}
static double mel_to_hz(double m) {
    return m < 15 ? 200 * m / 3 : 1000 * maths_exp((m - 15) * maths_log(6.4) / 27);
}

void mel_tables_init(mel_tables *t) {
    double unit[MEL_N_FFT]; /* one turn of the cosine */
    for (int i = 0; i < MEL_N_FFT; i++) {
        unit[i] = maths_cos(maths_turn(2 * PI * i / MEL_N_FFT));
        t->window[i] = 0.5 - 0.5 * unit[i];
    }
    for (int n = 0; n <= MEL_N_FFT / 2; n++)
        for (int k = 0; k < MEL_N_FOLD; k++) {
            t->cosine[n][k] = unit[n * k % MEL_N_FFT];
            t->sine[n][k] = unit[(n * k + 3 * MEL_N_FFT / 4) % MEL_N_FFT];
        }
    double edge[MEL_N_BINS + 2];
    double top = hz_to_mel(NYQUIST_HZ);
    for (int i = 0; i < MEL_N_BINS + 2; i++) edge[i] = mel_to_hz(top * i / (MEL_N_BINS + 1));
    for (int m = 0; m < MEL_N_BINS; m++) {
        double low = edge[m], mid = edge[m + 1], high = edge[m + 2];
        t->filter_begin[m] = t->filter_end[m] = 0;
        for (int k = 0; k < MEL_N_FREQ; k++) {
            double f = BIN_HZ * k;
            double w = fmin((f - low) / (mid - low), (high - f) / (high - mid));
            t->filter[m][k] = w > 0 ? (float)(w * 2 / (high - low)) : 0;
            if (t->filter[m][k] == 0) continue;
            if (t->filter_end[m] == 0) t->filter_begin[m] = k;
            t->filter_end[m] = k + 1;
        }
    }
}

void mel_reset(mel_state *m) {
    memset(m, 0, sizeof *m);
}

static float level(double power) {
    return (float)((fmax(maths_log10(fmax(power, 1e-10)), LOG_MEL_MAX - LOG_MEL_RANGE) + 4) / 4);
}

/* One frame from its 400 samples. The exact 400-point transform, folded twice: samples n and 400 -
 * n share their cosine (and the negative of their sine), bins k and 200 - k theirs up to the sign
 * of odd n. Double precision keeps weak bins beside loud ones exact. */
static void mel_frame(const kernels *table, const mel_tables *t, const float *samples,
                      float *frame) {
    enum { N = MEL_N_FFT / 4 + 1 };
    double even[2][N], odd[2][N]; /* of samples n and 400 - n, for even and for odd n */
    for (int n = 0; n <= MEL_N_FFT / 2; n++) {
        double x = samples[n] * t->window[n];
        double mirror =
            n == 0 || n == MEL_N_FFT / 2 ? 0 : samples[MEL_N_FFT - n] * t->window[MEL_N_FFT - n];
        even[n & 1][n / 2] = x + mirror;
        odd[n & 1][n / 2] = x - mirror;
    }
    double re[2][MEL_N_FOLD], im[2][MEL_N_FOLD]; /* sums over even and over odd n */
    for (int i = 0; i < 2; i++) {
        table->double_sums(even[i], t->cosine[i], 2 * MEL_N_FOLD, N - i, MEL_N_FOLD, re[i]);
        table->double_sums(odd[i], t->sine[i], 2 * MEL_N_FOLD, N - i, MEL_N_FOLD, im[i]);
    }
    double power[MEL_N_FREQ];
    for (int k = 0; k < MEL_N_FOLD; k++) {
        double a = re[0][k] + re[1][k], b = im[0][k] + im[1][k];
        power[k] = a * a + b * b;
        a = re[0][k] - re[1][k], b = im[0][k] - im[1][k];
        power[MEL_N_FFT / 2 - k] = a * a + b * b;
    }
    for (int m = 0; m < MEL_N_BINS; m++) {
        double sum = 0;
        for (int k = t->filter_begin[m]; k < t->filter_end[m]; k++)
            sum += t->filter[m][k] * power[k];
        frame[m] = level(sum);
    }
}

void mel_slot(const kernels *table, const mel_tables *t, mel_state *m, const float *samples,
              float *frames) {
    float line[MEL_HISTORY + MEL_SLOT];
    memcpy(line, m->tail, sizeof m->tail);
    memcpy(line + MEL_HISTORY, samples, MEL_SLOT * sizeof *line);
    for (int f = 0; f < MEL_FRAMES; f++)
        mel_frame(table, t, line + f * MEL_HOP_LENGTH, frames + f * MEL_N_BINS);
    memcpy(m->tail, line + MEL_SLOT, sizeof m->tail);
}

int mel_is_silent(const float *frames) {
    float floor = level(0);
    for (int i = 0; i < MEL_FRAMES * MEL_N_BINS; i++)
        if (frames[i] != floor) return 0;
    return 1;
}
