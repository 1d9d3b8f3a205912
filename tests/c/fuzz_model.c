/* fuzz_model.c - any bytes as a model file: the loader must refuse them with a message or give a
 * model that can run. With VOXTRAL_FUZZ a libFuzzer target, else a program that takes files, so
 * that kept seeds run as a test. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"
#include "voxtral.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40], message[200] = "";
    snprintf(path, sizeof path, "fuzz_model_%d.tmp", platform_process());
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0) abort();
    vox_model *m;
    vox_model_params params = {.n_threads = 1};
    int status = vox_model_open(path, &params, &m, message, sizeof message);
    if (status != VOX_OK && (m || !*message)) abort();
    if (status == VOX_OK) {
        vox_stream *s;
        vox_slot slot;
        if (vox_stream_open(m, NULL, &s, message, sizeof message) == VOX_OK) {
            vox_stream_finish(s);
            for (int i = 0; i < 3 && vox_stream_next(s, &slot) == VOX_SLOT;) i++;
            vox_stream_close(s);
        }
        vox_model_close(m);
    }
    remove(path);
    return 0;
}

#ifndef VOXTRAL_FUZZ
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) return 1;
        static uint8_t data[1 << 24];
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, n);
    }
    return 0;
}
#endif
