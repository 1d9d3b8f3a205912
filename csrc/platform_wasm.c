/* platform_wasm.c - the side of platform.h that is WebAssembly: a module in a page or in node,
 * which has no files, one memory, and the threads that it is lent (web.h), if it is built for them.
 */
#include "platform.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "web.h"

enum { PAGE = 65536 };        /* bytes */
static file_map given, spare; /* spare: what no model has any more */

/* Memory is grown for a file, as malloc gives no 2 GiB. */
void *web_give_file(size_t size) {
    platform_unmap(&given);
    size_t n_pages = size / PAGE + (size % PAGE > 0), at = SIZE_MAX;
    if (n_pages <= spare.size / PAGE + (spare.size % PAGE > 0)) {
        given = (file_map){spare.data, size};
        spare = (file_map){0};
    } else if ((at = __builtin_wasm_memory_grow(0, n_pages)) != SIZE_MAX) {
        given = (file_map){(const void *)(at * PAGE), size};
    }
    return (void *)given.data;
}

/* Whatever the path: what was given last. */
int platform_map(const char *path, file_map *map) {
    (void)path;
    *map = given;
    given = (file_map){0};
    return map->data || map->size == 0 ? 0 : ENOMEM;
}

void platform_unmap(file_map *map) {
    if (map->size > spare.size) spare = *map;
    *map = (file_map){0};
}

void platform_forget(const void *data, size_t size) {
    (void)data;
    (void)size;
}

void *platform_alloc_large(size_t size) {
    enum { LINE = 64 }; /* bytes */
    void *data;
    return posix_memalign(&data, LINE, size) == 0 ? data : NULL;
}

void platform_free_large(void *data) {
    free(data);
}

int platform_process(void) {
    return 1;
}

int64_t platform_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#if defined(__wasm_atomics__)

/* A thread that was lent waits here for something to run. */
enum { MOST_LENT = 255, IDLE = 0, RUNNING, DONE };
typedef struct {
    atomic_int state;
    void *(*run)(void *);
    void *user;
} lent_thread;
static lent_thread lent[MOST_LENT];
static atomic_int n_lent;

/* Until *at is no longer value, or it is woken, or ns are over (< 0: never). */
static void wait_at(atomic_int *at, int value, int64_t ns) {
    __builtin_wasm_memory_atomic_wait32((int *)(void *)at, value, ns);
}

static void wake_at(atomic_int *at, unsigned n) {
    __builtin_wasm_memory_atomic_notify((int *)(void *)at, n);
}

static void set(lent_thread *thread, int state) {
    atomic_store(&thread->state, state);
    wake_at(&thread->state, 1);
}

void web_serve_thread(void) {
    lent_thread *me = &lent[atomic_fetch_add(&n_lent, 1)];
    for (;;) {
        for (int state; (state = atomic_load(&me->state)) != RUNNING;)
            wait_at(&me->state, state, -1);
        me->run(me->user);
        set(me, DONE);
    }
}

int web_n_threads(void) {
    return 1 + atomic_load(&n_lent);
}

int platform_n_processors(double *quota) {
    if (quota) *quota = 0;
    return web_n_threads();
}

static lent_thread **thread_of(platform_thread *thread) {
    return (lent_thread **)(void *)thread->opaque;
}

/* Only the module's first thread starts others. */
int platform_thread_start(platform_thread *thread, void *(*run)(void *), void *user) {
    for (int i = 0; i < atomic_load(&n_lent); i++) {
        if (atomic_load(&lent[i].state) != IDLE) continue;
        *thread_of(thread) = &lent[i];
        lent[i].run = run;
        lent[i].user = user;
        set(&lent[i], RUNNING);
        return 0;
    }
    return -1;
}

void platform_thread_join(platform_thread *thread) {
    lent_thread *it = *thread_of(thread);
    while (atomic_load(&it->state) != DONE) wait_at(&it->state, RUNNING, -1);
    set(it, IDLE);
}

/* There is nothing of the kind. Who has asked for it in vain for some microseconds sleeps. */
void platform_yield(void) {
    enum { PATIENCE = 64, SLEEP_NS = 50000 };
    static _Thread_local unsigned n_asked;
    static atomic_int nothing;
    if (++n_asked % PATIENCE == 0) wait_at(&nothing, 0, SLEEP_NS);
}

/* An int: 0 open, 1 held, 2 held and waited for. */
static atomic_int *int_of(void *opaque) {
    return (atomic_int *)opaque;
}

void platform_mutex_lock(platform_mutex *mutex) {
    atomic_int *at = int_of(mutex->opaque);
    int was = 0;
    if (atomic_compare_exchange_strong(at, &was, 1)) return;
    while (atomic_exchange(at, 2) != 0) wait_at(at, 2, -1);
}

void platform_mutex_unlock(platform_mutex *mutex) {
    atomic_int *at = int_of(mutex->opaque);
    if (atomic_exchange(at, 0) == 2) wake_at(at, 1);
}

/* An int that counts how often it was woken. */
void platform_event_wait(platform_event *event, platform_mutex *mutex, int64_t ns) {
    atomic_int *at = int_of(event->opaque);
    int n_woken = atomic_load(at);
    platform_mutex_unlock(mutex);
    wait_at(at, n_woken, ns);
    platform_mutex_lock(mutex);
}

static void wake(platform_event *event, unsigned n) {
    atomic_fetch_add(int_of(event->opaque), 1);
    wake_at(int_of(event->opaque), n);
}

void platform_event_wake(platform_event *event) {
    wake(event, 1);
}

void platform_event_wake_all(platform_event *event) {
    wake(event, UINT32_MAX);
}

void platform_mutex_init(platform_mutex *mutex) {
    atomic_init(int_of(mutex->opaque), 0);
}

void platform_event_init(platform_event *event) {
    atomic_init(int_of(event->opaque), 0);
}

#else /* one thread */

int platform_n_processors(double *quota) {
    if (quota) *quota = 0;
    return 1;
}

int platform_thread_start(platform_thread *thread, void *(*run)(void *), void *user) {
    (void)thread;
    (void)run;
    (void)user;
    return -1;
}

void platform_thread_join(platform_thread *thread) {
    (void)thread;
}

void platform_yield(void) {
}

void platform_mutex_init(platform_mutex *mutex) {
    (void)mutex;
}

void platform_mutex_lock(platform_mutex *mutex) {
    (void)mutex;
}

void platform_mutex_unlock(platform_mutex *mutex) {
    (void)mutex;
}

void platform_event_init(platform_event *event) {
    (void)event;
}

void platform_event_wait(platform_event *event, platform_mutex *mutex, int64_t ns) {
    (void)event;
    (void)mutex;
    (void)ns;
}

void platform_event_wake(platform_event *event) {
    (void)event;
}

void platform_event_wake_all(platform_event *event) {
    (void)event;
}

#endif

void platform_mutex_free(platform_mutex *mutex) {
    (void)mutex;
}

void platform_event_free(platform_event *event) {
    (void)event;
}
