/* test_stream.c MODEL F32_MODEL WAV TEXT TIGHT... - a stream end to end through the C interface and
 * its internals.
 *
 * Checks what needs C to see: bit-equal logits for every cut of the audio, every width, every
 * thread count and every kernel table; the same tokens whatever is guessed and however many guesses
 * a pass checks, whatever copies are made, and wherever the stream is saved and loaded; a clock
 * that starts far from zero, and counts of years; every status on misuse; that memory stops
 * growing. WAV must be 16-bit, 16 kHz, mono. TIGHT are models whose decoder ring has not one row
 * more than the widest pass needs, or would have none for a pass if it were as long as the window.
 */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "hash.h"
#include "stream.h"
#include "voxtral.h"
#include "wav.h"

typedef struct {
    int32_t tokens[4096];
    char text[4096];
    size_t n_tokens, n_text;
    float *logits; /* [n_tokens, n_vocab] */
    int64_t n_logits;
    float turns[4096][VOX_N_TURNS]; /* of a model that has them; else 0 */
    uint64_t sure;                  /* a hash of how sure the model is, and of what else */
} result;

/* What a slot tells but its text and place. */
static void note(result *r, const vox_slot *slot) {
    memcpy(r->turns[r->n_tokens], slot->turns, sizeof slot->turns);
    r->sure = hash_bytes(r->sure, &slot->confidence, sizeof slot->confidence);
    for (int i = 0; i < slot->n_alternatives; i++) {
        const vox_alternative *other = &slot->alternatives[i];
        r->sure = hash_bytes(r->sure, &other->confidence, sizeof other->confidence);
        r->sure = hash_bytes(r->sure, &other->token, sizeof other->token);
    }
    r->tokens[r->n_tokens++] = slot->token;
}

static void drain(vox_stream *s, result *r) {
    int n_vocab = s->m->info.n_vocab, status;
    vox_slot slot;
    while ((status = vox_stream_next(s, &slot)) == VOX_SLOT) {
        CHECK(slot.index == (int64_t)r->n_tokens && r->n_tokens < 4096);
        CHECK((slot.turn >= 0) == s->m->info.has_turns && slot.turn < VOX_N_TURNS);
        for (int i = 0; i < VOX_N_TURNS; i++)
            CHECK(slot.turn < 0 || slot.turns[i] <= slot.turns[slot.turn]);
        note(r, &slot);
        memcpy(r->text + r->n_text, slot.text, slot.n_text);
        r->n_text += slot.n_text;
        if (vox_stream_tensor(s, "dec.logits", NULL, 0) < 0) continue;
        r->logits = realloc(r->logits, (size_t)(r->n_logits + n_vocab) * sizeof(float));
        CHECK(vox_stream_tensor(s, "dec.logits", r->logits + r->n_logits, n_vocab) == n_vocab);
        r->n_logits += n_vocab;
    }
    CHECK(status == VOX_WAIT || status == VOX_DONE);
}

/* A whole run on a stream that was just opened: pieces of `cut` samples (0: one piece). */
static result run_stream(vox_stream *s, const float *samples, size_t n, size_t cut) {
    result r = {0};
    size_t done = 0;
    for (; cut > 0 && n - done > cut; done += cut) {
        CHECK(vox_stream_push(s, samples + done, cut) == VOX_OK);
        drain(s, &r);
    }
    CHECK(vox_stream_push(s, samples + done, n - done) == VOX_OK);
    CHECK(vox_stream_finish(s) == VOX_OK);
    drain(s, &r);
    vox_slot unused;
    CHECK(vox_stream_next(s, &unused) == VOX_DONE && s->phase == STREAM_DONE);
    CHECK(vox_stream_push(s, samples, 1) == VOX_ERR_STATE);
    return r;
}

/* The logits of a whole run, one position at a time, clock at slot. */
static result run_with(vox_model *m, const vox_stream_params *params, const float *samples,
                       size_t n, size_t cut, int64_t slot) {
    vox_stream *s;
    CHECK(vox_stream_open(m, params, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_watch(s, "dec.logits") == VOX_OK);
    stream_reset(s, slot);
    result r = run_stream(s, samples, n, cut);
    vox_stream_close(s);
    return r;
}

static result run(vox_model *m, const float *samples, size_t n, size_t cut, int batch_ms,
                  int64_t slot) {
    vox_stream_params params = {.batch_ms = batch_ms};
    return run_with(m, &params, samples, n, cut, slot);
}

static float distance(const result *a, const result *b) {
    CHECK(a->n_tokens == b->n_tokens && a->n_text == b->n_text);
    CHECK(memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) == 0);
    CHECK(memcmp(a->text, b->text, a->n_text) == 0);
    CHECK(a->sure == b->sure);
    float max = 0;
    for (int64_t i = 0; i < a->n_logits; i++) max = fmaxf(max, fabsf(a->logits[i] - b->logits[i]));
    for (size_t i = 0; i < a->n_tokens; i++)
        for (int k = 0; k < VOX_N_TURNS; k++)
            max = fmaxf(max, fabsf(a->turns[i][k] - b->turns[i][k]));
    return max;
}

static vox_model *open_model(const char *path, int n_threads) {
    vox_model *m;
    char message[200];
    vox_model_params params = {.n_threads = n_threads};
    if (vox_model_open(path, &params, &m, message, sizeof message) != VOX_OK) {
        fprintf(stderr, "%s: %s\n", path, message);
        exit(1);
    }
    return m;
}

static void test_same_bits(const char *path, const float *samples, size_t n, const result *whole) {
    struct {
        size_t cut;
        int batch_ms, threads;
    } ways[] = {{7919, 1280, 2}, {1280, 0, 1}, {1281, 80, 2},
                {159, 320, 3},   {0, 160, 4},  {0, 80, 1}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        vox_model *m = open_model(path, ways[i].threads);
        result r = run(m, samples, n, ways[i].cut, ways[i].batch_ms, 0);
        CHECK(distance(whole, &r) == 0);
        free(r.logits);
        vox_model_close(m);
    }
}

static void test_kernels(const char *path, const float *samples, size_t n, const result *whole) {
    for (int i = 0; kernels_at(i); i++) {
        vox_model *m = open_model(path, 1);
        m->kernels = kernels_at(i);
        vox_stream_params params = {.batch_ms = i % 2 ? 320 : 0};
        vox_stream *s;
        CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
        CHECK(vox_stream_watch(s, "dec.logits") == VOX_OK);
        CHECK(vox_stream_push(s, samples, n) == VOX_OK && vox_stream_finish(s) == VOX_OK);
        result r = {0};
        drain(s, &r);
        CHECK(distance(whole, &r) == 0);
        free(r.logits);
        vox_stream_close(s);
        vox_model_close(m);
    }
}

