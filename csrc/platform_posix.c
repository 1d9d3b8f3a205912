/* platform_posix.c - what POSIX has of platform.h; the rest is in the file of each system. */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

/* ---- files and memory ----------------------------------------------------------------------- */

int platform_map(const char *path, file_map *map) {
    *map = (file_map){0};
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe has nobody to wait for */
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return errno;
    struct stat st;
    int error = 0;
    if (fstat(fd, &st) != 0) {
        error = errno;
    } else if (S_ISDIR(st.st_mode)) {
        error = EISDIR;
    } else if (!S_ISREG(st.st_mode)) {
        error = EINVAL;
    } else if ((uint64_t)st.st_size > SIZE_MAX) {
        error = EFBIG;
    } else if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) error = errno;
        else *map = (file_map){data, (size_t)st.st_size};
#if defined(MADV_HUGEPAGE)
        /* A wish: where a file is read into huge pages, that goes several times faster too. */
        if (!error) madvise(data, map->size, MADV_HUGEPAGE);
#endif
    }
    close(fd);
    return error;
}

void platform_unmap(file_map *map) {
    if (map->data) munmap((void *)map->data, map->size);
    *map = (file_map){0};
}

void platform_forget(const void *data, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data;
    uintptr_t first = (begin + page - 1) / page * page, last = (begin + size) / page * page;
    if (first < last) madvise((void *)first, last - first, MADV_DONTNEED); /* a wish */
}

void *platform_alloc_large(size_t size) {
    enum { LINE = 64, HUGE = 2 << 20 }; /* bytes; huge pages of x86-64 */
    void *data;
    if (posix_memalign(&data, size < HUGE ? LINE : HUGE, size) != 0) return NULL;
#if defined(MADV_HUGEPAGE)
    /* A wish: where it is not granted, small pages do. The last, partly used page stays small. */
    if (size >= HUGE) madvise(data, size, MADV_HUGEPAGE);
#endif
    return data;
}

void platform_free_large(void *data) {
    free(data);
}

/* ---- processes and time --------------------------------------------------------------------- */

int platform_process(void) {
    return (int)getpid();
}

int64_t platform_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- threads -------------------------------------------------------------------------------- */

static_assert(sizeof(pthread_mutex_t) <= sizeof(platform_mutex), "room for a mutex");
static_assert(sizeof(pthread_cond_t) <= sizeof(platform_event), "room for a condition");
static_assert(sizeof(pthread_t) <= sizeof(platform_thread), "room for a thread");

static pthread_mutex_t *mutex_of(platform_mutex *mutex) {
    return (pthread_mutex_t *)(void *)mutex->opaque;
}

static pthread_cond_t *condition_of(platform_event *event) {
    return (pthread_cond_t *)(void *)event->opaque;
}

static pthread_t *thread_of(platform_thread *thread) {
    return (pthread_t *)(void *)thread->opaque;
}

/* Some systems give threads little room by default, and musl hardly any. */
int platform_thread_start(platform_thread *thread, void *(*run)(void *), void *user) {
    enum { STACK_BYTES = 1 << 20 };
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int error = pthread_create(thread_of(thread), &attributes, run, user);
    pthread_attr_destroy(&attributes);
    return error == 0 ? 0 : -1;
}

void platform_thread_join(platform_thread *thread) {
    pthread_join(*thread_of(thread), NULL);
}

void platform_yield(void) {
    sched_yield();
}

void platform_mutex_init(platform_mutex *mutex) {
    pthread_mutex_init(mutex_of(mutex), NULL);
}

void platform_mutex_free(platform_mutex *mutex) {
    pthread_mutex_destroy(mutex_of(mutex));
}

void platform_mutex_lock(platform_mutex *mutex) {
    pthread_mutex_lock(mutex_of(mutex));
}

void platform_mutex_unlock(platform_mutex *mutex) {
    pthread_mutex_unlock(mutex_of(mutex));
}

/* Apple's conditions have no clock of their own, and wait for a time from now on instead. */
void platform_event_init(platform_event *event) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#if !defined(__APPLE__)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(condition_of(event), &attributes);
    pthread_condattr_destroy(&attributes);
}

void platform_event_free(platform_event *event) {
    pthread_cond_destroy(condition_of(event));
}

void platform_event_wait(platform_event *event, platform_mutex *mutex, int64_t ns) {
    if (ns < 0) {
        pthread_cond_wait(condition_of(event), mutex_of(mutex));
        return;
    }
#if defined(__APPLE__)
    struct timespec left = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    pthread_cond_timedwait_relative_np(condition_of(event), mutex_of(mutex), &left);
#else
    int64_t end = platform_clock_ns() + ns;
    struct timespec at = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    pthread_cond_timedwait(condition_of(event), mutex_of(mutex), &at);
#endif
}

void platform_event_wake(platform_event *event) {
    pthread_cond_signal(condition_of(event));
}

void platform_event_wake_all(platform_event *event) {
    pthread_cond_broadcast(condition_of(event));
}
