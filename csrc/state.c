/* state.c - a stream's state as a whole: copied into another stream, or saved as bytes and loaded.
 *
 * In: a stream that has not failed, at any moment between two calls. Out: another one that gives
 * the same slots from there on. A copy shares the pages of the rings until one of the two writes.
 * Saved are only the facts: what follows from them (bounds, counts of what is held) is computed
 * again, and what only speed depends on (guesses, statistics) begins anew. docs/streaming.md has
 * the format.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "hash.h"
#include "stream.h"

/* ---- copying -------------------------------------------------------------------------------- */

int stream_copy(vox_stream *copy, const vox_stream *s) {
    int status = stream_init(copy, s->m, &s->params);
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
    copy->own = NULL;
    copy->request = own.request;

    if (s->n_samples > 0)
        memcpy(samples, s->samples + s->first_sample, s->n_samples * sizeof *samples);
    memcpy(copy->audio, s->audio,
           (size_t)(s->n_encoded - s->n_decoded) * (size_t)s->m->dec.dim * sizeof *s->audio);
    encoder_state_copy(&copy->enc_state, &s->enc_state, s->m);
    kv_share(&copy->dec_state.kv, &s->dec_state.kv);
    return VOX_OK;
}

/* ---- saving and loading --------------------------------------------------------------------- */

static const uint64_t MAGIC = 0x4D41455254584F56u; /* "VOXTREAM" in a little-endian file */
static const int64_t MAX_SLOTS = (int64_t)1 << 40; /* 2800 years; no sum of positions overflows */

typedef struct {
    uint64_t magic;
    char version[24];                    /* of this package */
    uint64_t bits, fingerprint, n_bytes; /* of what was computed; of the model; in all */
    uint64_t sum;                        /* of all bytes but these eight */
} state_header;

/* All numbers of a state; arrays follow it. */
typedef struct {
    vox_stream_params params;
    int32_t phase, token, n_said, n_text, zero;
    int64_t clock, n_pushed, n_encoded, n_decoded, n_skipped, n_out, n_pads, n_quiet;
} state_numbers;

static_assert(sizeof(state_header) == 8 * 8, "no padding");
static_assert(sizeof VOXTRAL_VERSION <= 24, "room for the version");
static_assert(sizeof(state_numbers) == sizeof(vox_stream_params) + 5 * 4 + 8 * 8, "no padding");

/* Bytes on their way out or in; out to NULL, they are only counted. */
typedef struct {
    unsigned char *out;
    const unsigned char *in; /* [n_in] what is left; out is not used then */
    size_t n_in, n_out;
    int is_short; /* more was asked for than in has */
} tape;

