/* state.c - a stream's state as a whole: copied into another stream, or saved as bytes and loaded.
 *
 * In: a stream that has not failed, at any moment between two calls. Out: another one that gives
 * the same slots from there on. A copy shares the pages of the rings until one of the two writes.
 * Saved are only the facts: what follows from them (bounds, counts of what is held) is computed
 * again, and what only speed depends on (guesses, statistics) begins anew. docs/streaming.md has
 * the format.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "hash.h"
#include "stream.h"

/* ---- copying -------------------------------------------------------------------------------- */

int stream_copy(vox_stream *copy, const vox_stream *s) {
    const char *fault;
    int status = stream_init(copy, s->m, &s->params, &fault);
    if (status != VOX_OK) return status;
    float *samples = malloc((s->n_samples + 1) * sizeof *samples);
    if (!samples) {
        stream_free(copy);
        return VOX_ERR_MEMORY;
    }
    /* All numbers are copied; what is allocated stays the copy's own. */
    vox_stream own = *copy;
    *copy = *s;
    copy->samples = samples;
    copy->first_sample = 0;
    copy->cap_samples = s->n_samples + 1;
    copy->enc_state = own.enc_state;
    copy->dec_state = own.dec_state;
    copy->mel_frames = own.mel_frames;
    copy->audio = own.audio;
    copy->slot_text = own.slot_text;
    copy->watch = own.watch;
    copy->own_engine = NULL;
    copy->request = own.request;
    copy->words.list = words_retain(s->words.list);

    if (s->n_samples > 0)
        memcpy(samples, s->samples + s->first_sample, s->n_samples * sizeof *samples);
    memcpy(copy->audio, s->audio,
           (size_t)(s->slots.n_encoded - s->slots.n_decoded) * (size_t)s->m->dec.dim *
               sizeof *s->audio);
    encoder_state_copy(&copy->enc_state, &s->enc_state, s->m);
    kv_share(&copy->dec_state.kv, &s->dec_state.kv);
    return VOX_OK;
}

/* ---- saving and loading --------------------------------------------------------------------- */

/* Of this package, and which layout of the numbers and arrays: what another one wrote is refused.
 */
#define STATE_VERSION VOXTRAL_VERSION " 3"
static const uint64_t MAGIC = 0x4D41455254584F56u; /* "VOXTREAM" in a little-endian file */

typedef struct {
    uint64_t magic;
    char version[24];                    /* STATE_VERSION, and zeros */
    uint64_t bits, fingerprint, n_bytes; /* of what was computed; of the model; in all */
    uint64_t sum;                        /* of all bytes but these eight */
} state_header;

/* The options but for the words, of which the pointer is another on every machine. */
typedef struct {
    int32_t delay_ms, pad_guard_ms, silence_gate_ms, confidence, n_alternatives, batch_ms,
        background, auto_gain;
    float gain_db, words_bonus;
} state_options;

/* All numbers of a state; arrays follow it. */
typedef struct {
    state_options options;
    int32_t phase, token, n_said, n_text, n_words, place;
    int64_t clock, n_pushed, n_encoded, n_decoded, n_skipped, n_out, n_pads, n_quiet;
    double level, least, least_before; /* of the gain */
    float factor;
    int32_t n_stretch;
} state_numbers;

static_assert(sizeof(state_header) == 8 * 8, "no padding");
static_assert(sizeof STATE_VERSION <= 24, "room for the version");
static_assert(sizeof(state_options) == offsetof(vox_stream_params, words_bonus) + 4, "all of them");
static_assert(sizeof(state_numbers) == sizeof(state_options) + 6 * 4 + 8 * 8 + 4 * 8, "no padding");

/* Bytes on their way out or in; out to NULL, they are only counted. */
typedef struct {
    unsigned char *out;
    const unsigned char *in; /* [n_in] what is left; out is not used then */
    size_t n_in, n_out;
    int is_short; /* more was asked for than in has */
} tape;

static void transfer(void *user, void *field, size_t n) {
    tape *t = user;
    if (t->in) {
        if (n > t->n_in) t->is_short = 1;
        if (t->is_short || n == 0) return;
        memcpy(field, t->in, n);
        t->in += n;
        t->n_in -= n;
    } else if (n > 0) {
        if (t->out) memcpy(t->out + t->n_out, field, n);
        t->n_out += n;
    }
}

