/* pool.c - see pool.h. */
#include "pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "platform.h"

typedef struct {
    pool *p;
    int ith;
    platform_thread thread;
} member;

struct pool {
    int n;       /* threads that work; members[0] is the caller and has no thread */
    int n_asked; /* for */
    int process;
    member *members;
    platform_mutex mutex;
    platform_event wake;
    unsigned n_works; /* given out so far */
    int is_closing;
    void (*work)(int ith, int nth, void *user);
    void *user;
    /* In lines of their own: all threads write the one and look at the other. */
    _Alignas(64) atomic_int n_met;
    _Alignas(64) atomic_uint n_meetings;
};

/* Waiting threads yield now and then: when another process has the processor that the last of them
 * needs, the others would burn whole time slices. On a busy two-core machine two threads were fifty
 * times slower than one. Yielding on every 128th pause costs nothing when all run. */
static void pause_or_yield(unsigned i) {
    if (i % 128 == 0) platform_yield();
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#elif defined(__aarch64__)
    else __asm__ __volatile__("yield");
#endif
}

void pool_meet(pool *p) {
    if (p->n == 1) return;
    unsigned meeting = atomic_load_explicit(&p->n_meetings, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->n_met, 1, memory_order_acq_rel) == p->n - 1) {
        atomic_store_explicit(&p->n_met, 0, memory_order_relaxed);
        atomic_store_explicit(&p->n_meetings, meeting + 1, memory_order_release);
        return;
    }
    for (unsigned i = 1; atomic_load_explicit(&p->n_meetings, memory_order_acquire) == meeting; i++)
        pause_or_yield(i);
}

static void *serve(void *user) {
    const member *m = user;
    pool *p = m->p;
    for (unsigned n_seen = 0;; pool_meet(p)) {
        platform_mutex_lock(&p->mutex);
        while (p->n_works == n_seen && !p->is_closing) platform_event_wait(&p->wake, &p->mutex, -1);
        n_seen = p->n_works;
        int is_closing = p->is_closing;
        platform_mutex_unlock(&p->mutex);
        if (is_closing) return NULL;
        p->work(m->ith, p->n, p->user);
    }
}

/* Start as many of the threads asked for as can be. They look at n only once there is work. */
static void start(pool *p) {
    p->process = platform_process();
    platform_mutex_init(&p->mutex);
    platform_event_init(&p->wake);
    p->n_works = 0;
    atomic_init(&p->n_met, 0);
    atomic_init(&p->n_meetings, 0);
    for (p->n = 1; p->n < p->n_asked; p->n++) {
        member *m = &p->members[p->n];
        *m = (member){.p = p, .ith = p->n};
        if (platform_thread_start(&m->thread, serve, m) != 0) break;
    }
}

pool *pool_open(int n) {
    pool *p = platform_alloc_large(sizeof *p); /* its lines are its own */
    if (!p) return NULL;
    *p = (pool){.n_asked = n, .members = calloc((size_t)n, sizeof *p->members)};
    if (p->members) start(p);
    if (p->members && p->n == n) return p;
    pool_close(p);
    return NULL;
}

void pool_close(pool *p) {
    if (!p) return;
    if (p->process == platform_process()) {
        platform_mutex_lock(&p->mutex);
        p->is_closing = 1;
        platform_event_wake_all(&p->wake);
        platform_mutex_unlock(&p->mutex);
        for (int i = 1; i < p->n; i++) platform_thread_join(&p->members[i].thread);
        platform_event_free(&p->wake);
        platform_mutex_free(&p->mutex);
    }
    free(p->members);
    platform_free_large(p);
}

int pool_size(const pool *p) {
    return p->n;
}

void pool_run(pool *p, void (*work)(int ith, int nth, void *user), void *user) {
    if (p->process != platform_process()) start(p);
    p->work = work;
    p->user = user;
    if (p->n > 1) {
        platform_mutex_lock(&p->mutex);
        p->n_works++;
        platform_event_wake_all(&p->wake);
        platform_mutex_unlock(&p->mutex);
    }
    work(0, p->n, user);
    pool_meet(p);
}
