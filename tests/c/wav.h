/* wav.h - the samples of a recording whose header is 44 bytes: 16 kHz, mono, 16 bits. */
#ifndef WAV_H
#define WAV_H

#include <stdint.h>
#include <string.h>

#include "check.h"

/* [*n], the caller's to free. */
static inline float *read_wav(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    CHECK(f);
    unsigned char header[44];
    CHECK(fread(header, 1, 44, f) == 44 && memcmp(header + 36, "data", 4) == 0);
    size_t n_bytes = header[40] | (size_t)header[41] << 8 | (size_t)header[42] << 16;
    int16_t *pcm = malloc(n_bytes);
    float *samples = malloc(n_bytes / 2 * sizeof *samples);
    CHECK(pcm && samples && fread(pcm, 1, n_bytes, f) == n_bytes);
    fclose(f);
    *n = n_bytes / 2;
    for (size_t i = 0; i < *n; i++) samples[i] = (float)pcm[i] / 32768;
    free(pcm);
    return samples;
}

#endif