/* As many guesses in each pass as pay, and every step-th number of them, good ones and such as are
 * mostly wrong. */
static void test_drafts(vox_model *m, const vox_stream_params *params, const float *samples,
                        size_t n, const result *whole, int step) {
    size_t cuts[] = {0, 7680, 3000};
    for (int wrong = 0; wrong < 2; wrong++)
        for (int width = 0; width <= DECODER_WIDTH; width += step) {
            vox_stream *s;
            CHECK(vox_stream_open(m, params, &s, NULL, 0) == VOX_OK);
            s->width = width;
            if (wrong) /* its own table says what comes after a pad, and that does not exist */
                s->draft.pad = -1;
            for (int i = 0; wrong && i < DRAFT_SEEN; i++) s->draft.next[i] = i % 7;
            result r = run_stream(s, samples, n, cuts[width % 3]);
            CHECK(r.n_tokens == whole->n_tokens && r.n_text == whole->n_text);
            CHECK(memcmp(r.tokens, whole->tokens, r.n_tokens * sizeof *r.tokens) == 0);
            CHECK(memcmp(r.text, whole->text, r.n_text) == 0);
            vox_stats stats;
            CHECK(vox_stream_stats(s, &stats) == VOX_OK);
            CHECK(stats.n_accepted + stats.n_skipped == (int64_t)r.n_tokens);
            CHECK(stats.n_decoder_slots >= stats.n_accepted && stats.n_agreed <= stats.n_drafted);
            CHECK(width != 1 || stats.n_drafted == 0);
            CHECK(width < 2 || stats.n_drafted > 0);
            CHECK(width < 2 || wrong || stats.n_agreed > 0 || params);
            vox_stream_close(s);
        }
}

/* The clock may start anywhere: days, years. Angles are rounded to float in other places there, no
 * more; angles taken in float would be off by 1e-3 at the second slot here and by radians at the
 * last. */
static void test_far_clock(vox_model *m, const float *samples, size_t n) {
    int64_t slots[] = {1000, 131072, (int64_t)1 << 24, (int64_t)1 << 33 /* 21 years */};
    result near = run(m, samples, n, 0, 0, 0);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        result far = run(m, samples, n, 0, 0, slots[i]);
        CHECK(distance(&near, &far) < 1e-3f);
        free(far.logits);
    }
    free(near.logits);
}

/* At most max slots of s, appended to r. */
static void take(vox_stream *s, result *r, int max) {
    vox_slot slot;
    for (int i = 0; i < max && vox_stream_next(s, &slot) == VOX_SLOT; i++) {
        CHECK(slot.index == (int64_t)r->n_tokens);
        note(r, &slot);
        memcpy(r->text + r->n_text, slot.text, slot.n_text);
        r->n_text += slot.n_text;
    }
}

/* A copy, finished wherever the stream stands, says what a stream says that had no more audio; and
 * the stream goes on as if there had never been one. Some copies outlive it. */
static void test_copies(vox_model *m, const vox_stream_params *params, const float *samples,
                        size_t n, size_t step, int watched) {
    vox_stream *s, *copy, *late = NULL, *none = (vox_stream *)&late;
    CHECK(vox_stream_open(m, params, &s, NULL, 0) == VOX_OK);
    result never = run_stream(s, samples, n, 0), r = {0}, at_late = {0};
    CHECK(vox_stream_reset(s) == VOX_OK);
    if (watched) CHECK(vox_stream_watch(s, "audio") == VOX_OK);
    unsigned seed = 1;
    for (size_t done = 0, i = 0; done < n; i++) {
        size_t cut = n - done < step ? n - done : step;
        CHECK(vox_stream_push(s, samples + done, cut) == VOX_OK);
        done += cut;
        seed = seed * 1664525u + 1013904223u;
        take(s, &r, (int)(seed >> 16) % 20); /* often some are left, of a pass or of the audio */
        CHECK(vox_stream_copy(s, &copy) == VOX_OK);
        CHECK(vox_stream_pending(copy) == vox_stream_pending(s));
        CHECK(vox_stream_tensor(copy, "audio", NULL, 0) == VOX_ERR_ARGUMENT);
        if (done < n && i == n / step / 2) {
            late = copy;
            at_late = r;
            continue;
        }
        vox_stream *fresh;
        CHECK(vox_stream_open(m, params, &fresh, NULL, 0) == VOX_OK);
        result flushed = r, expected = run_stream(fresh, samples, done, 0);
        CHECK(vox_stream_finish(copy) == VOX_OK);
        drain(copy, &flushed);
        CHECK(distance(&flushed, &expected) == 0);
        vox_stream_close(fresh);
        vox_stream_close(copy);
    }
    CHECK(vox_stream_finish(s) == VOX_OK);
    drain(s, &r);
    CHECK(distance(&r, &never) == 0);
    CHECK(vox_stream_copy(s, &copy) == VOX_OK); /* of a stream that is done */
    vox_slot slot;
    CHECK(vox_stream_next(copy, &slot) == VOX_DONE);
    vox_stream_close(copy);
    vox_stream_close(s);
    CHECK(late);
    size_t heard = (n / step / 2 + 1) * step;
    CHECK(vox_stream_push(late, samples + heard, n - heard) == VOX_OK);
    CHECK(vox_stream_finish(late) == VOX_OK);
    drain(late, &at_late);
    CHECK(distance(&at_late, &never) == 0);
    vox_stream_close(late);
    CHECK(vox_stream_copy(NULL, &none) == VOX_ERR_ARGUMENT && !none);
}

static unsigned char *save(vox_stream *s, size_t *n) {
    int64_t size = vox_stream_save(s, NULL, 0);
    CHECK(size > 0);
    unsigned char *bytes = malloc((size_t)size);
    CHECK(bytes && vox_stream_save(s, bytes, size - 1) == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_save(s, bytes, size) == size);
    *n = (size_t)size;
    return bytes;
}

enum {
    BITS_AT = 32,
    N_BYTES_AT = 48,
    N_SUMMED = 56,
    N_HEADER = N_SUMMED + 8,
    CLOCK_AT = N_HEADER + 40 + 6 * 4, /* behind the options and the small numbers */
    N_PUSHED_AT = CLOCK_AT + 8
};

