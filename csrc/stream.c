/* stream.c - see stream.h; the schedule of slots is docs/streaming.md's. */
#include "stream.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(vox_stream *s, int status, const char *message) {
    snprintf(s->message, sizeof s->message, "%s", message);
    return status;
}

static int fail_for_good(vox_stream *s, int status, const char *message) {
    s->phase = STREAM_FAILED;
    return fail(s, status, message);
}

static int refuse_failed(vox_stream *s) {
    return fail(s, VOX_ERR_STATE, "the stream has failed: reset or close it");
}

/* ---- lifecycle ------------------------------------------------------------------------------ */

static size_t longest_token(const vox_model *m) {
    size_t longest = 0;
    for (int i = 0; i < m->info.n_vocab; i++) {
        size_t n = m->token_offsets[i + 1] - m->token_offsets[i];
        if (n > longest) longest = n;
    }
    return longest;
}

int stream_init(vox_stream *s, vox_model *m, int n_delay, int batch) {
    *s = (vox_stream){.m = model_retain(m), .n_delay = n_delay, .batch = batch};
    s->mel_frames = malloc(ENCODER_WIDTH * MEL_PER_SLOT * N_MEL * sizeof *s->mel_frames);
    s->audio = malloc((DECODER_WIDTH + ENCODER_WIDTH) * (size_t)m->dec.dim * sizeof *s->audio);
    s->slot_text = malloc(text_bound(longest_token(m)));
    if (!s->mel_frames || !s->audio || !s->slot_text ||
        encoder_state_init(&s->enc_state, m) != VOX_OK ||
        decoder_state_init(&s->dec_state, m) != VOX_OK) {
        stream_free(s);
        return VOX_ERR_MEMORY;
    }
    stream_reset(s, 0);
    return VOX_OK;
}

void stream_free(vox_stream *s) {
    engine_close(s->own);
    watch_free(&s->watch);
    decoder_state_free(&s->dec_state);
    encoder_state_free(&s->enc_state);
    free(s->slot_text);
    free(s->audio);
    free(s->mel_frames);
    free(s->samples);
    vox_model_close(s->m);
    *s = (vox_stream){0};
}

static void reset_states(vox_stream *s) {
    encoder_state_reset(&s->enc_state, s->m, s->clock);
    decoder_state_reset(&s->dec_state, s->clock);
}

void stream_reset(vox_stream *s, int64_t slot) {
    s->phase = STREAM_OPEN;
    s->message[0] = 0;
    s->first_sample = s->n_samples = 0;
    s->n_pushed = s->n_total = s->n_encoded = s->n_decoded = s->n_out = 0;
    s->n_said = s->n_given = 0;
    s->clock = slot;
    s->token = s->m->info.token_pad;
    mel_reset(&s->mel);
    text_reset(&s->text);
    draft_reset(&s->draft, s->m->info.token_pad, s->m->info.token_word);
    reset_states(s);
    watch_clear(&s->watch);
    s->stats = (vox_stats){0};
}

/* ---- audio in ------------------------------------------------------------------------------- */

int stream_push(vox_stream *s, const float *samples, size_t n) {
    if (s->phase == STREAM_FAILED) return refuse_failed(s);
    if (s->phase != STREAM_OPEN)
        return fail(s, VOX_ERR_STATE, "push after finish: reset the stream first");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(samples[i]))
            return fail(s, VOX_ERR_ARGUMENT, "a sample is not finite (NaN or infinite)");
    if (n > SIZE_MAX / sizeof(float) / 4 - s->n_samples)
        return fail(s, VOX_ERR_MEMORY, "out of memory for audio");
    if (s->first_sample + s->n_samples + n > s->cap_samples) {
        /* Move to the front, into more room if less than half would stay free there: so that moves
           stay rare, and small changes of the lag do not make the room grow. */
        size_t need = s->n_samples + n, cap = 2 * need > s->cap_samples ? 3 * need : s->cap_samples;
        float *room = cap > s->cap_samples ? malloc(cap * sizeof *room) : s->samples;
        if (!room) return fail(s, VOX_ERR_MEMORY, "out of memory for audio");
        if (s->n_samples > 0)
            memmove(room, s->samples + s->first_sample, s->n_samples * sizeof *room);
        if (room != s->samples) {
            free(s->samples);
            s->samples = room;
            s->cap_samples = cap;
        }
        s->first_sample = 0;
    }
    if (n > 0) memcpy(s->samples + s->first_sample + s->n_samples, samples, n * sizeof *samples);
    s->n_samples += n;
    s->n_pushed += (int64_t)n;
    return VOX_OK;
}

