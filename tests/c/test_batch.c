/* test_batch.c - streams that share passes against the same streams alone: random mixtures of
 * delays, options, cuts of the audio, arrivals and departures, copies and saves, by threads and by
 * vox_streams_advance.
 *
 * test_batch MODEL.gguf AUDIO.wav ROUNDS SEED
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "platform.h"
#include "stream.h"
#include "wav.h"

enum { MAX_STREAMS = 12, MAX_SLOTS = 400 };

/* Everything that a stream says. */
typedef struct {
    int n_slots;
    size_t n_text;
    int32_t tokens[MAX_SLOTS];
    float confidence[MAX_SLOTS];
    uint64_t alternatives;
    char text[4096];
    unsigned char *saved; /* [n_saved] its state at the end */
    size_t n_saved;
} result;

typedef struct {
    vox_model *m;
    vox_stream_params params;
    float *samples; /* [n] */
    size_t n;
    uint32_t seed;
    result expected;
} job;

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void note(result *r, const vox_slot *slot) {
    CHECK(r->n_slots < MAX_SLOTS && slot->index == r->n_slots);
    CHECK(r->n_text + slot->n_text < sizeof r->text);
    r->confidence[r->n_slots] = slot->confidence;
    r->tokens[r->n_slots++] = slot->token;
    memcpy(r->text + r->n_text, slot->text, slot->n_text);
    r->n_text += slot->n_text;
    for (int i = 0; i < slot->n_alternatives; i++) {
        uint32_t bits;
        memcpy(&bits, &slot->alternatives[i].confidence, sizeof bits);
        r->alternatives =
            (r->alternatives * 31 + (uint64_t)slot->alternatives[i].token) * 31 + bits;
    }
}

static unsigned char *save(vox_stream *s, size_t *n) {
    int64_t size = vox_stream_save(s, NULL, 0);
    CHECK(size > 0);
    unsigned char *bytes = malloc((size_t)size);
    CHECK(bytes && vox_stream_save(s, bytes, size) == size);
    *n = (size_t)size;
    return bytes;
}

static vox_stream *open_stream(const job *j) {
    vox_stream *s;
    CHECK(vox_stream_open(j->m, &j->params, &s, NULL, 0) == VOX_OK);
    return s;
}

static void finish(vox_stream *s, result *r) {
    r->saved = save(s, &r->n_saved);
    vox_stream_close(s);
}

static void check_same(const result *a, const result *b) {
    CHECK(a->n_slots == b->n_slots && a->n_text == b->n_text && a->alternatives == b->alternatives);
    CHECK(memcmp(a->tokens, b->tokens, (size_t)a->n_slots * sizeof *a->tokens) == 0);
    CHECK(memcmp(a->confidence, b->confidence, (size_t)a->n_slots * sizeof *a->confidence) == 0);
    CHECK(memcmp(a->text, b->text, a->n_text) == 0);
    CHECK(a->n_saved == b->n_saved && memcmp(a->saved, b->saved, a->n_saved) == 0);
}

static void run_alone(job *j) {
    vox_stream *s = open_stream(j);
    vox_slot slot;
    int status;
    CHECK(vox_stream_push(s, j->samples, j->n) == VOX_OK && vox_stream_finish(s) == VOX_OK);
    while ((status = vox_stream_next(s, &slot)) == VOX_SLOT) note(&j->expected, &slot);
    CHECK(status == VOX_DONE);
    finish(s, &j->expected);
}

/* What live programs do between two pushes: look ahead on a copy, move to another process. */
static vox_stream *disturb(const job *j, vox_stream *s, uint32_t *seed) {
    if (next(seed) % 16 == 0) {
        vox_stream *copy;
        vox_slot slot;
        CHECK(vox_stream_copy(s, &copy) == VOX_OK && vox_stream_finish(copy) == VOX_OK);
        for (int i = (int)(next(seed) % 30); i > 0 && vox_stream_next(copy, &slot) == VOX_SLOT;)
            i--;
        vox_stream_close(copy);
    }
    if (next(seed) % 16 == 0) {
        size_t n;
        unsigned char *bytes = save(s, &n);
        vox_stream_close(s);
        CHECK(vox_stream_load(j->m, bytes, n, &s, NULL, 0) == VOX_OK);
        free(bytes);
    }
    return s;
}

static size_t cut(const job *j, size_t done, uint32_t *seed) {
    size_t n = next(seed) % 3 == 0 ? next(seed) % 30000 : next(seed) % 3000;
    return n < j->n - done ? n : j->n - done;
}

