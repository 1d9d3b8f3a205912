/* fuzz_stream.c - any order of pushes, nexts, copies, saves, passes of two streams and resets: the
 * slots are those of a stream that got all of the audio at once.
 *
 * An input is the options, what the audio is made of, and then one byte for each call.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fuzz.h"

enum { MAX_SAMPLES = 60000, MAX_SLOTS = 128, MAX_CALLS = 64 };

static vox_model *model;

typedef struct {
    vox_slot slots[MAX_SLOTS]; /* their pointers are not looked at */
    int n;
    char text[8192];
    size_t n_text;
} result;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    model = fuzz_open((*argv)[0]);
    return 0;
}

/* Stretches of digital silence, noise and near silence, long ones for the gate among them. */
static float sample(unsigned seed, int i) {
    unsigned stretch = (unsigned)(i / (seed & 8 ? 30000 : 6000)),
             kind = (seed >> 2 * (stretch % 3)) & 3;
    unsigned noise = ((unsigned)i + seed) * 2654435761u;
    float value = (float)(noise >> 8) / 8388608.0f - 1;
    return kind == 0 ? 0 : kind == 1 ? value * 1e-5f : kind == 2 ? value * 0.3f : value;
}

static void take(vox_stream *s, result *r, int most) {
    vox_slot slot;
    for (int i = 0; i < most; i++) {
        int status = vox_stream_next(s, &slot);
        if (status != VOX_SLOT) {
            CHECK((status == VOX_WAIT || status == VOX_DONE) && slot.index == -1);
            return;
        }
        CHECK(r->n < MAX_SLOTS && slot.index == r->n && slot.n_text <= sizeof r->text - r->n_text);
        r->slots[r->n++] = slot;
        memcpy(r->text + r->n_text, slot.text, slot.n_text);
        r->n_text += slot.n_text;
    }
}

static vox_stream *open_stream(const vox_stream_params *params) {
    vox_stream *s;
    CHECK(vox_stream_open(model, params, &s, NULL, 0) == VOX_OK);
    return s;
}

static vox_stream *through_bytes(vox_stream *s) {
    int64_t n = vox_stream_save(s, NULL, 0);
    CHECK(n > 0);
    void *bytes = malloc((size_t)n);
    vox_stream *loaded;
    CHECK(bytes && vox_stream_save(s, bytes, n) == n);
    CHECK(vox_stream_load(model, bytes, (size_t)n, &loaded, NULL, 0) == VOX_OK);
    CHECK(vox_stream_pending(loaded) == vox_stream_pending(s));
    free(bytes);
    vox_stream_close(s);
    return loaded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int lengths[] = {0,    1,    39,   40,   159,  160,  1279,  1280,
                                  1281, 2559, 2561, 3001, 5000, 7777, 12800, 25000};
    static float audio[MAX_SAMPLES];
    static result r, whole;
    fuzz_bytes in = {data, data + size};
    unsigned options = fuzz_byte(&in), more = fuzz_byte(&in), seed = fuzz_byte(&in);
    vox_stream_params params = {
        .delay_ms = 80 * (int)(1 + more % 8),
        .batch_ms = 80 * (int)(options & 15),
        .pad_guard_ms = options & 16 ? 160 : 0,
        .silence_gate_ms = options & 32 ? 1600 : 0,
        .confidence = options & 64 ? 1 : 0,
        .n_alternatives = options & 128 ? 2 : 0,
        .background = more & 8 ? 1 : 0,
        .words = more & 16 ? "a\nab\nword\n" : NULL,
        .words_bonus = more & 32 ? 4 : 0,
        .auto_gain = more & 64 ? 1 : 0,
        .gain_db = (more & 192) == 128 ? 20 : 0,
    };
    for (int i = 0; i < MAX_SAMPLES; i++) audio[i] = sample(seed, i);
    vox_stream *s = open_stream(&params), *other = open_stream(NULL), *copy;
    int n = 0;
    r.n = 0, r.n_text = 0;
    CHECK(vox_stream_push(other, audio, 20000) == VOX_OK);
    for (int calls = 0; calls < MAX_CALLS && in.at < in.end; calls++) {
        unsigned call = fuzz_byte(&in), argument = call >> 3;
        int length =
            lengths[argument % 16] < MAX_SAMPLES - n ? lengths[argument % 16] : MAX_SAMPLES - n;
        switch (call & 7) {
        case 0:
        case 1:
        case 2:
            CHECK(vox_stream_push(s, audio + n, (size_t)length) == VOX_OK);
            n += length;
            break;
        case 3: take(s, &r, (int)argument + 1); break;
        case 4:
            CHECK(vox_stream_copy(s, &copy) == VOX_OK);
            if (argument & 1) { /* which one lives on */
                vox_stream *old = s;
                s = copy;
                copy = old;
            }
            if (argument & 2) CHECK(vox_stream_finish(copy) == VOX_OK);
            if (argument & 4) {
                static result unused;
                unused.n = r.n, unused.n_text = 0;
                take(copy, &unused, 5);
            }
            vox_stream_close(copy);
            break;
        case 5: s = through_bytes(s); break;
        case 6: {
            int32_t status[2];
            CHECK(vox_streams_advance((vox_stream *[]){s, other}, 2, status) == VOX_OK);
            CHECK(status[0] == VOX_SLOT || status[0] == VOX_WAIT);
            vox_slot slot;
            if (argument & 1 && status[1] == VOX_SLOT)
                CHECK(vox_stream_next(other, &slot) == VOX_SLOT);
            break;
        }
        case 7:
            CHECK(vox_stream_reset(s) == VOX_OK);
            n = 0, r.n = 0, r.n_text = 0;
            break;
        }
    }
    CHECK(vox_stream_finish(s) == VOX_OK);
    take(s, &r, MAX_SLOTS);
    CHECK(r.n == (n + 1279) / 1280 + 10);
    vox_stream_close(s);
    vox_stream_close(other);

    s = open_stream(&params);
    whole.n = 0, whole.n_text = 0;
    CHECK(vox_stream_push(s, audio, (size_t)n) == VOX_OK && vox_stream_finish(s) == VOX_OK);
    take(s, &whole, MAX_SLOTS);
    vox_stream_close(s);
    CHECK(whole.n == r.n && whole.n_text == r.n_text && memcmp(whole.text, r.text, r.n_text) == 0);
    for (int i = 0; i < r.n; i++) {
        const vox_slot *a = &r.slots[i], *b = &whole.slots[i];
        CHECK(a->token == b->token && a->confidence == b->confidence);
        CHECK(a->n_alternatives == b->n_alternatives && a->n_text == b->n_text);
        CHECK(a->turn == b->turn && memcmp(a->turns, b->turns, sizeof a->turns) == 0);
    }
    return 0;
}