/* Make the length and the sum of a saved stream right. */
static void seal(unsigned char *bytes, size_t n) {
    uint64_t n_bytes = n;
    memcpy(bytes + N_BYTES_AT, &n_bytes, sizeof n_bytes);
    uint64_t sum = hash_bytes(hash_bytes(0, bytes, N_SUMMED), bytes + N_HEADER, n - N_HEADER);
    memcpy(bytes + N_SUMMED, &sum, sizeof sum);
}

/* Saved and loaded after every few slots, at any clock: the slots of an uninterrupted stream. */
static void test_saves(vox_model *m, const vox_stream_params *params, const float *samples,
                       size_t n, size_t step, int64_t clock) {
    vox_stream *s, *loaded;
    CHECK(vox_stream_open(m, params, &s, NULL, 0) == VOX_OK);
    stream_reset(s, clock);
    result whole = run_stream(s, samples, n, 0), r = {0};
    stream_reset(s, clock);
    unsigned seed = 1;
    for (size_t done = 0, left = 4; left > 0; left -= done == n) {
        size_t cut = n - done < step ? n - done : step, n_bytes, n_again;
        if (done < n) CHECK(vox_stream_push(s, samples + done, cut) == VOX_OK);
        else CHECK(vox_stream_finish(s) == VOX_OK);
        done += cut;
        seed = seed * 1664525u + 1013904223u;
        take(s, &r, left == 1 ? 100000 : (int)(seed >> 16) % 20);
        unsigned char *bytes = save(s, &n_bytes);
        CHECK(vox_stream_load(m, bytes, n_bytes, &loaded, NULL, 0) == VOX_OK);
        CHECK(vox_stream_pending(loaded) == vox_stream_pending(s));
        unsigned char *again = save(loaded, &n_again); /* nothing is lost on the way */
        CHECK(n_again == n_bytes && memcmp(again, bytes, n_bytes) == 0);
        vox_stream_close(s);
        s = loaded;
        free(bytes);
        free(again);
    }
    vox_slot slot;
    CHECK(vox_stream_next(s, &slot) == VOX_DONE && vox_stream_push(s, samples, 1) == VOX_ERR_STATE);
    CHECK(distance(&r, &whole) == 0);
    CHECK(vox_stream_reset(s) == VOX_OK && vox_stream_push(s, samples, 1) == VOX_OK);
    vox_stream_close(s);
}

/* As if a stream had gone on for years: its counts are moved to where they would be then, while its
 * positions, which began there, stay. From there on it says the same, to the bit. */
static void test_long_life(vox_model *m, const float *samples, size_t n) {
    int64_t slots[] = {(int64_t)1 << 29 /* 2^31 frames: 500 days */, (int64_t)1 << 33,
                       (1LL << 40) - 1000};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        vox_stream *young, *old;
        CHECK(vox_stream_open(m, NULL, &young, NULL, 0) == VOX_OK);
        stream_reset(young, slots[i]);
        result r = {0}, later = {0};
        CHECK(vox_stream_push(young, samples, n) == VOX_OK);
        drain(young, &r); /* until its windows are full */
        CHECK(young->slots.n_decoded > m->dec.window);
        size_t n_bytes;
        unsigned char *bytes = save(young, &n_bytes);
        int64_t counts[6]; /* clock, pushed, encoded, decoded, skipped, out */
        memcpy(counts, bytes + CLOCK_AT, sizeof counts);
        CHECK(counts[0] == slots[i] && counts[1] == (int64_t)n && counts[4] == 0);
        counts[0] = 0;
        counts[1] += slots[i] * SAMPLES_PER_SLOT;
        counts[2] += slots[i];
        counts[3] += slots[i];
        counts[5] += slots[i];
        memcpy(bytes + CLOCK_AT, counts, sizeof counts);
        seal(bytes, n_bytes);
        CHECK(vox_stream_load(m, bytes, n_bytes, &old, NULL, 0) == VOX_OK);
        int64_t memory = vox_stream_memory(old);
        for (int round = 0; round < 3; round++) {
            CHECK(vox_stream_push(young, samples, n) == VOX_OK);
            CHECK(vox_stream_push(old, samples, n) == VOX_OK);
            CHECK(vox_stream_pending(old) == vox_stream_pending(young));
            if (round == 2)
                CHECK(vox_stream_finish(young) == VOX_OK && vox_stream_finish(old) == VOX_OK);
            size_t n_tokens = r.n_tokens;
            drain(young, &r);
            vox_slot slot;
            while (vox_stream_next(old, &slot) == VOX_SLOT) {
                CHECK(slot.index == slots[i] + (int64_t)n_tokens);
                CHECK(slot.token == r.tokens[n_tokens++]);
                memcpy(later.text + later.n_text, slot.text, slot.n_text);
                later.n_text += slot.n_text;
            }
            CHECK(n_tokens == r.n_tokens);
            if (round == 0) memory = vox_stream_memory(old);
            CHECK(vox_stream_memory(old) == memory);
        }
        CHECK(memcmp(later.text, r.text + (r.n_text - later.n_text), later.n_text) == 0);
        free(bytes);
        vox_stream_close(young);
        vox_stream_close(old);
    }
}

/* Damaged bytes are refused. Damaged numbers with the right checksum are refused too, or make a
 * stream that is wrong and safe. */
static void test_damaged_saves(vox_model *m, vox_model *other, const float *samples, size_t n) {
    vox_stream *s, *loaded = (vox_stream *)&n;
    char message[200];
    vox_stream_params params = {.n_alternatives = 1, .words = "one\nseven hundred"};
    CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_push(s, samples, n) == VOX_OK);
    result r = {0};
    take(s, &r, 20);
    size_t n_bytes;
    unsigned char *bytes = save(s, &n_bytes), *bad = malloc(n_bytes);
    CHECK(bad);
    CHECK(vox_stream_load(m, NULL, 9, &loaded, NULL, 0) == VOX_ERR_ARGUMENT && !loaded);
    CHECK(vox_stream_load(other, bytes, n_bytes, &loaded, message, sizeof message) ==
              VOX_ERR_FORMAT &&
          !loaded && strstr(message, "another model"));
    for (size_t i = 0; i < n_bytes; i += 1 + i / 16)
        CHECK(vox_stream_load(m, bytes, i, &loaded, message, sizeof message) == VOX_ERR_FORMAT &&
              *message);
    unsigned seed = 1;
    int n_loaded = 0;
    enum { ROUNDS = 1000 };
    size_t n_each = 12 + 8 * VOX_MAX_ALTERNATIVES + (m->turn_head ? sizeof s->said->turns : 0);
    size_t n_numbers = 160 + strlen(params.words) + (size_t)s->text.n_kept +
                       n_each * (size_t)(s->slots.n_said - s->slots.n_given);
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(bad, bytes, n_bytes);
        for (int k = 0; k <= i % 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = (seed >> 8) % (N_HEADER + n_numbers);
            bad[at] ^= (unsigned char)(1u << (seed >> 5) % 8);
        }
        if (memcmp(bad, bytes, n_bytes) == 0) continue;
        CHECK(vox_stream_load(m, bad, n_bytes, &loaded, message, sizeof message) == VOX_ERR_FORMAT);
        memcpy(bad, bytes, N_SUMMED);
        seal(bad, n_bytes);
        if (vox_stream_load(m, bad, n_bytes, &loaded, NULL, 0) != VOX_OK) continue;
        n_loaded++;
        if (i % 10) { /* running each takes long */
            vox_stream_close(loaded);
            continue;
        }
        vox_slot slot;
        CHECK(vox_stream_finish(loaded) == VOX_OK);
        for (int k = 0; k < 2000 && vox_stream_next(loaded, &slot) == VOX_SLOT; k++)
            CHECK(slot.n_text < 1000);
        vox_stream_close(loaded);
    }
    CHECK(n_loaded > ROUNDS / 20);
    free(bad);
    free(bytes);
    vox_stream_close(s);
}