/* The arrays of a state, whose sizes follow from its numbers. */
static void transfer_arrays(tape *t, vox_stream *s) {
    const vox_model *m = s->m;
    for (int i = s->slots.n_given; i < s->slots.n_said; i++) {
        said_token *said = &s->said[i];
        transfer(t, &said->token, sizeof said->token);
        transfer(t, &said->confidence, sizeof said->confidence);
        transfer(t, &said->n_alternatives, sizeof said->n_alternatives);
        for (int k = 0; k < VOX_MAX_ALTERNATIVES; k++) {
            transfer(t, &said->alternatives[k].token, sizeof said->alternatives[k].token);
            transfer(t, &said->alternatives[k].confidence, sizeof said->alternatives[k].confidence);
        }
        if (m->turn_head) transfer(t, said->turns, sizeof said->turns);
    }
    transfer(t, s->front.mel.tail, sizeof s->front.mel.tail);
    if (s->n_samples > 0)
        transfer(t, s->samples + s->first_sample, s->n_samples * sizeof *s->samples);
    transfer(t, s->enc_state.conv1_tail, (CONV_TAPS - 1) * N_MEL * sizeof *s->enc_state.conv1_tail);
    transfer(t, s->enc_state.conv2_tail, (size_t)m->enc.dim * sizeof *s->enc_state.conv2_tail);
    transfer(t, s->audio,
             (size_t)(s->slots.n_encoded - s->slots.n_decoded) * (size_t)m->dec.dim *
                 sizeof *s->audio);
    kv_visit(&s->enc_state.kv, transfer, t);
    kv_visit(&s->dec_state.kv, transfer, t);
}

static size_t write_state(vox_stream *s, unsigned char *out, size_t n_bytes) {
    state_header header = {.magic = MAGIC,
                           .version = STATE_VERSION,
                           .bits = bits_fingerprint(s->m->kernels),
                           .fingerprint = s->m->fingerprint,
                           .n_bytes = n_bytes};
    size_t n_words;
    const char *words = words_text(s->words.list, &n_words);
    state_numbers numbers = {.phase = s->phase,
                             .token = s->token,
                             .n_said = s->slots.n_said - s->slots.n_given,
                             .n_text = s->text.n_kept,
                             .n_words = (int32_t)n_words,
                             .place = s->words.place,
                             .clock = s->clock,
                             .n_pushed = s->slots.n_pushed,
                             .n_encoded = s->slots.n_encoded,
                             .n_decoded = s->slots.n_decoded,
                             .n_out = s->slots.n_out,
                             .n_skipped = s->slots.n_skipped,
                             .n_pads = s->guard.n_pads,
                             .n_quiet = s->front.gate.n_quiet,
                             .level = s->front.gain.level,
                             .least = s->front.gain.least,
                             .least_before = s->front.gain.least_before,
                             .factor = s->front.gain.factor,
                             .n_stretch = s->front.gain.n_slots};
    memcpy(&numbers.options, &s->params, sizeof numbers.options);
    tape t = {.out = out};
    transfer(&t, &header, sizeof header);
    transfer(&t, &numbers, sizeof numbers);
    transfer(&t, (char *)words, n_words);
    transfer(&t, s->text.kept, (size_t)s->text.n_kept);
    transfer_arrays(&t, s);
    return t.n_out;
}

static uint64_t sum_state(const unsigned char *bytes, size_t n) {
    size_t n_header = offsetof(state_header, sum);
    uint64_t sum = hash_bytes(0, bytes, n_header);
    return hash_bytes(sum, bytes + sizeof(state_header), n - sizeof(state_header));
}

int64_t stream_save(vox_stream *s, void *bytes, size_t cap) {
    if (s->phase == STREAM_FAILED) return stream_refuse_failed(s);
    if (s->slots.gives_embeddings)
        return stream_fail(s, VOX_ERR_STATE, "a stream that gives embeddings cannot be saved");
    size_t n = write_state(s, NULL, 0);
    if (!bytes) return (int64_t)n;
    if (cap < n) return stream_fail(s, VOX_ERR_ARGUMENT, "the state needs more bytes than that");
    write_state(s, bytes, n);
    uint64_t sum = sum_state(bytes, n);
    memcpy((unsigned char *)bytes + offsetof(state_header, sum), &sum, sizeof sum);
    return (int64_t)n;
}

/* Any that keeps samples finite. */
static int is_gain(const state_numbers *a) {
    return a->level >= 0 && isfinite(a->level) && a->least >= 0 && isfinite(a->least) &&
           a->least_before >= 0 && isfinite(a->least_before) && a->factor > 0 &&
           a->factor <= 1001 && is_between(a->n_stretch, 0, GAIN_STRETCH);
}

/* Numbers that no stream has are found here and by slots_hold, so that none of them is used. */
static int are_possible(const state_numbers *a, const vox_stream *s) {
    return is_between(a->phase, STREAM_OPEN, STREAM_DONE) &&
           words_is_place(s->words.list, a->place) &&
           is_between(a->token, 0, s->m->info.n_vocab - 1) && is_between(a->n_text, 0, 3) &&
           is_between(a->n_pushed, 0, SLOTS_MAX * SAMPLES_PER_SLOT) &&
           is_between(a->clock, 0, SLOTS_MAX) && is_between(a->n_pads, 0, SLOTS_MAX) &&
           is_between(a->n_quiet, 0, SLOTS_MAX) && is_gain(a);
}

static int is_said(const said_token *said, const vox_model *m) {
    if (!is_between(said->n_alternatives, 0, VOX_MAX_ALTERNATIVES)) return 0;
    for (int i = 0; i < said->n_alternatives; i++)
        if (!is_between(said->alternatives[i].token, 0, m->info.n_vocab - 1)) return 0;
    return is_between(said->token, 0, m->info.n_vocab - 1);
}

