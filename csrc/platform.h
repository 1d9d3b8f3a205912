/* platform.h - all operating-system calls of the core: map a file read-only, count processors,
 * read the clock.
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
/* NULL, or the name of an instruction set this build needs and this processor lacks. */
const char *platform_missing_feature(void);

#endif