/* Whether a stream, as it is, can be saved and loaded; if not, it is damaged. */
static int loads(vox_stream *s) {
    size_t n;
    unsigned char *bytes = save(s, &n);
    vox_stream *loaded;
    char message[200] = "";
    int status = vox_stream_load(s->m, bytes, n, &loaded, message, sizeof message);
    CHECK(status == VOX_OK || (status == VOX_ERR_FORMAT && strstr(message, "damaged: load")));
    vox_stream_close(loaded);
    free(bytes);
    return status == VOX_OK;
}

static void check_limits32(vox_stream *s, int32_t *number, int32_t low, int32_t high) {
    int32_t was = *number, tried[] = {low, high, low - 1, high + 1};
    for (int i = 0; i < 4; i++) {
        *number = tried[i];
        CHECK(loads(s) == (i < 2));
    }
    *number = was;
}

static void check_limits64(vox_stream *s, int64_t *number, int64_t high) {
    int64_t was = *number, tried[] = {0, high, -1, high + 1};
    for (int i = 0; i < 4; i++) {
        *number = tried[i];
        CHECK(loads(s) == (i < 2));
    }
    *number = was;
}

static void check_factor(vox_stream *s, float value, int is_one) {
    s->front.gain.factor = value;
    CHECK(loads(s) == is_one);
    s->front.gain.factor = 1;
}

/* Numbers of a saved stream are what they may be, up to the last one, and no more. */
static void test_limits_of_saves(vox_model *m, const float *samples, size_t n) {
    vox_stream_params params = {.confidence = 1, .n_alternatives = 2, .auto_gain = 1, .words = "a"};
    vox_stream *s;
    vox_slot slot;
    CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_push(s, samples, n) == VOX_OK);
    do CHECK(vox_stream_next(s, &slot) == VOX_SLOT);
    while (slot.n_alternatives == 0);
    s->slots.n_given--, s->slots.n_out--; /* as if it were still to be handed out */
    text_reset(&s->text);
    said_token *said = &s->said[s->slots.n_given];
    int32_t last = m->info.n_vocab - 1;
    CHECK(loads(s));
    check_limits32(s, &s->token, 0, last);
    check_limits32(s, &said->token, 0, last);
    check_limits32(s, &said->alternatives[0].token, 0, last);
    check_limits32(s, &said->alternatives[said->n_alternatives - 1].token, 0, last);
    for (int k = said->n_alternatives; k < VOX_MAX_ALTERNATIVES; k++)
        said->alternatives[k].token = 0;
    check_limits32(s, &said->n_alternatives, 0, VOX_MAX_ALTERNATIVES);
    check_limits32(s, &s->front.gain.n_slots, 0, GAIN_STRETCH);
    check_limits64(s, &s->guard.n_pads, (int64_t)1 << 40);
    check_limits64(s, &s->front.gate.n_quiet, (int64_t)1 << 40);
    check_factor(s, 1001, 1);
    check_factor(s, 1002, 0);
    check_factor(s, 0, 0);
    check_factor(s, NAN, 0);
    for (int i = 0; i < 3; i++) {
        double *level = i == 0   ? &s->front.gain.level
                        : i == 1 ? &s->front.gain.least
                                 : &s->front.gain.least_before;
        double was = *level, bad[] = {-1e-9, NAN, INFINITY};
        for (int k = 0; k < 3; k++) {
            *level = bad[k];
            CHECK(!loads(s));
        }
        *level = was;
    }
    static const char *const parts[] = {"\xF0\x9F\x98", "\xE2", "a", "\xE2\x82\xAC"};
    for (int i = 0; i < 4; i++) { /* of a character, and two that are whole */
        s->text.n_kept = (int)strlen(parts[i]);
        memcpy(s->text.kept, parts[i], strlen(parts[i]));
        CHECK(loads(s) == (i < 2));
    }
    s->text.n_kept = 0;
    s->phase = STREAM_DONE; /* while there is more to say */
    CHECK(!loads(s));
    s->phase = STREAM_OPEN;
    CHECK(loads(s));
    vox_stream_close(s);
}

static void check_refused(vox_model *m, const unsigned char *bytes, size_t n, const char *why) {
    vox_stream *loaded;
    char message[200];
    CHECK(vox_stream_load(m, bytes, n, &loaded, message, sizeof message) == VOX_ERR_FORMAT);
    CHECK(!loaded && strstr(message, why));
}

