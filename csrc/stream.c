/* stream.c - see stream.h; the schedule of slots is docs/streaming.md's. */
#include "stream.h"

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

int stream_init(vox_stream *s, vox_model *m, int n_delay, int batch, int n_threads) {
    *s = (vox_stream){.m = model_retain(m), .n_delay = n_delay, .batch = batch};
    s->mel_frames = malloc(MAX_WIDTH * MEL_PER_SLOT * N_MEL * sizeof *s->mel_frames);
    s->audio = malloc(MAX_WIDTH * (size_t)m->dec.dim * sizeof *s->audio);
    s->slot_text = malloc(text_bound(longest_token(m)));
    if (!s->mel_frames || !s->audio || !s->slot_text || compute_init(&s->c, n_threads) != VOX_OK ||
        encoder_init(&s->enc, m, &s->c) != VOX_OK || decoder_init(&s->dec, m, &s->c) != VOX_OK ||
        encoder_state_init(&s->enc_state, m) != VOX_OK ||
        decoder_state_init(&s->dec_state, m, n_delay) != VOX_OK) {
        stream_free(s);
        return VOX_ERR_MEMORY;
    }
    stream_reset(s, 0);
    return VOX_OK;
}

void stream_free(vox_stream *s) {
    decoder_state_free(&s->dec_state);
    encoder_state_free(&s->enc_state);
    decoder_free(&s->dec);
    encoder_free(&s->enc);
    compute_free(&s->c);
    free(s->slot_text);
    free(s->audio);
    free(s->mel_frames);
    free(s->samples);
    vox_model_close(s->m);
    *s = (vox_stream){0};
}

