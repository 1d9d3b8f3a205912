/* fuzz_state.c - saved streams that nobody saved: refused with a message, or a stream that is wrong
 * and safe, and that can be saved and loaded again.
 *
 * An input says how one of some real states is changed: which one, whether its sum is made right
 * again, how many bytes go from its end, and then places with what is put there. So few bytes of
 * input reach all of a state, which has a hundred thousand.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fuzz.h"
#include "hash.h"

enum {
    N_STATES = 6,
    N_SUMMED = 56, /* bytes before the sum of a state */
    N_HEADER = N_SUMMED + 8,
    N_NUMBERS = 40 + 24 + 64 + 32, /* options, small and large numbers */
    N_AUDIO = 24000,
    MAX_STEPS = 40,
};

static vox_model *model;
static struct {
    uint8_t *bytes;
    size_t n;
} states[N_STATES];
static float audio[N_AUDIO];

static uint8_t *save(vox_stream *s, size_t *n) {
    int64_t size = vox_stream_save(s, NULL, 0);
    CHECK(size > 0);
    uint8_t *bytes = malloc((size_t)size);
    CHECK(bytes && vox_stream_save(s, bytes, size) == size);
    *n = (size_t)size;
    return bytes;
}

/* At the start; in the middle, with slots waiting; with options; long after windows are full;
 * finished; done. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    model = fuzz_open((*argv)[0]);
    for (int i = 0; i < N_AUDIO; i++) audio[i] = (float)(i * 7919 % 1009 - 504) / 2000;
    for (int i = 0; i < N_STATES; i++) {
        vox_stream_params params = {.batch_ms = i == 1 ? 240 : 0};
        if (i == 2)
            params = (vox_stream_params){.delay_ms = 160,
                                         .pad_guard_ms = 160,
                                         .silence_gate_ms = 1600,
                                         .confidence = 1,
                                         .n_alternatives = 3,
                                         .words = "one\ntwo words\n",
                                         .auto_gain = 1};
        vox_stream *s;
        vox_slot slot;
        CHECK(vox_stream_open(model, &params, &s, NULL, 0) == VOX_OK);
        for (int round = 0; round < (i == 3 ? 4 : i > 0); round++) {
            CHECK(vox_stream_push(s, audio, N_AUDIO) == VOX_OK);
            for (int k = 0; k < (i == 3 ? 1000 : 3); k++) vox_stream_next(s, &slot);
        }
        if (i >= 4) CHECK(vox_stream_finish(s) == VOX_OK);
        while (i == 5 && vox_stream_next(s, &slot) == VOX_SLOT) continue;
        states[i].bytes = save(s, &states[i].n);
        vox_stream_close(s);
    }
    return 0;
}

static void run(vox_stream *s) {
    vox_slot slot;
    vox_model_info info;
    CHECK(vox_model_describe(model, &info) == VOX_OK);
    vox_stream_push(s, audio, 2000); /* refused if it is finished */
    for (int i = 0; i < MAX_STEPS; i++) {
        if (i == MAX_STEPS / 2) vox_stream_finish(s);
        int status = vox_stream_next(s, &slot);
        if (status < 0) CHECK(*vox_stream_message(s));
        if (status == VOX_WAIT && i < MAX_STEPS / 2) i = MAX_STEPS / 2 - 1;
        else if (status != VOX_SLOT) break;
        if (status != VOX_SLOT) continue;
        CHECK(slot.token >= 0 && slot.token < info.n_vocab && slot.n_text < 1000);
        CHECK(slot.n_alternatives >= 0 && slot.n_alternatives <= VOX_MAX_ALTERNATIVES);
    }
    CHECK(vox_stream_pending(s) >= 0 && vox_stream_memory(s) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_bytes in = {data, data + size};
    unsigned which = fuzz_byte(&in), kind = fuzz_byte(&in);
    size_t n = states[which % N_STATES].n;
    uint8_t *bytes = malloc(n);
    CHECK(bytes);
    memcpy(bytes, states[which % N_STATES].bytes, n);
    if (kind & 2) n -= fuzz_number(&in) % (n + 1);
    while (in.at < in.end && n > 0) {
        /* Half of all changes are where the numbers are. */
        uint32_t place = fuzz_number(&in);
        size_t at = place & 1 ? (place >> 1) % n : (place >> 1) % (N_HEADER + N_NUMBERS) % n;
        bytes[at] = (uint8_t)fuzz_byte(&in);
    }
    if (!(kind & 1) && n >= N_HEADER) {
        uint64_t n_bytes = n;
        memcpy(bytes, states[0].bytes, N_SUMMED - 8); /* of this model, version and build */
        memcpy(bytes + N_SUMMED - 8, &n_bytes, 8);
        uint64_t sum = hash_bytes(hash_bytes(0, bytes, N_SUMMED), bytes + N_HEADER, n - N_HEADER);
        memcpy(bytes + N_SUMMED, &sum, 8);
    }
    vox_stream *s, *again;
    char message[200] = "";
    int status = vox_stream_load(model, bytes, n, &s, message, sizeof message);
    if (status != VOX_OK) {
        CHECK(status == VOX_ERR_FORMAT && !s && *message);
    } else {
        size_t n_saved;
        uint8_t *saved = save(s, &n_saved);
        CHECK(vox_stream_load(model, saved, n_saved, &again, NULL, 0) == VOX_OK);
        size_t n_second;
        uint8_t *second = save(again, &n_second);
        CHECK(n_saved == n_second && memcmp(saved, second, n_saved) == 0);
        free(saved);
        free(second);
        vox_stream_close(again);
        run(s);
        vox_stream_close(s);
    }
    free(bytes);
    return 0;
}