/* What a saved stream says of itself must be true; and a stream that failed does nothing. */
static void test_headers_of_saves(vox_model *m, const float *samples, size_t n) {
    vox_stream *s;
    result r = {0};
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_push(s, samples, n) == VOX_OK);
    drain(s, &r);
    size_t n_bytes;
    unsigned char *bytes = save(s, &n_bytes), *longer = calloc(1, n_bytes + 1);
    CHECK(longer);
    static const struct {
        size_t at;
        const char *why;
    } changed[] = {{0, "no saved stream"},
                   {8, "another version"},
                   {BITS_AT, "rounds otherwise"},
                   {BITS_AT + 8, "another model"}};
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        bytes[changed[i].at] ^= 1;
        seal(bytes, n_bytes);
        check_refused(m, bytes, n_bytes, changed[i].why);
        bytes[changed[i].at] ^= 1;
    }
    memcpy(longer, bytes, n_bytes);
    seal(longer, n_bytes + 1);
    check_refused(m, longer, n_bytes + 1, "damaged: load");
    seal(longer, n_bytes - 1);
    check_refused(m, longer, n_bytes - 1, "damaged: load");
    seal(longer, n_bytes);
    check_refused(m, longer, n_bytes + 1, "damaged or cut short");
    static const int64_t more[][2] = {
        {(int64_t)1 << 48, 0}, /* samples than any memory has, of which there are no bytes */
        {(DECODER_WIDTH + ENCODER_WIDTH + 1) * SAMPLES_PER_SLOT,
         DECODER_WIDTH + ENCODER_WIDTH + 1}, /* heard slots than have room */
    };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        int64_t counts[2]; /* pushed, encoded */
        memcpy(counts, bytes + N_PUSHED_AT, sizeof counts);
        CHECK(counts[0] == (int64_t)n);
        counts[0] += more[i][0];
        counts[1] += more[i][1];
        memcpy(longer, bytes, n_bytes);
        memcpy(longer + N_PUSHED_AT, counts, sizeof counts);
        seal(longer, n_bytes);
        check_refused(m, longer, n_bytes, "damaged: load");
    }
    free(longer);
    free(bytes);

    s->phase = STREAM_FAILED;
    float unused;
    vox_slot slot;
    CHECK(vox_stream_save(s, NULL, 0) == VOX_ERR_STATE && strstr(vox_stream_message(s), "failed"));
    CHECK(vox_stream_push(s, samples, 1) == VOX_ERR_STATE && vox_stream_finish(s) == VOX_ERR_STATE);
    CHECK(vox_stream_next(s, &slot) == VOX_ERR_STATE && vox_stream_embed(s, &unused) < 0);
    CHECK(vox_stream_reset(s) == VOX_OK && !*vox_stream_message(s));
    CHECK(vox_stream_push(s, samples, 1) == VOX_OK);
    vox_stream_close(s);
}

static void test_reset(vox_model *m, const float *samples, size_t n, const result *whole) {
    vox_stream *s;
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_watch(s, "dec.logits") == VOX_OK);
    for (int round = 0; round < 3; round++) {
        result r = {0};
        CHECK(vox_stream_push(s, samples, n) == VOX_OK);
        if (round == 1) drain(s, &r); /* abandoned half-way */
        else {
            CHECK(vox_stream_finish(s) == VOX_OK && vox_stream_finish(s) == VOX_OK);
            drain(s, &r);
            CHECK(distance(whole, &r) == 0);
        }
        free(r.logits);
        CHECK(vox_stream_reset(s) == VOX_OK);
    }
    vox_stream_close(s);
}

/* Pads that cost something, with every width of a pass. The pad is one of the tokens that the
 * random model says, such that its cost matters. */
static void test_guard(const char *path, const float *samples, size_t n, const result *said) {
    vox_stream_params params = {.pad_guard_ms = 80, .batch_ms = 80};
    int n_differing = 0;
    for (size_t i = 0; i < said->n_tokens && !n_differing; i += 4) {
        vox_model *m = open_model(path, 1);
        m->info.token_pad = said->tokens[i];
        result without = run(m, samples, n, 0, 80, 0),
               with = run_with(m, &params, samples, n, 0, 0);
        if (memcmp(with.tokens, without.tokens, with.n_tokens * sizeof *with.tokens) != 0) {
            n_differing++;
            vox_stream_params wide = {.pad_guard_ms = 80};
            test_drafts(m, &wide, samples, n, &with, 3);
            test_saves(m, &wide, samples, n, 7777, 0);
        }
        free(without.logits);
        free(with.logits);
        vox_model_close(m);
    }
    CHECK(n_differing);
}

/* Words that change what is said, with every width of a pass, copied, saved. */
static void test_words(vox_model *m, const float *samples, size_t n, const result *without) {
    vox_stream_params params = {.words = "eighteen\nninety\nseven hundred", .words_bonus = 10};
    result with = run_with(m, &params, samples, n, 0, 0);
    CHECK(memcmp(with.tokens, without->tokens, with.n_tokens * sizeof *with.tokens) != 0);
    test_drafts(m, &params, samples, n, &with, 2);
    test_copies(m, &params, samples, n / 2, 9001, 0);
    test_saves(m, &params, samples, n / 2, 5001, 0);
    free(with.logits);
    params.words = "\n \n"; /* none are listed */
    with = run_with(m, &params, samples, n, 0, 0);
    CHECK(distance(&with, without) == 0);
    free(with.logits);
}

/* A gain that follows quiet speech, wherever audio is cut; and one that gives back what was taken.
 */
static void test_gain(vox_model *m, const float *samples, size_t n, const result *loud) {
    float *quiet = malloc(n * sizeof *quiet);
    CHECK(quiet);
    for (size_t i = 0; i < n; i++) quiet[i] = samples[i] / 512; /* exactly 54.19 dB */
    vox_stream_params params = {.auto_gain = 1}, none = {0};
    result without = run_with(m, &none, quiet, n, 0, 0),
           with = run_with(m, &params, quiet, n, 0, 0);
    CHECK(without.n_text < loud->n_text && with.n_text == loud->n_text);
    CHECK(memcmp(with.text, loud->text, with.n_text) == 0);
    size_t cuts[] = {159, 20000};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        params.batch_ms = i % 2 ? 240 : 0;
        result r = run_with(m, &params, quiet, n, cuts[i], 0);
        CHECK(distance(&r, &with) == 0);
        free(r.logits);
    }
    params.batch_ms = 0;
    test_copies(m, &params, quiet, n / 2, 9001, 0);
    params.silence_gate_ms = 1600;
    test_saves(m, &params, quiet, n / 2, 5001, 0);
    vox_stream_params fixed = {.gain_db = 30, .batch_ms = 160};
    test_saves(m, &fixed, quiet, n / 2, 7001, 0);
    result heard = run_with(m, &fixed, quiet, n, 3001, 0);
    CHECK(heard.n_text == loud->n_text && memcmp(heard.text, loud->text, heard.n_text) == 0);
    free(heard.logits);
    free(without.logits);
    free(with.logits);
    free(quiet);
}

/* What the gate shuts out is as if it had never been said, wherever audio is cut; each of its slots
 * is a pad. */