void stream_reset(vox_stream *s, int64_t slot) {
    s->phase = STREAM_OPEN;
    s->message[0] = 0;
    s->first_sample = s->n_samples = 0;
    s->n_pushed = s->n_total = s->n_encoded = s->n_decoded = 0;
    s->n_audio = 0;
    s->token = s->m->token_bos;
    mel_reset(&s->mel);
    text_reset(&s->text);
    encoder_state_reset(&s->enc_state, s->m, slot);
    decoder_state_reset(&s->dec_state, slot);
    watch_clear(&s->c.watch);
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

/* ---- stages --------------------------------------------------------------------------------- */

static int widest_pass(int64_t n) {
    int w = 1;
    while (2 * w <= n && 2 * w <= MAX_WIDTH) w *= 2;
    return w;
}

static int encode(vox_stream *s, int w) {
    if (encoder_reserve(&s->enc, &s->enc_state, w) != VOX_OK)
        return fail(s, VOX_ERR_MEMORY, "out of memory");
    float samples[MAX_WIDTH * SAMPLES_PER_SLOT];
    int64_t start = platform_clock_ns();
    size_t used = take_samples(s, w, samples);
    for (int i = 0; i < w; i++)
        mel_slot(&s->m->mel, &s->mel, samples + i * SAMPLES_PER_SLOT,
                 s->mel_frames + i * MEL_PER_SLOT * N_MEL);
    int status = watch_append(&s->c.watch, watch_find(&s->c.watch, "mel"), s->mel_frames,
                              (int64_t)w * MEL_PER_SLOT * N_MEL);
    int64_t middle = platform_clock_ns();
    if (status == VOX_OK) status = encoder_run(&s->enc, &s->enc_state, s->mel_frames, w, s->audio);
    s->stats.mel_ns += middle - start;
    s->stats.encoder_ns += platform_clock_ns() - middle;
    s->stats.n_encoder_passes++;
    s->stats.n_encoder_slots += w;
    if (status != VOX_OK) return fail_for_good(s, status, "the encoder failed");
    s->first_sample += used;
    s->n_samples -= used;
    s->n_encoded += w;
    s->n_audio = w;
    return VOX_OK;
}

/* Lowest id among the greatest logits, or -1 if one is not finite. */
static int32_t argmax(const float *logits, int n) {
    int best = 0, all_finite = 1;
    for (int i = 0; i < n; i++) {
        all_finite &= isfinite(logits[i]) != 0;
        if (logits[i] > logits[best]) best = i;
    }
    return all_finite ? best : -1;
}

/* The next w positions; with a slot, w is 1 and *slot is filled. */
static int decode(vox_stream *s, int w, vox_slot *slot) {
    if (decoder_reserve(&s->dec, &s->dec_state, w, slot != NULL) != VOX_OK)
        return fail(s, VOX_ERR_MEMORY, "out of memory");
    const vox_model *m = s->m;
    int n_prompt = m->n_left_pad + 1 + s->n_delay;
    int32_t tokens[MAX_WIDTH];
    for (int i = 0; i < w;
         i++) { /* the prompt is BOS and pads; after it, each token is the last one said */
        int64_t position = s->n_decoded + i;
        tokens[i] = position == 0         ? m->token_bos
                    : position < n_prompt ? m->info.token_pad
                                          : s->token;
    }
    const float *audio =
        s->audio + (size_t)(s->n_audio - (s->n_encoded - s->n_decoded)) * (size_t)m->dec.dim;
    const float *logits = NULL;
    int64_t start = platform_clock_ns();
    int status = decoder_run(&s->dec, &s->dec_state, tokens, audio, w, slot ? &logits : NULL);
    int64_t taken = platform_clock_ns() - start;
    if (slot) {
        s->stats.decoder_ns += taken;
        s->stats.n_decoder_passes++;
        s->stats.n_decoder_slots += w;
    } else {
        s->stats.prefill_ns += taken;
        s->stats.n_prefill_passes++;
        s->stats.n_prefill_slots += w;
    }
    if (status != VOX_OK) return fail_for_good(s, status, "the decoder failed");
    s->n_decoded += w;
    if (!slot) return VOX_OK;

    int32_t token = argmax(logits, m->info.n_vocab);
    if (token < 0)
        return fail_for_good(s, VOX_ERR_COMPUTE,
                             "the model gave values that are not finite: its file is damaged");
    s->token = token;
    *slot = (vox_slot){.index = s->n_decoded - n_prompt, .token = token, .text = s->slot_text};
    if (token >= m->info.n_special) {
        const char *bytes = (const char *)m->token_bytes + m->token_offsets[token];
        slot->n_text = text_push(
            &s->text, bytes, m->token_offsets[token + 1] - m->token_offsets[token], s->slot_text);
    }
    if (s->phase == STREAM_DRAINING && s->n_decoded == s->n_total)
        slot->n_text += text_flush(&s->text, s->slot_text + slot->n_text);
    s->stats.n_accepted++;
    return VOX_SLOT;
}

int stream_next(vox_stream *s, vox_slot *slot) {
    if (s->phase == STREAM_FAILED) return refuse_failed(s);
    watch_clear(&s->c.watch);
    int64_t n_silent =
        s->m->n_left_pad + s->n_delay; /* positions before the first that says something */
    for (;;) {
        int64_t queued = s->n_encoded - s->n_decoded;
        if (s->phase != STREAM_OPEN && s->n_decoded == s->n_total) {
            s->phase = STREAM_DONE;
            return VOX_DONE;
        }
        int status;
        if (queued == 0) {
            int64_t ready = n_ready(s) - s->n_encoded;
            if (ready <= 0) return VOX_WAIT;
            status = encode(s, widest_pass(ready < s->batch ? ready : s->batch));
        } else if (s->n_decoded < n_silent) {
            int64_t left = n_silent - s->n_decoded;
            status = decode(s, widest_pass(queued < left ? queued : left), NULL);
        } else {
            return decode(s, 1, slot);
        }
        if (status != VOX_OK) return status;
    }
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
    watch_list *w = &s->c.watch;
    if (watch_find(w, name) >= 0) return VOX_OK;
    if (w->n == MAX_WATCHES) return fail(s, VOX_ERR_ARGUMENT, "too many tensors are watched");
    snprintf(w->list[w->n++].name, WATCH_NAME, "%s", name);
    encoder_drop_graphs(&s->enc);
    decoder_drop_graphs(&s->dec);
    return VOX_OK;
}

int64_t stream_pending(const vox_stream *s) {
    int64_t left = s->n_pushed - slot_begin(s, s->n_decoded);
    return left < 0 ? 0 : left < s->n_pushed ? left : s->n_pushed;
}

vox_stats stream_stats(const vox_stream *s) {
    vox_stats stats = s->stats;
    stats.state_bytes = (int64_t)(sizeof *s + s->cap_samples * sizeof *s->samples +
                                  kv_bytes(&s->enc_state.kv) + kv_bytes(&s->dec_state.kv));
    stats.scratch_bytes = (int64_t)(encoder_bytes(&s->enc) + decoder_bytes(&s->dec));
    stats.weight_bytes = s->m->info.n_bytes;
    return stats;
}

int64_t stream_memory(const vox_stream *s) {
    vox_stats stats = stream_stats(s);
    return stats.state_bytes + stats.scratch_bytes;
}
