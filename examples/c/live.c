/* live.c - words as they are spoken: raw samples of 16 bits, 16 kHz, one channel come through a
 * pipe: arecord -q -t raw -f S16_LE -r 16000 | live MODEL.gguf */
#include <stdint.h>
#include <stdio.h>
#include <voxtral.h>

/* Say what can be said by now; the status that ended it. */
static int say(vox_stream *stream) {
    vox_slot slot;
    int status;
    while ((status = vox_stream_next(stream, &slot)) == VOX_SLOT)
        fwrite(slot.text, 1, slot.n_text, stdout);
    fflush(stdout);
    return status;
}

int main(int argc, char **argv) {
    char message[200] = "give a model";
    vox_model *model = NULL;
    vox_stream *stream;
    if (argc != 2 || vox_model_open(argv[1], NULL, &model, message, sizeof message) != VOX_OK ||
        vox_stream_open(model, NULL, &stream, message, sizeof message) != VOX_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], message);
        return 1;
    }
    unsigned char bytes[2 * 1280]; /* 80 ms, as long as one slot */
    float samples[1280];
    int status = VOX_WAIT;
    for (size_t n; status == VOX_WAIT && (n = fread(bytes, 2, 1280, stdin)) > 0;) {
        for (size_t i = 0; i < n; i++)
            samples[i] = (float)(int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8) / 32768;
        if ((status = vox_stream_push(stream, samples, n)) == VOX_OK) status = say(stream);
    }
    if (status == VOX_WAIT && vox_stream_finish(stream) == VOX_OK) status = say(stream);
    putchar('\n');
    if (status != VOX_DONE) fprintf(stderr, "%s\n", vox_stream_message(stream));
    vox_stream_close(stream);
    vox_model_close(model);
    return status != VOX_DONE;
}