static void test_gate(vox_model *m, const float *samples, size_t n) {
    enum { GATE = 20, SKIPPED = 40 };
    size_t n_zeros = (GATE + SKIPPED + 2) * 1280, n_all = 2 * n + n_zeros;
    float *audio = calloc(n_all, sizeof *audio);
    CHECK(audio);
    memcpy(audio, samples, n * sizeof *audio);
    memcpy(audio + n + n_zeros, samples, n * sizeof *audio);
    vox_stream_params params = {.silence_gate_ms = 80 * GATE};
    vox_stream *s;
    CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
    result gated = run_stream(s, audio, n_all, 0);
    vox_stats stats;
    CHECK(vox_stream_stats(s, &stats) == VOX_OK);
    CHECK(stats.n_skipped >= SKIPPED && stats.n_skipped <= SKIPPED + 20);
    CHECK(stats.n_accepted + stats.n_skipped == (int64_t)gated.n_tokens);
    vox_stream_close(s);

    size_t skipped = (size_t)stats.n_skipped, cut = skipped * 1280, at = 0;
    memmove(audio + n, audio + n + cut, (n_all - n - cut) * sizeof *audio);
    result spliced = run(m, audio, n_all - cut, 0, 0, 0);
    CHECK(spliced.n_tokens + skipped == gated.n_tokens && spliced.n_text == gated.n_text);
    CHECK(memcmp(spliced.text, gated.text, gated.n_text) == 0);
    while (at < spliced.n_tokens && gated.tokens[at] == spliced.tokens[at]) at++;
    for (size_t i = at; i < gated.n_tokens; i++)
        CHECK(gated.tokens[i] ==
              (i < at + skipped ? m->info.token_pad : spliced.tokens[i - skipped]));
    free(spliced.logits);

    memmove(audio + n + cut, audio + n, (n_all - n - cut) * sizeof *audio);
    memset(audio + n, 0, cut * sizeof *audio);
    size_t cuts[] = {1280, 1281, 159, 20000};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        params.batch_ms = i % 2 ? 240 : 0;
        CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
        if (i == 3) CHECK(vox_stream_watch(s, "audio") == VOX_OK);
        result r = run_stream(s, audio, n_all, cuts[i]);
        CHECK(distance(&r, &gated) == 0);
        vox_stream_close(s);
    }
    params.batch_ms = 0;
    test_saves(m, &params, audio, n_all, 6001, 0);

    CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_watch(s, "mel") == VOX_OK);
    CHECK(vox_stream_push(s, audio, n_all) == VOX_OK && vox_stream_finish(s) == VOX_OK);
    vox_slot slot;
    int64_t n_mel = 0;
    while (vox_stream_next(s, &slot) == VOX_SLOT) n_mel += vox_stream_tensor(s, "mel", NULL, 0);
    CHECK(n_mel == (s->slots.n_encoded + s->slots.n_skipped) * MEL_PER_SLOT * N_MEL);
    vox_stream_close(s);
    free(audio);
}

/* The probability of each token and of the next best, from the logits; however wide the passes. */
static void test_alternatives(vox_model *m, const float *samples, size_t n) {
    vox_stream_params params = {.n_alternatives = 3, .batch_ms = 80};
    enum { MOST = 64 };
    vox_slot said[MOST], slot;
    vox_alternative others[MOST][3];
    for (int wide = 0; wide < 2; wide++) {
        vox_stream *s;
        CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
        if (!wide) CHECK(vox_stream_watch(s, "dec.logits") == VOX_OK);
        CHECK(vox_stream_push(s, samples, n) == VOX_OK && vox_stream_finish(s) == VOX_OK);
        int n_vocab = m->info.n_vocab, n_text = 0;
        float *logits = malloc((size_t)n_vocab * sizeof *logits);
        CHECK(logits);
        while (n_text < MOST && vox_stream_next(s, &slot) == VOX_SLOT) {
            if (slot.token < m->info.n_special) {
                CHECK(slot.confidence == 0 && slot.n_alternatives == 0);
                continue;
            }
            CHECK(slot.n_alternatives == 3);
            if (wide) {
                CHECK(slot.token == said[n_text].token);
                CHECK(slot.confidence == said[n_text].confidence);
                CHECK(memcmp(slot.alternatives, others[n_text], sizeof others[0]) == 0);
                n_text++;
                continue;
            }
            said[n_text] = slot;
            memcpy(others[n_text], slot.alternatives, sizeof others[0]);
            CHECK(vox_stream_tensor(s, "dec.logits", logits, n_vocab) == n_vocab);
            double sum = 0;
            for (int t = 0; t < n_vocab; t++) sum += exp((double)logits[t] - logits[slot.token]);
            CHECK(fabs(slot.confidence - 1 / sum) < 1e-5);
            for (int k = 0; k < 3; k++) {
                int32_t token = slot.alternatives[k].token;
                int n_better = 0;
                for (int t = m->info.n_special; t < n_vocab; t++)
                    n_better += logits[t] > logits[token];
                CHECK(token >= m->info.n_special && token != slot.token && n_better == k + 1);
                double p = exp((double)logits[token] - logits[slot.token]) / sum;
                CHECK(fabs(slot.alternatives[k].confidence - p) < 1e-5);
            }
            n_text++;
        }
        CHECK(n_text > 5);
        free(logits);
        vox_stream_close(s);
        params.batch_ms = 0;
    }
}

static void test_counts(vox_model *m) {
    static const float silence[3000];
    size_t lengths[] = {0, 1, 39, 40, 1279, 1280, 1281, 2999};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        result r = run(m, silence, lengths[i], 0, 0, 0);
        CHECK(r.n_tokens == (lengths[i] + 1279) / 1280 + 10 && r.n_text == 0);
        free(r.logits);
    }
    vox_stream *s; /* what was begun of a character is told with the last slot */
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    s->text.kept[0] = (char)0xE2;
    s->text.n_kept = 1;
    result r = run_stream(s, silence, 2999, 0);
    CHECK(r.n_text == 3 && memcmp(r.text, "\xEF\xBF\xBD", 3) == 0);
    vox_stream_close(s);
}

/* What a stream that is alone tells of its work and memory. */
static void test_stats(vox_model *m, const float *samples, size_t n) {
    vox_stream *s;
    vox_stats a;
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    result r = run_stream(s, samples, n, 8000);
    CHECK(vox_stream_stats(s, &a) == VOX_OK);
    CHECK(a.mel_ns > 0 && a.encoder_ns > 0 && a.prefill_ns > 0 && a.decoder_ns > 0);
    CHECK(a.head_ns > 0 && a.n_accepted == (int64_t)r.n_tokens);
    CHECK(a.n_encoder_passes > 1 && a.n_encoder_passes < a.n_encoder_slots);
    CHECK(a.n_encoder_slots == s->slots.n_encoded - (m->n_left_pad - 1));
    CHECK(a.n_encoder_shared == a.n_encoder_slots);
    CHECK(a.n_decoder_shared > a.n_decoder_passes && a.n_decoder_shared <= a.n_decoder_slots);
    CHECK(a.state_bytes >= (int64_t)(kv_bytes(&s->enc_state.kv) + kv_bytes(&s->dec_state.kv)));
    vox_stream_close(s);
}

