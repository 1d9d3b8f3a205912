/* platform.h - all operating-system calls of the core: map a file read-only, count processors, read
 * the clock, threads and locks, ask for huge pages. Nothing else in csrc includes a system header
 * beyond C11's. What POSIX has is in platform_posix.c, the rest in one file per system.
 */
#ifndef VOXTRAL_PLATFORM_H
#define VOXTRAL_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const unsigned char *data; /* [size]; NULL when nothing is mapped */
    size_t size;
} file_map;

/* 0, or an errno value. An empty file maps to data NULL, size 0; others begin on a page. The path
 * is what open() takes, and UTF-8 on Windows. */
int platform_map(const char *path, file_map *map);
void platform_unmap(file_map *map);
/* Memory that is read from end to end over and over: it starts on a cache line, and lies in huge
 * pages where the system has them to give, which spares address translation. Not zeroed. NULL when
 * out of memory. */
void *platform_alloc_large(size_t size);
void platform_free_large(void *data); /* NULL is fine */
/* The pages of this part of a map will not be read soon: they need no memory until then. */
void platform_forget(const void *data, size_t size);

/* Processors that this process may keep busy, at least 1: those it may run on, but no more than its
 * control groups give it time for, which *quota (may be NULL) says, in processors; 0: no limit. */
int platform_n_processors(double *quota);
#if defined(__linux__)
/* That quota, with the two folders named. */
double platform_cpu_quota(const char *proc, const char *groups);
#endif
#if defined(__x86_64__) && defined(__linux__)
/* Whether the system lets this process use the tile registers of AMX: it must be asked first. */
int platform_may_use_tiles(void);
#elif defined(__x86_64__)
static inline int platform_may_use_tiles(void) {
    return 0; /* how others are asked is not known */
}
#elif defined(__aarch64__)
/* What this processor has beyond the first ones of ARM's 64 bits, as a sum. */
enum { ARM_DOTPROD = 1, ARM_I8MM = 2 };
int platform_arm_features(void);
#endif
/* A number that this process has and no other: one that it forks has another. Above 0. */
int platform_process(void);
/* Nanoseconds of a clock that never runs backwards. */
int64_t platform_clock_ns(void);

/* A thread; a mutex; and an event that those who hold the mutex wait for and wake. */
typedef struct {
    _Alignas(16) unsigned char opaque[64];
} platform_thread, platform_mutex, platform_event;
/* 0, or -1: not now. The thread stays where it is in memory until it is joined. */
int platform_thread_start(platform_thread *thread, void *(*run)(void *), void *user);
void platform_thread_join(platform_thread *thread);
void platform_yield(void); /* let another thread have the processor */
void platform_mutex_init(platform_mutex *mutex);
void platform_mutex_free(platform_mutex *mutex);
void platform_mutex_lock(platform_mutex *mutex);
void platform_mutex_unlock(platform_mutex *mutex);
void platform_event_init(platform_event *event);
void platform_event_free(platform_event *event);
/* Let go of the mutex until the event is woken, or ns are over (< 0: never), or for no reason. */
void platform_event_wait(platform_event *event, platform_mutex *mutex, int64_t ns);
void platform_event_wake(platform_event *event); /* one of those who wait for it, if any */
void platform_event_wake_all(platform_event *event);

#endif
