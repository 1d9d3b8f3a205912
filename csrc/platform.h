/* platform.h - all operating-system calls of the core: map a file read-only, count processors,
 * read the clock, threads and locks.
 * Nothing else in csrc includes a system header beyond C11's.
 */
#ifndef VOXTRAL_PLATFORM_H
#define VOXTRAL_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const unsigned char *data; /* [size]; NULL when nothing is mapped */
    size_t size;
} file_map;

/* 0, or an errno value. An empty file maps to data NULL, size 0. */
int platform_map(const char *path, file_map *map);
void platform_unmap(file_map *map);
/* Processors this process may run on, at least 1. */
int platform_n_processors(void);
/* Nanoseconds of a clock that never runs backwards. */
int64_t platform_clock_ns(void);
/* Whether n threads can be started beside those that run now: tried, and ended again. */
int platform_can_start(int n);
/* A lock that lets threads in in the order in which they came, so that one that is busy without
 * pause starves no other. NULL when out of memory. */
typedef struct platform_lock platform_lock;
platform_lock *platform_lock_new(void);
void platform_lock_free(platform_lock *lock); /* NULL is fine */
void platform_lock_enter(platform_lock *lock);
void platform_lock_leave(platform_lock *lock);
/* NULL, or the name of an instruction set this build needs and this processor lacks. */
const char *platform_missing_feature(void);

#endif