/* Rings that wrap while guesses are refused, and while copies come and go. */
static void test_tight_rings(const char *path, vox_model *other) {
    vox_model *m = open_model(path, 1);
    CHECK((m->dec.window - 1 + DECODER_WIDTH) % KV_PAGE == 0 || m->dec.window % KV_PAGE == 0);
    enum { N = 6 * 16000 };
    float *samples = malloc(N * sizeof *samples);
    CHECK(samples);
    unsigned seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        float noise = (float)(seed >> 8) / 8388608.0f - 1;
        samples[i] = 0.1f * noise * (1 + sinf((float)i / 3000));
    }
    result whole = run(m, samples, N, 0, 80, 0);
    test_drafts(m, NULL, samples, N, &whole, 1);
    test_copies(m, NULL, samples, N, 4001, 0);
    test_copies(m, NULL, samples, N, 9000, 1);
    vox_stream_params sure = {.confidence = 1, .n_alternatives = 2};
    test_saves(m, &sure, samples, N, 4001, 0);
    test_saves(m, NULL, samples, N, 12345, (int64_t)1 << 33);
    test_limits_of_saves(m, samples, N);
    test_headers_of_saves(m, samples, N);
    test_long_life(m, samples, N);
    test_damaged_saves(m, other, samples, N / 2);
    test_guard(path, samples, N / 2, &whole);
    test_alternatives(m, samples, N);
    free(whole.logits);
    free(samples);
    vox_model_close(m);
}

static void test_memory_stops_growing(vox_model *m, const float *samples, size_t n) {
    vox_stream *s;
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    int64_t full = 0;
    for (int round = 0; round < 12; round++) {
        CHECK(vox_stream_push(s, samples, n) == VOX_OK);
        vox_slot slot;
        while (vox_stream_next(s, &slot) == VOX_SLOT) CHECK(vox_stream_pending(s) >= 0);
        if (round == 5) full = vox_stream_memory(s);
        if (round > 5) CHECK(vox_stream_memory(s) == full);
    }
    vox_stream_close(s);
}

/* The caller's rounding mode is not the model's, and stays the caller's. */
static void test_rounding(const char *path, const float *samples, size_t n, const result *whole) {
    fesetround(FE_UPWARD);
    vox_model *m = open_model(path, 2);
    result r = run(m, samples, n, 0, 0, 0);
    CHECK(fegetround() == FE_UPWARD);
    fesetround(FE_TONEAREST);
    CHECK(distance(whole, &r) == 0);
    free(r.logits);
    vox_model_close(m);
    unsigned char blocks[2][32 * 18]; /* q4_0 */
    float values[1024], back[2][1024];
    for (int i = 0; i < 1024; i++) values[i] = (float)(i * 7919 % 1009 - 500) / 333;
    for (int i = 0; i < 2; i++) {
        fesetround(i ? FE_UPWARD : FE_TONEAREST);
        CHECK(vox_pack(GGML_TYPE_Q4_0, values, 1024, 1024, blocks[i]) == VOX_OK);
        CHECK(vox_unpack(GGML_TYPE_Q4_0, blocks[i], 1024, back[i]) == VOX_OK);
    }
    fesetround(FE_TONEAREST);
    CHECK(memcmp(blocks[0], blocks[1], sizeof blocks[0]) == 0);
    CHECK(memcmp(back[0], back[1], sizeof back[0]) == 0);
}

/* Embeddings come without the decoder, bit by bit the same for every cut. */
static void test_embeddings(vox_model *m, const float *samples, size_t n) {
    size_t dim = (size_t)m->dec.dim, n_slots = (n + 1279) / 1280 + 32 + 6 + 10, cuts[] = {n, 1000};
    float *rows[2];
    vox_stream *s, *copy;
    vox_stream_params params = {.silence_gate_ms = 1360}; /* it shuts nobody out here */
    CHECK(vox_stream_open(m, &params, &s, NULL, 0) == VOX_OK);
    for (int i = 0; i < 2; i++) {
        size_t count = 0;
        CHECK(rows[i] = malloc((n_slots + 1) * dim * sizeof **rows));
        CHECK(vox_stream_reset(s) == VOX_OK);
        for (size_t done = 0; done < n; done += cuts[i]) {
            size_t left = n - done < cuts[i] ? n - done : cuts[i];
            CHECK(vox_stream_push(s, samples + done, left) == VOX_OK);
            while (vox_stream_embed(s, rows[i] + count * dim) == VOX_SLOT) count++;
        }
        CHECK(vox_stream_finish(s) == VOX_OK);
        while (vox_stream_embed(s, rows[i] + count * dim) == VOX_SLOT) CHECK(++count <= n_slots);
        CHECK(vox_stream_embed(s, rows[i]) == VOX_DONE && count == n_slots);
    }
    CHECK(vox_stream_save(s, NULL, 0) == VOX_ERR_STATE);
    CHECK(vox_stream_copy(s, &copy) == VOX_OK && vox_stream_embed(copy, rows[0]) == VOX_DONE);
    vox_stream_close(copy);
    CHECK(memcmp(rows[0], rows[1], n_slots * dim * sizeof **rows) == 0);
    vox_slot slot;
    CHECK(vox_stream_next(s, &slot) == VOX_ERR_STATE && *vox_stream_message(s));
    CHECK(vox_stream_reset(s) == VOX_OK && vox_stream_push(s, samples, n) == VOX_OK);
    CHECK(vox_stream_next(s, &slot) == VOX_SLOT && vox_stream_embed(s, *rows) == VOX_ERR_STATE);
    CHECK(vox_stream_embed(s, NULL) == VOX_ERR_ARGUMENT &&
          vox_stream_embed(NULL, *rows) == VOX_ERR_ARGUMENT);
    vox_stream_close(s);
    free(rows[0]);
    free(rows[1]);
}

