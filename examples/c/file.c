/* file.c - the words of a WAV file of 16 bits, 16 kHz, one channel: file MODEL.gguf SOUND.wav */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <voxtral.h>

static int fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return fail(argv[0], "give a model and a WAV file");
    unsigned char head[44];
    FILE *f = fopen(argv[2], "rb");
    if (!f || fread(head, 1, 44, f) != 44 || memcmp(head + 8, "WAVEfmt ", 8) != 0 ||
        memcmp(head + 20, "\1\0\1\0\200\76\0\0", 8) != 0 || memcmp(head + 34, "\20\0data", 6) != 0)
        return fail(argv[2], "no WAV file of 16 bits, 16 kHz and one channel");

    char message[200];
    vox_model *model;
    vox_stream *stream;
    if (vox_model_open(argv[1], NULL, &model, message, sizeof message) != VOX_OK ||
        vox_stream_open(model, NULL, &stream, message, sizeof message) != VOX_OK)
        return fail(argv[1], message);

    unsigned char bytes[2 * 1280];
    float samples[1280];
    int status = VOX_OK;
    for (size_t n; status == VOX_OK && (n = fread(bytes, 2, 1280, f)) > 0;) {
        for (size_t i = 0; i < n; i++)
            samples[i] = (float)(int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8) / 32768;
        status = vox_stream_push(stream, samples, n);
    }
    vox_stream_finish(stream);
    for (vox_slot slot; (status = vox_stream_next(stream, &slot)) == VOX_SLOT;)
        fwrite(slot.text, 1, slot.n_text, stdout);
    putchar('\n');
    if (status != VOX_DONE) fail(argv[2], vox_stream_message(stream));
    vox_stream_close(stream);
    vox_model_close(model);
    return status != VOX_DONE;
}