static void pass_bytes(void *user, void *field, size_t n) {
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
static void pass_arrays(tape *t, vox_stream *s) {
    const vox_model *m = s->m;
    for (int i = s->n_given; i < s->n_said; i++) {
        said_token *said = &s->said[i];
        pass_bytes(t, &said->token, sizeof said->token);
        pass_bytes(t, &said->confidence, sizeof said->confidence);
        pass_bytes(t, &said->n_alternatives, sizeof said->n_alternatives);
        for (int k = 0; k < VOX_MAX_ALTERNATIVES; k++) {
            pass_bytes(t, &said->alternatives[k].token, sizeof said->alternatives[k].token);
            pass_bytes(t, &said->alternatives[k].confidence,
                       sizeof said->alternatives[k].confidence);
        }
    }
    pass_bytes(t, s->mel.tail, sizeof s->mel.tail);
    pass_bytes(t, s->samples + s->first_sample, s->n_samples * sizeof *s->samples);
    pass_bytes(t, s->enc_state.conv1_tail,
               (CONV_TAPS - 1) * N_MEL * sizeof *s->enc_state.conv1_tail);
    pass_bytes(t, s->enc_state.conv2_tail, (size_t)m->enc.dim * sizeof *s->enc_state.conv2_tail);
    pass_bytes(t, s->audio,
               (size_t)(s->n_encoded - s->n_decoded) * (size_t)m->dec.dim * sizeof *s->audio);
    kv_visit(&s->enc_state.kv, pass_bytes, t);
    kv_visit(&s->dec_state.kv, pass_bytes, t);
}

static size_t write_state(vox_stream *s, unsigned char *out, size_t n_bytes) {
    state_header header = {.magic = MAGIC,
                           .version = VOXTRAL_VERSION,
                           .bits = bits_fingerprint(s->m->kernels),
                           .fingerprint = s->m->fingerprint,
                           .n_bytes = n_bytes};
    state_numbers numbers = {.params = s->params,
                             .phase = s->phase,
                             .token = s->token,
                             .n_said = s->n_said - s->n_given,
                             .n_text = s->text.n_kept,
                             .clock = s->clock,
                             .n_pushed = s->n_pushed,
                             .n_encoded = s->n_encoded,
                             .n_decoded = s->n_decoded,
                             .n_out = s->n_out,
                             .n_skipped = s->n_skipped,
                             .n_pads = s->guard.n_pads,
                             .n_quiet = s->gate.n_quiet};
    tape t = {.out = out};
    pass_bytes(&t, &header, sizeof header);
    pass_bytes(&t, &numbers, sizeof numbers);
    pass_bytes(&t, s->text.kept, (size_t)s->text.n_kept);
    pass_arrays(&t, s);
    return t.n_out;
}

static uint64_t sum_state(const unsigned char *bytes, size_t n) {
    size_t n_header = offsetof(state_header, sum);
    uint64_t sum = hash_bytes(0, bytes, n_header);
    return hash_bytes(sum, bytes + sizeof(state_header), n - sizeof(state_header));
}

int64_t stream_save(vox_stream *s, void *bytes, size_t cap) {
    if (s->phase == STREAM_FAILED) return stream_refuse_failed(s);
    if (stream_n_heard(s) != s->n_decoded)
        return stream_fail(s, VOX_ERR_STATE, "a stream that gives embeddings cannot be saved");
    size_t n = write_state(s, NULL, 0);
    if (!bytes) return (int64_t)n;
    if (cap < n) return stream_fail(s, VOX_ERR_ARGUMENT, "the state needs more bytes than that");
    write_state(s, bytes, n);
    uint64_t sum = sum_state(bytes, n);
    memcpy((unsigned char *)bytes + offsetof(state_header, sum), &sum, sizeof sum);
    return (int64_t)n;
}

static int is_between(int64_t value, int64_t low, int64_t high) {
    return low <= value && value <= high;
}

/* Numbers that no stream has are found here, so that none of them is used. */
static int are_possible(const state_numbers *a, const vox_stream *s) {
    if (!is_between(a->phase, STREAM_OPEN, STREAM_DONE) || a->zero != 0 ||
        !is_between(a->token, 0, s->m->info.n_vocab - 1) ||
        !is_between(a->n_said, 0, DECODER_WIDTH) || !is_between(a->n_text, 0, 3) ||
        !is_between(a->clock, 0, MAX_SLOTS) ||
        !is_between(a->n_pushed, 0, MAX_SLOTS * SAMPLES_PER_SLOT) ||
        !is_between(a->n_pads, 0, MAX_SLOTS) || !is_between(a->n_quiet, 0, MAX_SLOTS) ||
        !is_between(a->n_skipped, 0, MAX_SLOTS) || !is_between(a->n_encoded, 0, MAX_SLOTS) ||
        !is_between(a->n_decoded, 0, a->n_encoded))
        return 0;
    int64_t n_spoken = a->n_decoded - stream_n_silent(s);
    return a->n_encoded - a->n_decoded < DECODER_WIDTH + ENCODER_WIDTH && a->n_out >= 0 &&
           a->n_out == (n_spoken > 0 ? n_spoken : 0) + a->n_skipped - a->n_said;
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
    s->n_said = a->n_said;
    s->n_pushed = a->n_pushed;
    s->n_encoded = a->n_encoded;
    s->n_decoded = a->n_decoded;
    s->n_out = a->n_out;
    s->n_skipped = a->n_skipped;
    s->guard.n_pads = a->n_pads;
    s->gate.n_quiet = a->n_quiet;
    if (a->phase != STREAM_OPEN) stream_finish(s);
    s->phase = (stream_phase)a->phase;
    if (s->n_encoded + s->n_skipped > stream_n_ready(s)) return VOX_ERR_FORMAT;
    if (s->phase == STREAM_DONE && s->n_decoded + s->n_skipped != s->n_total) return VOX_ERR_FORMAT;

    char kept[4] = {0};
    pass_bytes(t, kept, (size_t)a->n_text);
    if (text_push(&s->text, kept, (size_t)a->n_text, s->slot_text) > 0) return VOX_ERR_FORMAT;
    s->n_samples = stream_n_waiting(s);
    if (s->n_samples > t->n_in / sizeof *s->samples) return VOX_ERR_FORMAT;
    s->cap_samples = s->n_samples + 1;
    s->samples = malloc(s->cap_samples * sizeof *s->samples);
    int64_t n_frames = s->n_encoded * ENC_PER_SLOT, first_frame = s->clock * ENC_PER_SLOT;
    if (!s->samples || kv_restore(&s->enc_state.kv, first_frame, first_frame + n_frames) ||
        kv_restore(&s->dec_state.kv, s->clock, s->clock + s->n_decoded))
        return VOX_ERR_MEMORY;
    pass_arrays(t, s);
    for (int i = 0; i < s->n_said; i++)
        if (!is_said(&s->said[i], m)) return VOX_ERR_FORMAT;
    return t->is_short || t->n_in > 0 ? VOX_ERR_FORMAT : VOX_OK;
}

int stream_load(vox_stream *s, vox_model *m, const void *bytes, size_t n, const char **message) {
    state_header header;
    state_numbers numbers;
    tape t = {.in = bytes, .n_in = n};
    pass_bytes(&t, &header, sizeof header);
    pass_bytes(&t, &numbers, sizeof numbers);
    *message = "this is no saved stream, or only the beginning of one";
    if (t.is_short || header.magic != MAGIC) return VOX_ERR_FORMAT;
    *message = "the stream was saved by another version of this program: begin a new one";
    if (strncmp(header.version, VOXTRAL_VERSION, sizeof header.version) != 0) return VOX_ERR_FORMAT;
    *message = "the saved stream is damaged or cut short: load another copy, or begin a new one";
    if (header.n_bytes != n || header.sum != sum_state(bytes, n)) return VOX_ERR_FORMAT;
    *message = "the stream was saved by a build that rounds otherwise, so it would not go on as it "
               "began: load it there, or begin a new one";
    if (header.bits != bits_fingerprint(m->kernels)) return VOX_ERR_FORMAT;
    *message = "the stream was saved with another model: open the file that it was made with";
    if (header.fingerprint != m->fingerprint) return VOX_ERR_FORMAT;
    *message = "the saved stream is damaged: load another copy, or begin a new one";
    vox_stream_params params = numbers.params;
    if (stream_params_fault(m, &params)) return VOX_ERR_FORMAT;

    int status = stream_init(s, m, &params);
    if (status == VOX_OK) {
        status = are_possible(&numbers, s) ? read_state(s, &numbers, &t) : VOX_ERR_FORMAT;
        if (status != VOX_OK) stream_free(s);
    }
    if (status == VOX_ERR_MEMORY) *message = "out of memory";
    return status;
}
