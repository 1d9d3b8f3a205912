/* test_fit.c - blocks whose scales are searched for: plain C and vectors write the same bytes, and
 * these come back nearer to the values than ggml's quantisers bring them.
 */
#include <ggml.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "kernels/fit.h"
#include "kernels/matrix.h"
#include "voxtral.h"

enum { N = 8 * SUPER * BLOCK, N_TYPES = 3 };
static const int types[N_TYPES] = {GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K};

static float x[N], back[N];
static unsigned char blocks[N * 2], others[N * 2];

static float noise(void) {
    static uint32_t seed = 1;
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1;
}

static double error_of(int type, const unsigned char *from, size_t n) {
    double error = 0;
    CHECK(vox_unpack(type, from, (int64_t)n, back) == VOX_OK);
    for (size_t i = 0; i < n; i++) error += ((double)x[i] - back[i]) * ((double)x[i] - back[i]);
    return error;
}

/* The error that is left; both ways write the same bytes, and nothing else. */
static double fit(int type, size_t n) {
    size_t size = vox_packed_size(type, (int64_t)n);
    memset(blocks, 0xaa, sizeof blocks);
    memset(others, 0xaa, sizeof others);
    fit_plain(type, x, n, blocks);
    fit_best()(type, x, n, others);
    CHECK(memcmp(blocks, others, sizeof blocks) == 0);
    CHECK(blocks[size] == 0xaa && blocks[size + 1] == 0xaa);
    CHECK(vox_pack(type, x, (int64_t)n, (int64_t)n, others) == VOX_OK);
    CHECK(memcmp(blocks, others, sizeof blocks) == 0);
    return error_of(type, blocks, n);
}

static double ggml_error(int type, size_t n) {
    ggml_quantize_chunk((enum ggml_type)type, x, others, 0, 1, (int64_t)n, NULL);
    return error_of(type, others, n);
}

/* Values as weights are, flat, with far ones, all of one sign: as much less than ggml leaves as is
 * written here, in thousandths of the squared error. */
static void test_least_error(void) {
    static const int most[4][N_TYPES] = {
        {950, 920, 870}, {970, 950, 860}, {950, 850, 910}, {975, 910, 910}};
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < N; i++) {
            float bell = noise() + noise() + noise() + noise();
            x[i] = 0.02f * (kind == 0   ? bell
                            : kind == 1 ? noise()
                            : kind == 2 ? bell * bell * bell
                                        : 1.5f + noise());
        }
        for (int t = 0; t < N_TYPES; t++)
            CHECK(fit(types[t], N) * 1000 < most[kind][t] * ggml_error(types[t], N));
    }
}

/* Every number of blocks. */
static void test_sizes(void) {
    for (int i = 0; i < N; i++) x[i] = noise();
    for (int t = 0; t < N_TYPES; t++)
        for (size_t n = SUPER * BLOCK; n <= N; n += SUPER * BLOCK) fit(types[t], n);
}

/* Nothing, and one value everywhere, come back. */
static void test_flat(void) {
    for (int t = 0; t < N_TYPES; t++) {
        memset(x, 0, sizeof x);
        CHECK(fit(types[t], N) == 0);
        for (int i = 0; i < N; i++) x[i] = i < N / 2 ? -3 : 3;
        CHECK(fit(types[t], N) < 1e-6 * 9 * N);
    }
}

/* Far ones, the largest and the smallest values that there are, and steps between blocks. */
static void test_extremes(void) {
    static const float sizes[] = {65504, 1, 6e-5f, 6e-8f, 1e-20f, 1e-42f, 0};
    for (int i = 0; i < N; i++)
        x[i] = sizes[i / BLOCK % 7] * (i % 37 == 5 ? 1 : noise() / (float)(1 + i % 90));
    for (int t = 0; t < N_TYPES; t++) {
        double all = 0;
        for (int i = 0; i < N; i++) all += (double)x[i] * x[i];
        CHECK(fit(types[t], N) < 0.02 * all);
        for (int i = 0; i < N; i++) CHECK(isfinite(back[i]));
    }
}

int main(void) {
    test_least_error();
    test_sizes();
    test_flat();
    test_extremes();
    return 0;
}
