/* test_fingerprint.c all|best EXPECTED MODEL WAV... - every machine gives the same bits: what is
 * found here, recordings with all kernel tables of this processor or with the best one, is what the
 * file EXPECTED says.
 *
 * A line per type of weights: what the quantiser makes of random rows, what comes back, and their
 * products with random columns. A line per recording: its tokens, their confidences, the logits
 * behind them, the rows that both rings hold at the end, the text. They are printed, to make the
 * file anew where the model or the order of its arithmetic changes.
 */
#include <ggml.h>
#include <string.h>

#include "check.h"
#include "hash.h"
#include "platform.h"
#include "stream.h"
#include "voxtral.h"
#include "wav.h"
#if defined(__wasm__)
#include "web.h"
#endif

enum { N_ROWS = 37, N_INPUTS = 512, N_COLUMNS = 11, MAX_LINE = 1000 };

static char expected[1 << 14];
static int n_wrong;

static void say(const char *line) {
    const char *at = strstr(expected, line);
    printf("%s", line);
    n_wrong += !at || (at > expected && at[-1] != '\n');
}

static float noise(void) {
    static uint32_t seed = 1;
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1;
}

static uint64_t of_product(const kernels *k, matrix_type type, const void *rows, const float *x) {
    packed_matrix m;
    size_t size = matrix_layout(&m, type, N_ROWS, N_INPUTS),
           n_groups = (N_ROWS + GROUP - 1) / GROUP;
    void *groups = platform_alloc_large(size);
    void *tiles = platform_alloc_large(N_COLUMNS * column_bytes(N_INPUTS));
    float y[N_COLUMNS * N_ROWS];
    CHECK(groups && tiles);
    m.groups = groups;
    matrix_pack(&m, rows, 0, (int)n_groups);
    k->quantise(x, N_INPUTS, N_COLUMNS, m.n_blocks, 0, m.n_blocks, tiles);
    k->product(&m, 0, (int)n_groups, tiles, N_COLUMNS, y, N_ROWS);
    platform_free_large(groups);
    platform_free_large(tiles);
    return hash_bytes(0, y, sizeof y);
}

static void weights(const char *name, int id, matrix_type type) {
    static float values[N_ROWS * N_INPUTS], back[N_ROWS * N_INPUTS], x[N_COLUMNS * N_INPUTS];
    static unsigned char rows[sizeof values];
    for (int i = 0; i < N_ROWS * N_INPUTS; i++) values[i] = noise() * (i / 100 % 3 ? 0.1f : 2);
    for (int i = 0; i < N_COLUMNS * N_INPUTS; i++) x[i] = noise() * (i / BLOCK % 5 ? 1 : 100);
    size_t size = vox_packed_size(id, N_ROWS * N_INPUTS);
    CHECK(size > 0 && size <= sizeof rows);
    CHECK(vox_pack(id, values, N_ROWS * N_INPUTS, N_INPUTS, rows) == VOX_OK);
    CHECK(vox_unpack(id, rows, N_ROWS * N_INPUTS, back) == VOX_OK);
    char line[MAX_LINE];
    int n = snprintf(line, sizeof line, "%s: blocks %016llx, values %016llx", name,
                     (unsigned long long)hash_bytes(0, rows, size),
                     (unsigned long long)hash_bytes(0, back, sizeof back));
    if (type < N_MATRIX_TYPES) {
        uint64_t product = of_product(kernels_at(0), type, rows, x);
        for (int i = 1; kernels_at(i); i++)
            CHECK(of_product(kernels_at(i), type, rows, x) == product);
        n += snprintf(line + n, sizeof line - (size_t)n, ", product %016llx",
                      (unsigned long long)product);
    }
    snprintf(line + n, sizeof line - (size_t)n, "\n");
    say(line);
}

static void add_piece(void *user, void *piece, size_t n) {
    *(uint64_t *)user = hash_bytes(*(uint64_t *)user, piece, n);
}