int stream_finish(vox_stream *s) {
    if (s->phase == STREAM_FAILED) return refuse_failed(s);
    if (s->phase != STREAM_OPEN) return VOX_OK;
    /* Align, then silence until the text of the last word is out. One slot less than is padded: the
       reference never uses its last embedding. */
    int64_t n_slots = (s->n_pushed + SAMPLES_PER_SLOT - 1) / SAMPLES_PER_SLOT;
    s->n_total = s->m->n_left_pad + n_slots + s->n_delay + s->m->n_right_extra - 1;
    s->phase = STREAM_DRAINING;
    return VOX_OK;
}

/* First sample of a slot as the mel stage takes it, counted from the first pushed one: its
 * look-ahead later than the slot itself, so that all eight frames are complete; negative in the
 * left padding. */
static int64_t slot_begin(const vox_stream *s, int64_t slot) {
    return (slot - s->m->n_left_pad) * SAMPLES_PER_SLOT + LOOK_AHEAD;
}

/* Slots whose samples are all there, padding included. */
static int64_t n_ready(const vox_stream *s) {
    if (s->phase != STREAM_OPEN) return s->n_total;
    return (s->n_pushed - slot_begin(s, 0)) / SAMPLES_PER_SLOT;
}

/* Copy w slots' samples, silence where nothing was pushed; how many pushed samples are used up by
 * then. */
static size_t take_samples(const vox_stream *s, int w, float *out) {
    int64_t begin = slot_begin(s, s->n_encoded), n = (int64_t)w * SAMPLES_PER_SLOT;
    int64_t held = s->n_pushed - (int64_t)s->n_samples; /* index of the first one held */
    int64_t from = begin > held ? begin : held,
            to = begin + n < s->n_pushed ? begin + n : s->n_pushed;
    memset(out, 0, (size_t)n * sizeof *out);
    if (to <= from) return 0;
    memcpy(out + (from - begin), s->samples + s->first_sample + (from - held),
           (size_t)(to - from) * sizeof *out);
    return (size_t)(to - held);
}

/* ---- passes --------------------------------------------------------------------------------- */

static_assert((int)DRAFT_WIDTH == (int)DECODER_WIDTH, "guesses fill a pass");

static int64_t min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The silence before the first sample is the same for all streams, but for those whose rows
 * somebody wants to see or whose clock starts elsewhere: they hear it like any other slots. */
static int begin(vox_stream *s, engine *e) {
    s->dec_state.ffn_norm = engine_norms(e, s->n_delay);
    if (!s->dec_state.ffn_norm) return fail(s, VOX_ERR_MEMORY, "out of memory");
    if (s->own || s->clock != 0) return VOX_OK;
    int64_t start = platform_clock_ns();
    int status = engine_start(e, s->n_delay, &s->enc_state, &s->dec_state);
    s->stats.prefill_ns += platform_clock_ns() - start;
    if (status != VOX_OK) reset_states(s);
    if (status == VOX_ERR_MEMORY) return fail(s, status, "out of memory");
    if (status != VOX_OK) return fail_for_good(s, status, "the model failed on silence");
    s->n_encoded = s->n_decoded = e->n_silence;
    return VOX_OK;
}

static int encode(vox_stream *s, engine *e, int w) {
    if (encoder_reserve(&e->enc, &s->enc_state, w) != VOX_OK)
        return fail(s, VOX_ERR_MEMORY, "out of memory");
    float samples[ENCODER_WIDTH * SAMPLES_PER_SLOT];
    int64_t start = platform_clock_ns();
    size_t used = take_samples(s, w, samples);
    for (int i = 0; i < w; i++)
        mel_slot(&s->m->mel, &s->mel, samples + i * SAMPLES_PER_SLOT,
                 s->mel_frames + i * MEL_PER_SLOT * N_MEL);
    int64_t middle = platform_clock_ns();
    int status = watch_append(&s->watch, watch_find(&s->watch, "mel"), s->mel_frames,
                              (int64_t)w * MEL_PER_SLOT * N_MEL);
    float *audio = s->audio + (size_t)(s->n_encoded - s->n_decoded) * (size_t)s->m->dec.dim;
    if (status == VOX_OK) status = encoder_run(&e->enc, &s->enc_state, s->mel_frames, w, audio);
    s->stats.mel_ns += middle - start;
    s->stats.encoder_ns += platform_clock_ns() - middle;
    s->stats.n_encoder_passes++;
    s->stats.n_encoder_slots += w;
    if (status != VOX_OK) return fail_for_good(s, status, "the encoder failed");
    s->first_sample += used;
    s->n_samples -= used;
    s->n_encoded += w;
    return VOX_OK;
}

/* Positions before the first that says something: the prompt but for its last one. */
static int64_t n_silent(const vox_stream *s) {
    return s->m->n_left_pad + s->n_delay;
}