static int read_state(vox_stream *s, const state_numbers *a, tape *t) {
    const vox_model *m = s->m;
    s->clock = a->clock;
    s->token = a->token;
    s->slots.n_said = a->n_said;
    s->slots.n_pushed = a->n_pushed;
    s->slots.n_encoded = a->n_encoded;
    s->slots.n_decoded = a->n_decoded;
    s->slots.n_out = a->n_out;
    s->slots.n_skipped = a->n_skipped;
    s->guard.n_pads = a->n_pads;
    s->words.place = a->place;
    s->front.gate.n_quiet = a->n_quiet;
    s->front.gain.level = a->level;
    s->front.gain.least = a->least;
    s->front.gain.least_before = a->least_before;
    s->front.gain.factor = a->factor;
    s->front.gain.n_slots = a->n_stretch;
    s->phase = (stream_phase)a->phase;
    if (s->phase != STREAM_OPEN) slots_end(&s->slots);
    if (!slots_hold(&s->slots, DECODER_WIDTH + ENCODER_WIDTH - 1, DECODER_WIDTH))
        return VOX_ERR_FORMAT;
    if (s->phase == STREAM_DONE && slots_done(&s->slots) != s->slots.n_total) return VOX_ERR_FORMAT;

    char kept[4] = {0};
    transfer(t, kept, (size_t)a->n_text);
    if (text_push(&s->text, kept, (size_t)a->n_text, s->slot_text) > 0) return VOX_ERR_FORMAT;
    s->n_samples = slots_samples_waiting(&s->slots);
    if (s->n_samples > t->n_in / sizeof *s->samples) return VOX_ERR_FORMAT;
    int64_t n_frames = s->slots.n_encoded * ENC_PER_SLOT, first_frame = s->clock * ENC_PER_SLOT;
    int64_t end = s->clock + s->slots.n_decoded;
    if (kv_state_bytes(&s->enc_state.kv, first_frame, first_frame + n_frames) > t->n_in ||
        kv_state_bytes(&s->dec_state.kv, s->clock, end) > t->n_in)
        return VOX_ERR_FORMAT;
    s->cap_samples = s->n_samples + 1;
    s->samples = malloc(s->cap_samples * sizeof *s->samples);
    if (!s->samples || kv_restore(&s->enc_state.kv, first_frame, first_frame + n_frames) ||
        kv_restore(&s->dec_state.kv, s->clock, end))
        return VOX_ERR_MEMORY;
    transfer_arrays(t, s);
    for (int i = 0; i < s->slots.n_said; i++)
        if (!is_said(&s->said[i], m)) return VOX_ERR_FORMAT;
    return t->is_short || t->n_in > 0 ? VOX_ERR_FORMAT : VOX_OK;
}

int stream_load(vox_stream *s, vox_model *m, const void *bytes, size_t n, const char **message) {
    state_header header;
    state_numbers numbers;
    tape t = {.in = bytes, .n_in = n};
    transfer(&t, &header, sizeof header);
    transfer(&t, &numbers, sizeof numbers);
    *message = "this is no saved stream, or only the beginning of one";
    if (t.is_short || header.magic != MAGIC) return VOX_ERR_FORMAT;
    *message = "the stream was saved by another version of this program: begin a new one";
    if (strncmp(header.version, STATE_VERSION, sizeof header.version) != 0) return VOX_ERR_FORMAT;
    *message = "the saved stream is damaged or cut short: load another copy, or begin a new one";
    if (header.n_bytes != n || header.sum != sum_state(bytes, n)) return VOX_ERR_FORMAT;
    *message = "the stream was saved by a build that rounds otherwise, so it would not go on as it "
               "began: load it there, or begin a new one";
    if (header.bits != bits_fingerprint(m->kernels)) return VOX_ERR_FORMAT;
    *message =
        "the stream was saved with another model, or another window of it: open the file that "
        "it was made with, as it was opened then";
    if (header.fingerprint != m->fingerprint) return VOX_ERR_FORMAT;
    *message = "the saved stream is damaged: load another copy, or begin a new one";
    vox_stream_params params = {0};
    memcpy(&params, &numbers.options, sizeof numbers.options);
    if (stream_params_fault(m, &params) || !is_between(numbers.n_words, 0, (int64_t)t.n_in))
        return VOX_ERR_FORMAT;
    char *words = malloc((size_t)numbers.n_words + 1);
    const char *fault;
    int status = VOX_ERR_MEMORY;
    if (words) {
        transfer(&t, words, (size_t)numbers.n_words);
        words[numbers.n_words] = 0;
        params.words = words;
        status = stream_init(s, m, &params, &fault);
        free(words);
        if (status == VOX_ERR_ARGUMENT) status = VOX_ERR_FORMAT;
    }
    if (status == VOX_OK) {
        status = are_possible(&numbers, s) ? read_state(s, &numbers, &t) : VOX_ERR_FORMAT;
        if (status != VOX_OK) stream_free(s);
    }
    if (status == VOX_ERR_MEMORY) *message = "out of memory";
    return status;
}
