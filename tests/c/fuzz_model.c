/* fuzz_model.c - any bytes as a model file: the loader must refuse them with a message or give a
 * model that can run. */
#include <stdio.h>

#include "check.h"
#include "fuzz.h"
#include "platform.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40], message[200] = "";
    snprintf(path, sizeof path, "fuzz_model_%d.tmp", platform_process());
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    vox_model *m;
    vox_model_params params = {.n_threads = 1};
    int status = vox_model_open(path, &params, &m, message, sizeof message);
    CHECK(status == VOX_OK || (!m && *message));
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