/* One pass over the next slots: what is left of the prompt, then the token said last and guesses of
 * what follows it. The first position that speaks hears what it should, so its token is right; the
 * next one is if it heard that very token, and so on. All behind the first wrong guess is
 * forgotten.
 */
static int decode(vox_stream *s, engine *e) {
    const vox_model *m = s->m;
    int room = (int)min(min(s->n_encoded - s->n_decoded, s->batch), DECODER_WIDTH);
    int silent = s->n_decoded < n_silent(s) ? (int)min(n_silent(s) - s->n_decoded, room) : 0;
    int32_t tokens[DECODER_WIDTH] = {0}, *heard = tokens + silent;
    for (int i = 0; i < silent; i++)
        tokens[i] = s->n_decoded + i == 0 ? m->token_bos : m->info.token_pad;
    int n = 0; /* positions that speak */
    if (room > silent) {
        *heard = s->token;
        n = draft_plan(&s->draft, &e->cost, s->token, room - silent, heard + 1);
        if (s->width > 0) n = (int)min(s->width, room - silent);
        if (s->own) n = 1; /* so that every row is of a slot that stays */
    }
    int w = silent + n;
    if (decoder_reserve(&e->dec, &s->dec_state, w, n) != VOX_OK)
        return fail(s, VOX_ERR_MEMORY, "out of memory");

    int64_t start = platform_clock_ns();
    int status = decoder_run(&e->dec, &s->dec_state, tokens, s->audio, w);
    int64_t middle = platform_clock_ns();
    if (status == VOX_OK && n > 0) status = decoder_head(&e->dec, n, s->said);
    int64_t end = platform_clock_ns();
    s->stats.head_ns += end - middle;
    if (silent == 0) pass_cost_learn(&e->cost, n, end - start);
    *(silent > 0 ? &s->stats.prefill_ns : &s->stats.decoder_ns) += middle - start;
    *(silent > 0 ? &s->stats.n_prefill_passes : &s->stats.n_decoder_passes) += 1;
    if (status != VOX_OK) return fail_for_good(s, status, "the decoder failed");

    /* A logit that is not finite ends it too: it counts once its position is reached for certain.
     */
    int right = 0;
    while (right < n && s->said[right] >= 0 && (right == 0 || heard[right] == s->said[right - 1]))
        right++;
    if (n > 0 && right == 0)
        return fail_for_good(s, VOX_ERR_COMPUTE,
                             "the model gave values that are not finite: its file is damaged");
    draft_learn(&s->draft, heard, s->said, n, right);
    if (right > 0) s->token = s->said[right - 1];
    int kept = silent + right;
    decoder_keep(&s->dec_state, kept);
    s->n_decoded += kept;
    memmove(s->audio, s->audio + (size_t)kept * (size_t)m->dec.dim,
            (size_t)(s->n_encoded - s->n_decoded) * (size_t)m->dec.dim * sizeof *s->audio);
    s->n_said = right;
    s->n_given = 0;
    s->stats.n_prefill_slots += silent;
    s->stats.n_decoder_slots += n;
    s->stats.n_accepted += right;
    s->stats.n_drafted += n > 0 ? n - 1 : 0;
    s->stats.n_agreed += right > 0 ? right - 1 : 0;
    return VOX_OK;
}

/* Slots wait for the decoder, or for the encoder. A full batch is always worth encoding, so that
 * the decoder never runs out of slots to look ahead into; fewer only when it has none. Where
 * embeddings are handed out, no slot ever waits for the decoder. */
static int pass(vox_stream *s, int has_decoder) {
    vox_model *m = s->m;
    engine **e = s->watch.n > 0 ? &s->own : &m->engine;
    int status = VOX_OK;
    platform_lock_enter(m->lock);
    if (!*e && engine_open(e, m, s->watch.n > 0 ? &s->watch : NULL) != VOX_OK)
        status = fail(s, VOX_ERR_MEMORY, "out of memory, or of threads");
    if (status == VOX_OK && s->n_encoded == 0 && has_decoder) status = begin(s, *e);
    int64_t queued = s->n_encoded - s->n_decoded, ready = n_ready(s) - s->n_encoded;
    if (status == VOX_OK && (queued == 0 ? ready > 0 : queued < DECODER_WIDTH && ready >= s->batch))
        status = encode(s, *e, (int)min(ready, s->batch));
    else if (status == VOX_OK && queued > 0) status = decode(s, *e);
    platform_lock_leave(m->lock);
    return status;
}

static int hand_out(vox_stream *s, vox_slot *slot) {
    const vox_model *m = s->m;
    int32_t token = s->said[s->n_given++];
    *slot = (vox_slot){.index = s->n_out++, .token = token, .text = s->slot_text};
    if (token >= m->info.n_special) {
        const char *bytes = (const char *)m->token_bytes + m->token_offsets[token];
        slot->n_text = text_push(
            &s->text, bytes, m->token_offsets[token + 1] - m->token_offsets[token], s->slot_text);
    }
    if (s->phase == STREAM_DRAINING && n_silent(s) + s->n_out == s->n_total)
        slot->n_text += text_flush(&s->text, s->slot_text + slot->n_text);
    return VOX_SLOT;
}