static void *run_in_a_thread(void *user) {
    job *j = user;
    uint32_t seed = j->seed;
    vox_stream *s = open_stream(j);
    result r = {0};
    vox_slot slot;
    int status = VOX_WAIT;
    for (size_t done = 0, n; status != VOX_DONE; done += n) {
        n = cut(j, done, &seed);
        CHECK(vox_stream_push(s, j->samples + done, n) == VOX_OK);
        if (done + n == j->n) CHECK(vox_stream_finish(s) == VOX_OK);
        while ((status = vox_stream_next(s, &slot)) == VOX_SLOT) {
            note(&r, &slot);
            if (next(&seed) % 64 == 0) break; /* the rest after more audio */
        }
        CHECK(status >= 0);
        if (done + n < j->n) s = disturb(j, s, &seed);
        if (done + n == j->n) n = 0, done = j->n;
        if (done == j->n) {
            while ((status = vox_stream_next(s, &slot)) == VOX_SLOT) note(&r, &slot);
            CHECK(status == VOX_DONE);
        }
    }
    finish(s, &r);
    check_same(&r, &j->expected);
    free(r.saved);
    return NULL;
}

/* One thread for all: streams come and go at their own times. */
static void run_advanced(job *jobs, int n_jobs, uint32_t seed) {
    vox_stream *streams[MAX_STREAMS] = {0};
    size_t done[MAX_STREAMS] = {0};
    static result results[MAX_STREAMS];
    int n_left = n_jobs, is_over[MAX_STREAMS] = {0};
    memset(results, 0, sizeof results);
    while (n_left > 0) {
        vox_stream *some[MAX_STREAMS];
        int32_t index[MAX_STREAMS], status[MAX_STREAMS], n = 0;
        for (int i = 0; i < n_jobs; i++) {
            if (is_over[i] || next(&seed) % 3 == 0) continue;
            if (!streams[i]) streams[i] = open_stream(&jobs[i]);
            size_t more = cut(&jobs[i], done[i], &seed);
            if (done[i] < jobs[i].n || jobs[i].n == 0) {
                CHECK(vox_stream_push(streams[i], jobs[i].samples + done[i], more) == VOX_OK);
                done[i] += more;
                if (done[i] == jobs[i].n) CHECK(vox_stream_finish(streams[i]) == VOX_OK);
                else streams[i] = disturb(&jobs[i], streams[i], &seed);
            }
            index[n] = i;
            some[n++] = streams[i];
        }
        CHECK(vox_streams_advance(some, n, status) == VOX_OK);
        for (int k = 0; k < n; k++) {
            vox_slot slot;
            int i = index[k], got = vox_stream_next(some[k], &slot);
            CHECK(got == status[k]);
            for (; got == VOX_SLOT; got = vox_stream_next(some[k], &slot)) {
                note(&results[i], &slot);
                if (some[k]->slots.n_given == some[k]->slots.n_said)
                    break; /* the next one computes */
            }
            if (got != VOX_DONE) continue;
            finish(some[k], &results[i]);
            check_same(&results[i], &jobs[i].expected);
            free(results[i].saved);
            is_over[i] = 1;
            n_left--;
        }
    }
}

static void make_job(job *j, vox_model *m, const float *samples, size_t n, uint32_t *seed) {
    static const int32_t delays[] = {80, 240, 480, 480, 480, 960, 2400};
    *j = (job){.m = m, .seed = next(seed)};
    j->params.delay_ms = delays[next(seed) % (sizeof delays / sizeof *delays)];
    j->params.background = next(seed) % 3 == 0;
    j->params.batch_ms = next(seed) % 3 == 0 ? (int32_t)(80 * (1 + next(seed) % 16)) : 0;
    if (next(seed) % 3 == 0) j->params.pad_guard_ms = 800;
    if (next(seed) % 3 == 0) j->params.silence_gate_ms = 3600;
    if (next(seed) % 3 == 0) {
        j->params.confidence = 1;
        j->params.n_alternatives = (int32_t)(next(seed) % 4);
    }
    if (next(seed) % 3 == 0) {
        j->params.words = "eighteen\nninety\nseven hundred\nforty";
        j->params.words_bonus = (float)(5 + next(seed) % 6);
    }
    if (next(seed) % 3 == 0) j->params.auto_gain = 1;
    else if (next(seed) % 3 == 0) j->params.gain_db = (float)(next(seed) % 40) - 20;
    j->n = next(seed) % 8 == 0 ? next(seed) % 2000 : next(seed) % (n + 1);
    j->samples = malloc((j->n + 1) * sizeof *j->samples);
    CHECK(j->samples);
    float gain = 0.25f * (float)(1 + next(seed) % 5);
    size_t from = next(seed) % (n - j->n + 1);
    for (size_t i = 0; i < j->n; i++) j->samples[i] = gain * samples[from + i];
    if (next(seed) % 4 == 0) memset(j->samples, 0, j->n / 2 * sizeof *j->samples);
}

