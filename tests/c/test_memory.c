/* test_memory.c - memory and threads that are refused, at every place where the core asks for them.
 *
 * test_memory MODEL STEP: everything that a model and its streams can do, once for every STEP-th
 * request, which is refused; and once more with all that follow it refused until the call returns.
 * The call says VOX_ERR_MEMORY, or does without; repeated, it gives what it would have given; and
 * in the end all is given back. The linker puts the functions below in place of the C library's,
 * for the core's own objects: see CMakeLists.txt.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "kv.h"
#include "voxtral.h"

/* ---- refusing ------------------------------------------------------------------------------- */

static atomic_long n_asked, n_held; /* requests so far; pieces of memory not given back */
static atomic_long refused_at = -1; /* the request that is refused; -1: none */
static atomic_int until_return;     /* and all after it */

static int refuses(void) {
    long i = atomic_fetch_add(&n_asked, 1), at = atomic_load(&refused_at);
    if (at < 0 || i < at || (i > at && !atomic_load(&until_return))) return 0;
    errno = ENOMEM;
    return 1;
}

static void *held(void *p) {
    if (p) atomic_fetch_add(&n_held, 1);
    return p;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **p, size_t alignment, size_t n);
void __real_free(void *p);
void *__real_mmap(void *at, size_t n, int access, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t n);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *user);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);
void __wrap_free(void *p);
void *__wrap_mmap(void *at, size_t n, int access, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t n);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *user);

