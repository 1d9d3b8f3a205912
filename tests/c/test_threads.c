/* test_threads.c - threads that use one model in all ways at once, and others that open and close
 * models meanwhile: for ThreadSanitizer, which sees where two of them meet; and everybody is given
 * what he is given alone.
 *
 * test_threads MODEL ROUNDS
 */
#include <string.h>

#include "check.h"
#include "platform.h"
#include "voxtral.h"

enum { N_SAMPLES = 24000, N_USERS = 6, N_OPENERS = 2 };

static float samples[N_SAMPLES];
static const char *path;

typedef struct {
    vox_model *m;
    int id;
    uint64_t sum; /* of all tokens */
} user;

static void drain(vox_stream *s, uint64_t *sum) {
    vox_slot slot;
    int status;
    while ((status = vox_stream_next(s, &slot)) == VOX_SLOT)
        *sum = *sum * 31 + (uint64_t)slot.token;
    CHECK(status == VOX_WAIT || status == VOX_DONE);
}

/* Look at s in every way, and go on with a saved and loaded one. */
static vox_stream *look(vox_model *m, vox_stream *s) {
    vox_stats stats;
    vox_stream *copy, *loaded;
    uint64_t unused = 0;
    CHECK(vox_stream_stats(s, &stats) == VOX_OK && stats.scratch_bytes >= 0);
    CHECK(vox_stream_pending(s) >= 0 && vox_stream_memory(s) > 0);
    CHECK(vox_stream_copy(s, &copy) == VOX_OK && vox_stream_finish(copy) == VOX_OK);
    int64_t size = vox_stream_save(s, NULL, 0);
    CHECK(size > 0);
    void *bytes = malloc((size_t)size);
    CHECK(bytes && vox_stream_save(s, bytes, size) == size);
    CHECK(vox_stream_load(m, bytes, (size_t)size, &loaded, NULL, 0) == VOX_OK);
    free(bytes);
    vox_stream_close(s);
    drain(copy, &unused);
    vox_stream_close(copy);
    return loaded;
}

static void *use(void *data) {
    user *u = data;
    u->sum = 0;
    vox_stream_params params = {.delay_ms = 80 * (1 + u->id),
                                .silence_gate_ms = u->id % 2 ? 2400 : 0,
                                .pad_guard_ms = u->id % 3 ? 800 : 0,
                                .words = u->id % 2 ? NULL : "ab\nc d",
                                .auto_gain = u->id % 2,
                                .confidence = 1,
                                .n_alternatives = 3};
    vox_stream *s;
    CHECK(vox_stream_open(u->m, &params, &s, NULL, 0) == VOX_OK);
    if (u->id == 0) CHECK(vox_stream_watch(s, "enc.out") == VOX_OK);
    for (int done = 0, n; done < N_SAMPLES; done += n) {
        n = 1700 + 311 * u->id < N_SAMPLES - done ? 1700 + 311 * u->id : N_SAMPLES - done;
        CHECK(vox_stream_push(s, samples + done, (size_t)n) == VOX_OK);
        drain(s, &u->sum);
        if (done / 1000 % 4 == u->id % 4) s = look(u->m, s);
    }
    CHECK(vox_stream_finish(s) == VOX_OK);
    drain(s, &u->sum);
    CHECK(vox_stream_reset(s) == VOX_OK && vox_stream_push(s, samples, 5000) == VOX_OK);
    drain(s, &u->sum);
    vox_stream_close(s);
    return NULL;
}

static vox_model *open_model(void) {
    vox_model *m;
    vox_model_params params = {.n_threads = 2};
    CHECK(vox_model_open(path, &params, &m, NULL, 0) == VOX_OK);
    return m;
}

static void *open_and_close(void *data) {
    uint64_t *sum = data;
    for (int i = 0; i < 3; i++) {
        vox_model *m = open_model();
        vox_stream *s;
        CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
        vox_model_close(m);
        CHECK(vox_stream_push(s, samples, 3000) == VOX_OK);
        drain(s, sum);
        vox_stream_close(s);
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    path = argv[1];
    for (int i = 0; i < N_SAMPLES; i++)
        samples[i] = i > 8000 && i < 14000 ? 0 : (float)(i * 7919 % 1009 - 504) / 2000;
    vox_model *m = open_model();
    user alone[N_USERS], together[N_USERS];
    for (int i = 0; i < N_USERS; i++) {
        alone[i] = (user){.m = m, .id = i};
        use(&alone[i]);
    }
    for (int round = 0; round < atoi(argv[2]); round++) {
        platform_thread threads[N_USERS], openers[N_OPENERS];
        uint64_t sums[N_OPENERS] = {0};
        for (int i = 0; i < N_USERS; i++) {
            together[i] = (user){.m = m, .id = i};
            CHECK(platform_thread_start(&threads[i], use, &together[i]) == 0);
        }
        for (int i = 0; i < N_OPENERS; i++)
            CHECK(platform_thread_start(&openers[i], open_and_close, &sums[i]) == 0);
        for (int i = 0; i < N_USERS; i++) {
            platform_thread_join(&threads[i]);
            CHECK(together[i].sum == alone[i].sum);
        }
        for (int i = 0; i < N_OPENERS; i++) platform_thread_join(&openers[i]);
        CHECK(sums[0] == sums[1]);
    }
    vox_model_close(m);
    return 0;
}