/* Where there are no files, the model's is given before it is opened. */
static void give(const char *path) {
#if defined(__wasm__)
    FILE *f = fopen(path, "rb");
    CHECK(f && fseek(f, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(f);
    CHECK(fseek(f, 0, SEEK_SET) == 0 && fread(web_give_file(size), 1, size, f) == size);
    fclose(f);
#else
    (void)path;
#endif
}

static void hear(const char *path, const kernels *table, const char *wav) {
    size_t n;
    float *samples = read_wav(wav, &n);
    vox_model *m;
    vox_stream *s;
    vox_model_params one = {.n_threads = 1};
    vox_stream_params params = {.confidence = 1};
    give(path);
    CHECK(vox_model_open(path, &one, &m, NULL, 0) == VOX_OK);
    m->kernels = table;
    CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_watch(s, "dec.logits") == VOX_OK);
    CHECK(vox_stream_push(s, samples, n) == VOX_OK && vox_stream_finish(s) == VOX_OK);
    uint64_t tokens = 0, confidences = 0, logits = 0, rings = 0;
    size_t n_logits = (size_t)m->info.n_vocab, n_text = 0;
    float *row = malloc(n_logits * sizeof *row);
    char text[MAX_LINE / 2] = "", line[MAX_LINE];
    vox_slot slot;
    int status;
    CHECK(row);
    while ((status = vox_stream_next(s, &slot)) == VOX_SLOT) {
        CHECK(vox_stream_tensor(s, "dec.logits", row, (int64_t)n_logits) == (int64_t)n_logits);
        CHECK(n_text + slot.n_text < sizeof text);
        tokens = hash_bytes(tokens, &slot.token, sizeof slot.token);
        confidences = hash_bytes(confidences, &slot.confidence, sizeof slot.confidence);
        logits = hash_bytes(logits, row, n_logits * sizeof *row);
        memcpy(text + n_text, slot.text, slot.n_text);
        n_text += slot.n_text;
    }
    CHECK(status == VOX_DONE);
    kv_visit(&s->enc_state.kv, add_piece, &rings);
    kv_visit(&s->dec_state.kv, add_piece, &rings);
    const char *name = strrchr(wav, '/');
    snprintf(line, sizeof line,
             "%s: tokens %016llx, confidences %016llx, logits %016llx, rings %016llx:%s\n",
             name ? name + 1 : wav, (unsigned long long)tokens, (unsigned long long)confidences,
             (unsigned long long)logits, (unsigned long long)rings, text);
    say(line);
    free(row);
    free(samples);
    vox_stream_close(s);
    vox_model_close(m);
}

int main(int argc, char **argv) {
    CHECK(argc > 4);
    int is_all = strcmp(argv[1], "all") == 0, n_tables = 0;
    FILE *f = fopen(argv[2], "rb");
    CHECK(f && fread(expected, 1, sizeof expected - 1, f) > 0);
    fclose(f);
    weights("f16", GGML_TYPE_F16, N_MATRIX_TYPES);
    weights("bf16", GGML_TYPE_BF16, N_MATRIX_TYPES);
    weights("q4_0", GGML_TYPE_Q4_0, Q4_0);
    weights("q8_0", GGML_TYPE_Q8_0, Q8_0);
    weights("q4_k", GGML_TYPE_Q4_K, Q4_K);
    weights("q5_k", GGML_TYPE_Q5_K, Q5_K);
    weights("q6_k", GGML_TYPE_Q6_K, Q6_K);
    while (kernels_at(n_tables)) n_tables++;
    for (int i = 4; i < argc; i++)
        for (int k = is_all ? 0 : n_tables - 1; k < n_tables; k++) {
            fprintf(stderr, "%s:\n", kernels_at(k)->name);
            hear(argv[3], kernels_at(k), argv[i]);
        }
    if (n_wrong > 0) fprintf(stderr, "%d lines are not in %s\n", n_wrong, argv[2]);
    CHECK(n_wrong == 0);
    return 0;
}
