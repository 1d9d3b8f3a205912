/* replay.c - a fuzz target without a fuzzer: each file named is one input. */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "fuzz.h"

int main(int argc, char **argv) {
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        CHECK(f && fseek(f, 0, SEEK_END) == 0);
        long n = ftell(f);
        uint8_t *data = malloc((size_t)n + 1);
        rewind(f);
        CHECK(n >= 0 && data && fread(data, 1, (size_t)n, f) == (size_t)n);
        fclose(f);
        LLVMFuzzerTestOneInput(data, (size_t)n);
        free(data);
    }
    return 0;
}