/* Positions that the decoder has heard: as many as were decoded, but none where embeddings are
 * handed out. */
static int64_t n_heard(const vox_stream *s) {
    return s->dec_state.kv.end - s->clock;
}

int stream_next(vox_stream *s, vox_slot *slot) {
    if (s->phase == STREAM_FAILED) return refuse_failed(s);
    if (n_heard(s) != s->n_decoded)
        return fail(s, VOX_ERR_STATE, "the stream gives embeddings: reset it to have text");
    watch_clear(&s->watch);
    while (s->n_given == s->n_said) {
        if (s->phase != STREAM_OPEN && s->n_decoded == s->n_total) {
            s->phase = STREAM_DONE;
            return VOX_DONE;
        }
        if (n_ready(s) <= s->n_decoded) return VOX_WAIT;
        int status = pass(s, 1);
        if (status != VOX_OK) return status;
    }
    return hand_out(s, slot);
}

int stream_embed(vox_stream *s, float *audio) {
    if (s->phase == STREAM_FAILED) return refuse_failed(s);
    if (n_heard(s) > 0)
        return fail(s, VOX_ERR_STATE, "the stream gives text: reset it to have embeddings");
    watch_clear(&s->watch);
    if (s->n_encoded == s->n_decoded) {
        if (s->phase != STREAM_OPEN && s->n_decoded == s->n_total) {
            s->phase = STREAM_DONE;
            return VOX_DONE;
        }
        if (n_ready(s) <= s->n_decoded) return VOX_WAIT;
        int status = pass(s, 0);
        if (status != VOX_OK) return status;
    }
    size_t dim = (size_t)s->m->dec.dim;
    memcpy(audio, s->audio, dim * sizeof *audio);
    s->n_decoded++;
    memmove(s->audio, s->audio + dim,
            (size_t)(s->n_encoded - s->n_decoded) * dim * sizeof *s->audio);
    return VOX_SLOT;
}

/* ---- looking in ----------------------------------------------------------------------------- */

static int is_layer(const char *name, const char *part, int n_layers) {
    size_t n = strlen(part);
    if (strncmp(name, part, n) != 0) return 0;
    char expected[WATCH_NAME];
    for (int i = 0; i < n_layers; i++) {
        snprintf(expected, sizeof expected, "%s%d", part, i);
        if (strcmp(name, expected) == 0) return 1;
    }
    return 0;
}

int stream_watch(vox_stream *s, const char *name) {
    static const char *const names[] = {"mel", "conv", "enc.out", "audio", "dec.logits"};
    int known = is_layer(name, "enc.blk.", s->m->enc.n_layers) ||
                is_layer(name, "dec.blk.", s->m->dec.n_layers);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) known |= strcmp(name, names[i]) == 0;
    if (!known) return fail(s, VOX_ERR_ARGUMENT, "no tensor of this name can be watched");
    if (s->n_encoded > 0)
        return fail(s, VOX_ERR_STATE, "watch before the first next, or after reset");
    watch_list *w = &s->watch;
    if (watch_find(w, name) >= 0) return VOX_OK;
    if (w->n == MAX_WATCHES) return fail(s, VOX_ERR_ARGUMENT, "too many tensors are watched");
    snprintf(w->list[w->n++].name, WATCH_NAME, "%s", name);
    engine_close(s->own); /* its graphs were built without this one */
    s->own = NULL;
    return VOX_OK;
}

int64_t stream_pending(const vox_stream *s) {
    int64_t left = s->n_pushed - slot_begin(s, s->n_decoded - (s->n_said - s->n_given));
    return left < 0 ? 0 : left < s->n_pushed ? left : s->n_pushed;
}

int64_t stream_memory(const vox_stream *s) {
    size_t n = sizeof *s + s->cap_samples * sizeof *s->samples +
               (DECODER_WIDTH + ENCODER_WIDTH) * (size_t)s->m->dec.dim * sizeof *s->audio +
               kv_bytes(&s->enc_state.kv) + kv_bytes(&s->dec_state.kv);
    return (int64_t)n;
}

vox_stats stream_stats(const vox_stream *s) {
    vox_stats stats = s->stats;
    stats.state_bytes = stream_memory(s);
    platform_lock_enter(s->m->lock);
    stats.scratch_bytes = (int64_t)engine_bytes(s->own ? s->own : s->m->engine);
    platform_lock_leave(s->m->lock);
    stats.weight_bytes = s->m->info.n_bytes;
    return stats;
}
