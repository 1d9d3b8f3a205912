/* fuzz_open.c - see fuzz.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fuzz.h"

vox_model *fuzz_open(const char *program) {
    static const char name[] = "fuzz.gguf";
    size_t n = strlen(program);
    while (n > 0 && !strchr("/\\", program[n - 1])) n--;
    char *path = malloc(n + sizeof name), message[200];
    CHECK(path);
    memcpy(path, program, n);
    memcpy(path + n, name, sizeof name);
    vox_model *model;
    vox_model_params one = {.n_threads = 1};
    if (vox_model_open(path, &one, &model, message, sizeof message) != VOX_OK) {
        fprintf(stderr, "%s: %s\n", path, message);
        exit(1);
    }
    free(path);
    return model;
}
