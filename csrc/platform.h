/* platform.h - all operating-system calls of the core: map a file read-only, count processors, ask
 * for huge pages.
 * Nothing else in csrc includes a system header beyond C11's.
 */
#ifndef VOXTRAL_PLATFORM_H
#define VOXTRAL_PLATFORM_H

#include <stddef.h>

typedef struct {
    const unsigned char *data; /* [size]; NULL when nothing is mapped */
    size_t size;
} file_map;

/* 0, or an errno value. An empty file maps to data NULL, size 0. */
int platform_map(const char *path, file_map *map);
void platform_unmap(file_map *map);
/* Memory that is read from end to end over and over: it starts on a cache line, and lies in huge
 * pages where the system has them to give, which spares address translation. Not zeroed; free() it.
 * NULL when out of memory. */
void *platform_alloc_large(size_t size);
/* Processors this process may run on, at least 1. */
int platform_n_processors(void);
/* NULL, or the name of an instruction set this build needs and this processor lacks. */
const char *platform_missing_feature(void);

#endif