/* A model that was given the start of one delay is like one that computes it, for every delay; and
 * nothing but a start is taken for one. */
static void test_start(const char *path, float *samples, size_t n) {
    static job jobs[2];
    vox_model *a, *b;
    size_t n_start, n_other;
    CHECK(vox_model_open(path, NULL, &a, NULL, 0) == VOX_OK);
    CHECK(vox_model_open(path, NULL, &b, NULL, 0) == VOX_OK);
    vox_slot slot;
    jobs[0] = (job){.m = a, .params = {.delay_ms = 480}, .samples = samples, .n = n};
    vox_stream *s = open_stream(&jobs[0]);
    unsigned char *unheard = save(s, &n_other);
    CHECK(vox_model_start(b, unheard, n_other) == VOX_ERR_FORMAT);
    CHECK(vox_stream_next(s, &slot) == VOX_WAIT);
    unsigned char *start = save(s, &n_start);
    CHECK(vox_stream_push(s, samples, 5000) == VOX_OK);
    unsigned char *waiting = save(s, &n_other);
    CHECK(vox_model_start(b, waiting, n_other) == VOX_ERR_FORMAT);
    vox_stream_close(s);
    CHECK(vox_model_start(NULL, start, n_start) == VOX_ERR_ARGUMENT);
    CHECK(vox_model_start(b, NULL, 0) == VOX_ERR_ARGUMENT);
    CHECK(vox_model_start(b, start, n_start - 1) == VOX_ERR_FORMAT);
    start[n_start / 2] ^= 4;
    CHECK(vox_model_start(b, start, n_start) == VOX_ERR_FORMAT);
    start[n_start / 2] ^= 4;
    for (int i = 0; i < 2; i++) CHECK(vox_model_start(b, start, n_start) == VOX_OK);
    s = open_stream(&(job){.m = b, .params = {.delay_ms = 480}});
    vox_stats stats;
    CHECK(vox_stream_next(s, &slot) == VOX_WAIT && vox_stream_stats(s, &stats) == VOX_OK);
    CHECK(stats.scratch_bytes > 0 && vox_stream_memory(s) > 0);
    unsigned char *again = save(s, &n_other);
    CHECK(n_other == n_start && memcmp(again, start, n_start) == 0);
    vox_stream_close(s);
    for (int delay_ms = 480; delay_ms > 0; delay_ms -= 240) {
        jobs[0] = (job){.m = a, .params = {.delay_ms = delay_ms}, .samples = samples, .n = n};
        jobs[1] = jobs[0];
        jobs[1].m = b;
        for (int i = 0; i < 2; i++) run_alone(&jobs[i]);
        check_same(&jobs[0].expected, &jobs[1].expected);
        for (int i = 0; i < 2; i++) free(jobs[i].expected.saved);
    }
    free(unheard);
    free(waiting);
    free(start);
    free(again);
    vox_model_close(a);
    vox_model_close(b);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    size_t n;
    float *samples = read_wav(argv[2], &n);
    int n_rounds = atoi(argv[3]);
    uint32_t seed = (uint32_t)atoi(argv[4]);
    test_start(argv[1], samples, n);
    for (int round = 0; round < n_rounds; round++) {
        vox_model *alone, *m;
        vox_model_params one = {.n_threads = 1}, some = {.n_threads = (int32_t)(next(&seed) % 4)};
        CHECK(vox_model_open(argv[1], &one, &alone, NULL, 0) == VOX_OK);
        CHECK(vox_model_open(argv[1], &some, &m, NULL, 0) == VOX_OK);
        static job jobs[MAX_STREAMS];
        platform_thread threads[MAX_STREAMS];
        int n_jobs = 2 + (int)(next(&seed) % (MAX_STREAMS - 1));
        for (int i = 0; i < n_jobs; i++) {
            make_job(&jobs[i], alone, samples, n, &seed);
            run_alone(&jobs[i]);
            jobs[i].m = m;
        }
        for (int i = 0; i < n_jobs; i++)
            CHECK(platform_thread_start(&threads[i], run_in_a_thread, &jobs[i]) == 0);
        for (int i = 0; i < n_jobs; i++) platform_thread_join(&threads[i]);
        run_advanced(jobs, n_jobs, next(&seed));
        for (int i = 0; i < n_jobs; i++) {
            free(jobs[i].samples);
            free(jobs[i].expected.saved);
        }
        vox_model_close(alone);
        vox_model_close(m);
    }
    free(samples);
    return 0;
}
