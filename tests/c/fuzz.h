/* fuzz.h - what all fuzz targets share: the two functions of libFuzzer that they are. replay.c
 * calls the same two for files, where there is no fuzzer.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "voxtral.h"

/* Once, before the first input; of argv, argv[0] is looked at. 0. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
/* data [size]: any bytes. 0; what is wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The small model that lies beside the program, on one thread. */
vox_model *fuzz_open(const char *program);

/* Bytes of an input, taken from the front; 0 once there are none. */
typedef struct {
    const uint8_t *at, *end;
} fuzz_bytes;

static inline unsigned fuzz_byte(fuzz_bytes *b) {
    return b->at < b->end ? *b->at++ : 0;
}

static inline uint32_t fuzz_number(fuzz_bytes *b) {
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) n |= (uint32_t)fuzz_byte(b) << 8 * i;
    return n;
}

#endif