static void test_misuse(vox_model *m) {
    char message[200];
    vox_model *none;
    vox_stream *s;
    vox_slot slot;
    size_t n_message = sizeof message;
    CHECK(vox_model_open(NULL, NULL, &none, message, n_message) == VOX_ERR_ARGUMENT && !none);
    CHECK(vox_model_open("no such file", NULL, &none, message, n_message) == VOX_ERR_IO);
    CHECK(*message && !none);
    CHECK(vox_model_open("no such file", NULL, &none, NULL, 0) == VOX_ERR_IO);
    CHECK(vox_model_open("/", NULL, &none, message, n_message) == VOX_ERR_IO);
    CHECK(vox_model_open("/dev/null", NULL, &none, message, n_message) == VOX_ERR_IO);
    vox_model_params too_few = {.n_threads = -1}, too_many = {.n_threads = 257},
                     no_window = {.decoder_window = -1};
    CHECK(vox_model_open("/", &too_few, &none, message, n_message) == VOX_ERR_ARGUMENT);
    CHECK(vox_model_open("/", &too_many, &none, message, n_message) == VOX_ERR_ARGUMENT);
    CHECK(vox_model_open("/", &no_window, &none, message, n_message) == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_open(NULL, NULL, &s, message, sizeof message) == VOX_ERR_ARGUMENT && !s);
    int delays[] = {-80, 1, 79, 81, 1280, 2320, 2480};
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        vox_stream_params p = {.delay_ms = delays[i]};
        CHECK(vox_stream_open(m, &p, &s, message, sizeof message) == VOX_ERR_ARGUMENT && !s &&
              *message);
    }
    int most[] = {80, 1200, 2400};
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        vox_stream_params p = {.delay_ms = most[i]};
        CHECK(vox_stream_open(m, &p, &s, NULL, 0) == VOX_OK);
        vox_stream_close(s);
    }
    vox_stream_params bad[] = {
        {.batch_ms = 79},
        {.batch_ms = 100},
        {.pad_guard_ms = -80},
        {.pad_guard_ms = 81},
        {.silence_gate_ms = -80},
        {.silence_gate_ms = 1280},
        {.silence_gate_ms = 1401},
        {.confidence = 2},
        {.n_alternatives = -1},
        {.n_alternatives = 9},
        {.background = 2},
        {.words_bonus = -1},
        {.words_bonus = 10.5f},
        {.words_bonus = NAN},
        {.words = "\xFF"},
        {.auto_gain = 2},
        {.gain_db = 60.5f},
        {.gain_db = NAN},
        {.auto_gain = 1, .gain_db = 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(vox_stream_open(m, &bad[i], &s, message, n_message) == VOX_ERR_ARGUMENT && *message);

    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    float nan_sample[2] = {0, NAN};
    CHECK(vox_stream_push(s, nan_sample, 2) == VOX_ERR_ARGUMENT && *vox_stream_message(s));
    CHECK(vox_stream_pending(s) == 0);
    CHECK(vox_stream_push(s, NULL, 1) == VOX_ERR_ARGUMENT && vox_stream_push(s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_push(s, nan_sample, SIZE_MAX / 2) != VOX_OK);
    CHECK(vox_stream_watch(s, "enc.blk.99") == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_watch(s, "nonsense") == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_tensor(s, "mel", NULL, 0) == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_next(s, NULL) == VOX_ERR_ARGUMENT &&
          vox_stream_next(NULL, &slot) == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_next(s, &slot) == VOX_WAIT && slot.n_text == 0);
    CHECK(vox_stream_watch(s, "mel") == VOX_ERR_STATE);
    CHECK(vox_stream_push(NULL, NULL, 0) == VOX_ERR_ARGUMENT &&
          vox_stream_finish(NULL) == VOX_ERR_ARGUMENT);
    vox_stats stats;
    CHECK(vox_stream_stats(NULL, &stats) == VOX_ERR_ARGUMENT &&
          vox_stream_stats(s, NULL) == VOX_ERR_ARGUMENT);
    CHECK(vox_stream_reset(NULL) == VOX_ERR_ARGUMENT &&
          vox_stream_watch(s, NULL) == VOX_ERR_ARGUMENT);
    vox_stream_close(s);
    vox_stream_close(NULL);
    vox_model_close(NULL);

    const char *bytes;
    size_t n_bytes;
    vox_model_info info;
    CHECK(vox_model_describe(m, &info) == VOX_OK &&
          vox_model_describe(m, NULL) == VOX_ERR_ARGUMENT);
    CHECK(vox_model_token(m, info.n_vocab, &bytes, &n_bytes) == VOX_ERR_ARGUMENT && !bytes);
    CHECK(vox_model_token(m, -1, &bytes, &n_bytes) == VOX_ERR_ARGUMENT);
    CHECK(vox_model_token(m, info.n_vocab - 1, &bytes, &n_bytes) == VOX_OK && n_bytes > 0);
    CHECK(vox_pack(99, nan_sample, 2, 2, nan_sample) == VOX_ERR_ARGUMENT);
    CHECK(vox_packed_size(2, 33) == 0 && vox_packed_size(2, 32) == 18);
}

int main(int argc, char **argv) {
    CHECK(argc > 5);
    vox_model *m = open_model(argv[1], 0), *f32 = open_model(argv[2], 0);
    size_t n;
    float *samples = read_wav(argv[3], &n);
    char expected[1024] = {' '};
    FILE *f = fopen(argv[4], "rb");
    CHECK(f && fgets(expected + 1, sizeof expected - 1, f));
    fclose(f);
    expected[strcspn(expected, "\r\n")] = 0;

    result whole = run(m, samples, n, 0, 0, 0);
    CHECK(whole.n_text == strlen(expected) && memcmp(whole.text, expected, whole.n_text) == 0);
    test_misuse(m); /* from here on, the shortest first */
    test_counts(m);
    test_stats(m, samples, n);
    for (int i = 5; i < argc; i++) test_tight_rings(argv[i], m);
    test_embeddings(m, samples, n);
    test_rounding(argv[1], samples, n, &whole);
    test_alternatives(m, samples, n);
    test_saves(m, NULL, samples, n, 4001, 0);
    test_reset(m, samples, n, &whole);
    test_drafts(m, NULL, samples, n, &whole, 5);
    test_same_bits(argv[1], samples, n, &whole);
    test_far_clock(f32, samples, n / 2);
    vox_model_close(f32);
    test_memory_stops_growing(m, samples, n);
    test_copies(m, NULL, samples, n, 8001, 0);
    test_gain(m, samples, n, &whole);
    test_kernels(argv[1], samples, n, &whole);
    test_gate(m, samples, n);
    test_words(m, samples, n, &whole);

    vox_stream *s; /* the model may be closed before its streams */
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    vox_model_close(m);
    vox_slot slot;
    CHECK(vox_stream_finish(s) == VOX_OK && vox_stream_next(s, &slot) == VOX_SLOT);
    vox_stream_close(s);
    free(whole.logits);
    free(samples);
    return 0;
}