void *__wrap_malloc(size_t n) {
    return refuses() ? NULL : held(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size) {
    return refuses() ? NULL : held(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n) {
    if (refuses()) return NULL;
    void *grown = __real_realloc(p, n);
    return p ? grown : held(grown);
}

int __wrap_posix_memalign(void **p, size_t alignment, size_t n) {
    if (refuses()) return ENOMEM;
    int error = __real_posix_memalign(p, alignment, n);
    if (error == 0) held(*p);
    return error;
}

void __wrap_free(void *p) {
    if (p) atomic_fetch_sub(&n_held, 1);
    __real_free(p);
}

void *__wrap_mmap(void *at, size_t n, int access, int flags, int fd, off_t offset) {
    if (refuses()) return MAP_FAILED;
    return held(__real_mmap(at, n, access, flags, fd, offset));
}

int __wrap_munmap(void *p, size_t n) {
    atomic_fetch_sub(&n_held, 1);
    return __real_munmap(p, n);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *user) {
    return refuses() ? EAGAIN : __real_pthread_create(thread, attributes, run, user);
}

/* ---- everything ----------------------------------------------------------------------------- */

enum { N_SAMPLES = 30000, MAX_TOKENS = 1000, N_RESULTS = 3 };

static float samples[N_SAMPLES];
static int n_failures; /* calls that said VOX_ERR_MEMORY */

typedef struct {
    int32_t tokens[MAX_TOKENS];
    int n;
    uint64_t sum; /* of all numbers that are not tokens */
} result;

/* What a call said, after which nothing is refused any more; so it may be made again. */
static int said(int status, const char *message) {
    int was_refused = atomic_load(&n_asked) > atomic_load(&refused_at);
    if (status == VOX_ERR_MEMORY) {
        CHECK(was_refused && atomic_load(&refused_at) >= 0 && strstr(message, "memory"));
        n_failures++;
    }
    if (was_refused) atomic_store(&refused_at, -1);
    return status;
}

static int last_status;

/* Make a call, and again if it lacked memory: its status. */
#define TRY(call, message)                                                                         \
    do {                                                                                           \
        last_status = said((call), (message));                                                     \
        if (last_status == VOX_ERR_MEMORY) last_status = said((call), (message));                  \
        CHECK(last_status >= 0);                                                                   \
    } while (0)

static void note(result *r, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        r->sum = (r->sum ^ ((const unsigned char *)bytes)[i]) * 0x100000001B3u;
}

static void take(vox_stream *s, result *r, int most) {
    vox_slot slot;
    for (int i = 0; i < most; i++) {
        TRY(vox_stream_next(s, &slot), vox_stream_message(s));
        if (last_status != VOX_SLOT) return;
        CHECK(r->n < MAX_TOKENS);
        r->tokens[r->n++] = slot.token;
        note(r, slot.text, slot.n_text);
        note(r, &slot.confidence, sizeof slot.confidence);
        float rows[4096];
        int64_t n = vox_stream_tensor(s, "dec.logits", rows, 4096);
        if (n > 0) note(r, rows, (size_t)(n < 4096 ? n : 4096) * sizeof *rows);
    }
}

static vox_stream *open_stream(vox_model *m, const vox_stream_params *params) {
    vox_stream *s;
    char message[200];
    TRY(vox_stream_open(m, params, &s, message, sizeof message), message);
    return s;
}

/* r [N_RESULTS]: of streams by themselves; of two that share passes. */
static void everything(const char *path, result *r) {
    memset(r, 0, N_RESULTS * sizeof *r);
    vox_model *m;
    char message[200];
    vox_model_params two = {.n_threads = 2};
    TRY(vox_model_open(path, &two, &m, message, sizeof message), message);
    vox_stream_params params = {.confidence = 1, .n_alternatives = 2, .words = "ab\na c"};
    vox_stream *s = open_stream(m, &params), *copy, *loaded;
    for (int done = 0; done < N_SAMPLES; done += 10000) {
        TRY(vox_stream_push(s, samples + done, 10000), vox_stream_message(s));
        take(s, r, 4);
    }
    TRY(vox_stream_copy(s, &copy), vox_stream_message(s));
    int64_t size = vox_stream_save(s, NULL, 0);
    CHECK(size > 0);
    void *bytes = __real_malloc((size_t)size);
    CHECK(bytes && vox_stream_save(s, bytes, size) == size);
    TRY(vox_stream_load(m, bytes, (size_t)size, &loaded, message, sizeof message), message);
    __real_free(bytes);
    vox_stream *all[] = {s, copy, loaded};
    for (int i = 0; i < 3; i++) {
        CHECK(vox_stream_finish(all[i]) == VOX_OK);
        take(all[i], r, MAX_TOKENS);
        vox_stream_close(all[i]);
    }
    /* Another delay, watched; then embeddings. */
    vox_stream_params later = {.delay_ms = 720};
    s = open_stream(m, &later);
    CHECK(vox_stream_watch(s, "dec.logits") == VOX_OK && vox_stream_watch(s, "mel") == VOX_OK);
    TRY(vox_stream_push(s, samples, N_SAMPLES / 2), vox_stream_message(s));
    take(s, r, MAX_TOKENS);
    CHECK(vox_stream_reset(s) == VOX_OK);
    TRY(vox_stream_push(s, samples, 10000), vox_stream_message(s));
    vox_model_info info;
    CHECK(vox_model_describe(m, &info) == VOX_OK && info.decoder_dim <= 4096);
    float audio[4096];
    do {
        TRY(vox_stream_embed(s, audio), vox_stream_message(s));
        if (last_status == VOX_SLOT) note(r, audio, (size_t)info.decoder_dim * sizeof *audio);
    } while (last_status == VOX_SLOT);
    vox_stream_close(s);
    /* Two that share passes. */
    vox_stream *pair[] = {open_stream(m, &params), open_stream(m, &later)};
    for (int i = 0; i < 2; i++) {
        TRY(vox_stream_push(pair[i], samples, N_SAMPLES), vox_stream_message(pair[i]));
        CHECK(vox_stream_finish(pair[i]) == VOX_OK);
    }
    for (int n_open = 2; n_open > 0;) {
        int32_t status[2];
        CHECK(vox_streams_advance(pair, 2, status) == VOX_OK);
        int lacked = status[0] == VOX_ERR_MEMORY ? 0 : 1; /* one refusal may fail both */
        said(status[lacked], vox_stream_message(pair[lacked]));
        n_open = 0;
        for (int i = 0; i < 2; i++) {
            CHECK(status[i] == VOX_SLOT || status[i] == VOX_DONE || status[i] == VOX_ERR_MEMORY);
            if (status[i] == VOX_SLOT) take(pair[i], r + 1 + i, 1);
            n_open += status[i] != VOX_DONE;
        }
    }
    vox_stream_close(pair[0]);
    vox_stream_close(pair[1]);
    vox_model_close(m);
}

/* From now on the at-th request is refused. */
static void refuse(long at) {
    atomic_store(&n_asked, 0);
    atomic_store(&refused_at, at);
}

/* The ring alone, at every place: it says so, and what it has stays. */
static void test_ring(void) {
    enum { WINDOW = 200, WIDTH = 8 };
    kv_ring kv, copy;
    refuse(0);
    CHECK(kv_init(&kv, 1, 1, 4, WINDOW, WIDTH, sizeof(float)) == -1);
    kv_free(&kv);
    CHECK(kv_init(&kv, 1, 1, 4, WINDOW, WIDTH, sizeof(float)) == 0);
    CHECK(kv_init(&copy, 1, 1, 4, WINDOW, WIDTH, sizeof(float)) == 0);
    kv_reset(&kv, 0);
    for (long at = 0; at < 4; at++) { /* two requests for a page */
        refuse(at % 2);
        CHECK(kv_reserve(&kv, KV_PAGE + 1) == -1 && kv.end == 0);
        CHECK(kv_bytes(&kv) == (at < 2 ? 0 : KV_PAGE * 2 * 4 * sizeof(float)));
        refuse(0);
        CHECK(kv_restore(&copy, 0, 1) == -1);
        if (at == 1) CHECK(kv_reserve(&kv, 1) == 0);
    }
    CHECK(kv_reserve(&kv, KV_PAGE + 1) == 0);
    kv_free(&copy);
    kv_free(&kv);
    CHECK(atomic_load(&n_held) == 0);
    refuse(-1);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    test_ring();
    atomic_store(&n_asked, 0);
    const char *path = argv[1];
    int step = atoi(argv[2]), n_refused = 0, n_said = 0;
    for (int i = 0; i < N_SAMPLES; i++) samples[i] = (float)(i * 7919 % 1009 - 504) / 2000;
    result expected[N_RESULTS], r[N_RESULTS];
    everything(path, expected);
    CHECK(expected[0].n > 50 && expected[2].n > 20 && n_failures == 0 && atomic_load(&n_held) == 0);
    long n = atomic_load(&n_asked);
    CHECK(n > 100);
    for (long at = 0; at < n; at += step)
        for (int all = 0; all < 2; all++) {
            atomic_store(&n_asked, 0);
            atomic_store(&until_return, all);
            atomic_store(&refused_at, at);
            n_failures = 0;
            everything(path, r);
            CHECK(memcmp(r, expected, sizeof r) == 0);
            CHECK(atomic_load(&n_held) == 0);
            n_refused++;
            n_said += n_failures;
        }
    printf("%ld requests; of %d refusals %d were told, the others did no harm\n", n, n_refused,
           n_said);
    CHECK(n_said > n_refused / 2);
    return 0;
}
