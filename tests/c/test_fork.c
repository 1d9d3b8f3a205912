/* test_fork.c - processes that are forked while a model's threads work: they close it, or go on
 * with it as if they were alone, and never wait for threads that they do not have.
 *
 * test_fork MODEL ROUNDS
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "voxtral.h"

enum { N_SAMPLES = 12000, MAX_TOKENS = 100, PATIENCE_S = 60 };

/* GCC's AddressSanitizer leaves its allocator locked in a child that is forked while another thread
 * allocates: there the parent's threads are idle. */
#if defined(__SANITIZE_ADDRESS__)
enum { MAY_BE_BUSY = 0 };
#else
enum { MAY_BE_BUSY = 1 };
#endif

static float samples[N_SAMPLES];
static int32_t expected[MAX_TOKENS];
static int n_expected;
static atomic_int is_over;

static int drain(vox_stream *s, int32_t *tokens) {
    vox_slot slot;
    int n = 0;
    CHECK(vox_stream_finish(s) == VOX_OK);
    for (int status; (status = vox_stream_next(s, &slot)) != VOX_DONE; n++) {
        CHECK(status == VOX_SLOT && n < MAX_TOKENS);
        tokens[n] = slot.token;
    }
    return n;
}

static vox_stream *open_stream(vox_model *m) {
    vox_stream *s;
    CHECK(vox_stream_open(m, NULL, &s, NULL, 0) == VOX_OK);
    CHECK(vox_stream_push(s, samples, N_SAMPLES) == VOX_OK);
    return s;
}

static void check_rest(vox_stream *s) {
    int32_t tokens[MAX_TOKENS];
    CHECK(drain(s, tokens) == n_expected);
    CHECK(memcmp(tokens, expected, (size_t)n_expected * sizeof *tokens) == 0);
    vox_stream_close(s);
}

/* Streams in a thread of the parent, so that forks meet a pass at work. */
static void *keep_busy(void *user) {
    while (!atomic_load(&is_over)) check_rest(open_stream(user));
    return NULL;
}

static void *use(void *user) {
    check_rest(open_stream(user));
    return NULL;
}

/* What a child does with the model, and with a stream that was opened before. */
static void child(int how, vox_model *m, vox_stream *s) {
    pthread_t threads[3];
    switch (how) {
    case 0: break;
    case 1: check_rest(s); return;
    case 2: /* at once, and a child of its own */
        for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, use, m) == 0);
        for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
        if (fork() == 0) {
            check_rest(s);
            vox_model_close(m);
            _exit(0);
        }
        int status;
        CHECK(wait(&status) > 0 && status == 0);
    }
    vox_stream_close(s);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    vox_model *m;
    vox_model_params params = {.n_threads = 3};
    CHECK(vox_model_open(argv[1], &params, &m, NULL, 0) == VOX_OK);
    for (int i = 0; i < N_SAMPLES; i++) samples[i] = (float)(i * 7919 % 1009 - 504) / 2000;
    vox_stream *s = open_stream(m);
    n_expected = drain(s, expected);
    vox_stream_close(s);
    s = open_stream(m);
    pthread_t busy[2];
    for (int round = 0; round < atoi(argv[2]); round++) {
        int is_busy = round % 2 && MAY_BE_BUSY;
        atomic_store(&is_over, 0);
        for (int i = 0; i < 2 * is_busy; i++)
            CHECK(pthread_create(&busy[i], NULL, keep_busy, m) == 0);
        usleep((unsigned)(round * 1777 % 9000));
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(PATIENCE_S);
            child(round / 2 % 3, m, s);
            vox_model_close(m);
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        atomic_store(&is_over, 1);
        for (int i = 0; i < 2 * is_busy; i++) CHECK(pthread_join(busy[i], NULL) == 0);
    }
    check_rest(s);
    vox_model_close(m);
    return 0;
}
