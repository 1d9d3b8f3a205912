/* stream.c - see stream.h; the schedule of slots is docs/streaming.md's. */
#include "stream.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rounding.h"

int stream_fail(vox_stream *s, int status, const char *message) {
    snprintf(s->message, sizeof s->message, "%s", message);
    return status;
}

static int fail_not_finite(vox_stream *s) {
    s->phase = STREAM_FAILED;
    return stream_fail(s, VOX_ERR_COMPUTE,
                       "the model gave values that are not finite: its file is damaged");
}

int stream_refuse_failed(vox_stream *s) {
    return stream_fail(s, VOX_ERR_STATE, "the stream has failed: reset or close it");
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

enum {
    MAX_DENSE_DELAY = 15, /* the model was trained for delays of 1 to 15 slots, ... */
    FAR_DELAY = 30,       /* ... and of 30 */
};
static const float WORDS_BONUS = 3, MOST_BONUS = 10; /* docs/words.md */
static const float MOST_GAIN_DB = 60;

const char *stream_params_fault(const vox_model *m, vox_stream_params *p) {
    if (p->delay_ms == 0) p->delay_ms = m->info.default_delay_ms;
    int delay = p->delay_ms / MS_PER_SLOT;
    if (p->delay_ms % MS_PER_SLOT != 0 || delay < 1 ||
        (delay > MAX_DENSE_DELAY && delay != FAR_DELAY))
        return "the delay must be a multiple of 80 ms from 80 to 1200, or 2400";
    if (p->batch_ms == 0) p->batch_ms = ENCODER_WIDTH * MS_PER_SLOT;
    if (p->batch_ms % MS_PER_SLOT != 0 || p->batch_ms < MS_PER_SLOT ||
        p->batch_ms > ENCODER_WIDTH * MS_PER_SLOT)
        return "the batch must be a multiple of 80 ms from 80 to 1280";
    if (p->pad_guard_ms < 0 || p->pad_guard_ms % MS_PER_SLOT != 0)
        return "the pad guard must begin after a multiple of 80 ms, or be 0 for none";
    /* As at the end of the audio: what is silent that long brings out the last words. */
    int last_words_ms = p->delay_ms + m->n_right_extra * MS_PER_SLOT;
    if (p->silence_gate_ms != 0 && p->silence_gate_ms < last_words_ms)
        return "the silence gate must leave the last words their time: the delay and 880 ms";
    if (p->silence_gate_ms % MS_PER_SLOT != 0)
        return "the silence gate must shut after a multiple of 80 ms, or be 0 for none";
    if (p->background < 0 || p->background > 1) return "background must be 0 or 1";
    if (p->confidence < 0 || p->confidence > 1) return "confidence must be 0 or 1";
    if (p->n_alternatives < 0 || p->n_alternatives > VOX_MAX_ALTERNATIVES)
        return "there can be 0 to 8 alternatives";
    if (p->auto_gain < 0 || p->auto_gain > 1) return "auto_gain must be 0 or 1";
    if (!(fabsf(p->gain_db) <= MOST_GAIN_DB)) return "the gain must be from -60 to 60 dB";
    if (p->auto_gain && p->gain_db != 0) return "the gain is automatic or a number of dB: not both";
    if (p->words_bonus == 0) p->words_bonus = WORDS_BONUS;
    if (!(p->words_bonus > 0 && p->words_bonus <= MOST_BONUS))
        return "the bonus of words must be above 0 and at most 10";
    return NULL;
}

static int list_words(vox_stream *s, const char **fault) {
    const vox_model *m = s->m;
    const vocabulary of = {m->token_bytes, m->token_offsets, m->info.n_special, m->info.n_vocab};
    const char *text = s->params.words;
    s->params.words = NULL; /* the caller's, who may let go of it */
    if (!text) return VOX_OK;
    return words_new(&s->words.list, &of, text, strlen(text), s->params.words_bonus, fault);
}

int stream_init(vox_stream *s, vox_model *m, const vox_stream_params *params, const char **fault) {
    *s = (vox_stream){.m = model_retain(m),
                      .params = *params,
                      .slots = {.n_left_pad = m->n_left_pad,
                                .n_delay = params->delay_ms / MS_PER_SLOT,
                                .n_right_extra = m->n_right_extra},
                      .batch = params->batch_ms / MS_PER_SLOT,
                      .request = {.is_background = params->background,
                                  .has_confidence = params->confidence,
                                  .n_alternatives = params->n_alternatives}};
    s->mel_frames = malloc(ENCODER_WIDTH * MEL_PER_SLOT * N_MEL * sizeof *s->mel_frames);
    s->audio = malloc((DECODER_WIDTH + ENCODER_WIDTH) * (size_t)m->dec.dim * sizeof *s->audio);
    s->slot_text = malloc(text_bound(longest_token(m)));
    *fault = "out of memory";
    int status = VOX_ERR_MEMORY;
    if (s->mel_frames && s->audio && s->slot_text &&
        encoder_state_init(&s->enc_state, m) == VOX_OK &&
        decoder_state_init(&s->dec_state, m) == VOX_OK)
        status = list_words(s, fault);
    if (status != VOX_OK) {
        stream_free(s);
        return status;
    }
    stream_reset(s, 0);
    return VOX_OK;
}

void stream_free(vox_stream *s) {
    engine_close(s->own_engine);
    watch_free(&s->watch);
    decoder_state_free(&s->dec_state);
    encoder_state_free(&s->enc_state);
    words_release(s->words.list);
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
    slots_reset(&s->slots);
    s->clock = slot;
    s->token = s->m->info.token_pad;
    mel_reset(&s->front.mel);
    text_reset(&s->text);
    s->guard =
        (pad_guard){.pad = s->m->info.token_pad, .n_allowed = s->params.pad_guard_ms / MS_PER_SLOT};
    s->words.place = words_start();
    s->front.gate = (silence_gate){.n_computed = s->params.silence_gate_ms / MS_PER_SLOT};
    gain_reset(&s->front.gain, s->params.auto_gain, s->params.gain_db);
    draft_reset(&s->draft, s->m->info.token_pad, s->m->info.token_word);
    encoder_state_reset(&s->enc_state, s->m, slot);
    decoder_state_reset(&s->dec_state, slot);
    watch_clear(&s->watch);
    s->stats = (vox_stats){0};
}

/* ---- audio in ------------------------------------------------------------------------------- */

int stream_push(vox_stream *s, const float *samples, size_t n) {
    if (s->phase == STREAM_FAILED) return stream_refuse_failed(s);
    if (s->phase != STREAM_OPEN)
        return stream_fail(s, VOX_ERR_STATE, "push after finish: reset the stream first");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(samples[i]))
            return stream_fail(s, VOX_ERR_ARGUMENT, "a sample is not finite (NaN or infinite)");
    if (n > SIZE_MAX / sizeof(float) / 4 - s->n_samples)
        return stream_fail(s, VOX_ERR_MEMORY, "out of memory for audio");
    if (s->first_sample + s->n_samples + n > s->cap_samples) {
        /* Move to the front, into more room if less than half would stay free there: so that moves
           stay rare, and small changes of the lag do not make the room grow. */
        size_t need = s->n_samples + n, cap = 2 * need > s->cap_samples ? 3 * need : s->cap_samples;
        float *room = cap > s->cap_samples ? malloc(cap * sizeof *room) : s->samples;
        if (!room) return stream_fail(s, VOX_ERR_MEMORY, "out of memory for audio");
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
    s->slots.n_pushed += (int64_t)n;
    return VOX_OK;
}

int stream_finish(vox_stream *s) {
    if (s->phase == STREAM_FAILED) return stream_refuse_failed(s);
    if (s->phase != STREAM_OPEN) return VOX_OK;
    slots_end(&s->slots);
    s->phase = STREAM_DRAINING;
    return VOX_OK;
}

/* Copy the samples of the next w slots, silence where nothing was pushed. */
static void take_samples(const vox_stream *s, int w, float *out) {
    int64_t begin = slots_begin(&s->slots, slots_taken(&s->slots)),
            n = (int64_t)w * SAMPLES_PER_SLOT;
    int64_t held = s->slots.n_pushed - (int64_t)s->n_samples; /* index of the first one held */
    int64_t from = begin > held ? begin : held,
            to = begin + n < s->slots.n_pushed ? begin + n : s->slots.n_pushed;
    memset(out, 0, (size_t)n * sizeof *out);
    if (to > from)
        memcpy(out + (from - begin), s->samples + s->first_sample + (from - held),
               (size_t)(to - from) * sizeof *out);
}

/* Let go of the samples of slots that were taken. */
static void drop_samples(vox_stream *s) {
    size_t left = slots_samples_waiting(&s->slots);
    s->first_sample += s->n_samples - left;
    s->n_samples = left;
}

/* ---- passes --------------------------------------------------------------------------------- */

static_assert((int)DRAFT_WIDTH == (int)DECODER_WIDTH, "guesses fill a pass");
static_assert((int)ENCODER_WIDTH <= (int)DECODER_WIDTH, "slots that are skipped are said at once");

/* The mel frames of the next w slots, or of as many of them as the gate treats like the first; how
 * many these are. */
static int listen(vox_stream *s, int w, int *is_shut) {
    float samples[ENCODER_WIDTH * SAMPLES_PER_SLOT];
    take_samples(s, w, samples);
    for (int i = 0; i < w; i++) {
        front_state before = s->front;
        float *frames = s->mel_frames + i * MEL_PER_SLOT * N_MEL;
        /* The silence before the first sample is not the audio's. */
        int is_heard = slots_taken(&s->slots) + i >= s->m->n_left_pad;
        gain_slot(&s->front.gain, samples + i * SAMPLES_PER_SLOT, is_heard);
        mel_slot(s->m->kernels, &s->m->mel, &s->front.mel, samples + i * SAMPLES_PER_SLOT, frames);
        int shuts = is_heard && gate_shuts(&s->front.gate, frames);
        if (i > 0 && shuts != *is_shut) {
            s->front = before;
            return i;
        }
        *is_shut = shuts;
    }
    return w;
}

/* Slots that the gate shuts out say a pad each, and that is all they do: nobody speaks. */
static void skip(vox_stream *s, int w) {
    for (int i = 0; i < w; i++)
        s->said[i] = (said_token){.token = s->m->info.token_pad, .turns = {1}};
    s->slots.n_said = w;
    s->slots.n_given = 0;
    s->slots.n_skipped += w;
    s->stats.n_skipped += w;
    drop_samples(s);
}

/* The next slots through the decoder: what is left of the prompt, then the token said last and
 * guesses of what follows it. The first position that speaks hears what it should, so its token is
 * right; the next one is if it heard that very token, and so on. All behind the first wrong guess
 * is forgotten.
 */
static int plan_decode(vox_stream *s) {
    pass_request *r = &s->request;
    int room = (int)min(min(s->slots.n_encoded - s->slots.n_decoded, s->batch), DECODER_WIDTH);
    int silent = s->slots.n_decoded < slots_silent(&s->slots)
                     ? (int)min(slots_silent(&s->slots) - s->slots.n_decoded, room)
                     : 0;
    int32_t *heard = r->tokens + silent;
    for (int i = 0; i < silent; i++)
        r->tokens[i] = model_prompt_token(s->m, s->slots.n_decoded + i);
    int n = 0; /* positions that speak */
    if (room > silent) {
        *heard = s->token;
        n = draft_plan(&s->draft, batch_price(s->m->batch), s->token, room - silent, heard + 1);
        if (s->width > 0) n = (int)min(s->width, room - silent);
        if (s->watch.n > 0) n = 1; /* so that every row is of a slot that stays */
    }
    guard_plan(&s->guard, heard, n, r->penalties);
    words_plan(&s->words, heard, n, r->places);
    r->kind = PASS_DECODE;
    r->dec = (decoder_part){
        .state = &s->dec_state, .audio = s->audio, .words = s->words.list, .w = silent + n, .n = n};
    return 1;
}

static int settle_decode(vox_stream *s) {
    pass_request *r = &s->request;
    int n = r->dec.n, silent = r->dec.w - n, right = r->n_right;
    if (r->status != VOX_OK) return stream_fail(s, r->status, "out of memory");
    s->stats.head_ns += r->head_ns;
    *(silent > 0 ? &s->stats.prefill_ns : &s->stats.decoder_ns) += r->ns - r->head_ns;
    *(silent > 0 ? &s->stats.n_prefill_passes : &s->stats.n_decoder_passes) += 1;
    if (n > 0 && right == 0) return fail_not_finite(s);
    draft_learn(&s->draft, r->tokens + silent, r->next, n, right);
    guard_learn(&s->guard, r->next, right);
    words_learn(&s->words, r->next, right);
    if (right > 0) s->token = r->next[right - 1];
    memcpy(s->said, r->said, (size_t)right * sizeof *s->said);
    int kept = silent + right;
    size_t dim = (size_t)s->m->dec.dim;
    decoder_keep(&s->dec_state, kept);
    s->slots.n_decoded += kept;
    memmove(s->audio, s->audio + (size_t)kept * dim,
            (size_t)(s->slots.n_encoded - s->slots.n_decoded) * dim * sizeof *s->audio);
    s->slots.n_said = right;
    s->slots.n_given = 0;
    if (silent == 0) s->stats.n_decoder_shared += r->width;
    s->stats.n_prefill_slots += silent;
    s->stats.n_decoder_slots += n;
    s->stats.n_accepted += right;
    s->stats.n_drafted += n > 0 ? n - 1 : 0;
    s->stats.n_agreed += right > 0 ? right - 1 : 0;
    return VOX_OK;
}

/* The next slots, at most w, for the encoder; or past it and the decoder, if that has none left
 * before them. 1: the request is filled; 0: nothing is left to do. */
static int plan_encode(vox_stream *s, int w) {
    front_state before = s->front;
    int64_t start = platform_clock_ns();
    int is_shut = 0;
    w = listen(s, w, &is_shut);
    s->stats.mel_ns += platform_clock_ns() - start;
    int watch = watch_find(&s->watch, "mel");
    int64_t n = (int64_t)w * MEL_PER_SLOT * N_MEL;
    int status = watch_reserve(&s->watch, watch, n);
    if (status != VOX_OK || (is_shut && s->slots.n_decoded < s->slots.n_encoded)) {
        s->front = before;
        return status == VOX_OK ? plan_decode(s) : stream_fail(s, status, "out of memory");
    }
    if (is_shut) {
        watch_append(&s->watch, watch, s->mel_frames, n);
        skip(s, w);
        return 0;
    }
    s->request.kind = PASS_ENCODE;
    s->request.enc =
        (encoder_part){.state = &s->enc_state,
                       .mel = s->mel_frames,
                       .audio = s->audio + (size_t)(s->slots.n_encoded - s->slots.n_decoded) *
                                               (size_t)s->m->dec.dim,
                       .w = w};
    s->before = before;
    return 1;
}

static int settle_encode(vox_stream *s) {
    pass_request *r = &s->request;
    if (r->status != VOX_OK) {
        s->front = s->before;
        return stream_fail(s, r->status, "out of memory");
    }
    s->stats.encoder_ns += r->ns;
    s->stats.n_encoder_passes++;
    s->stats.n_encoder_slots += r->enc.w;
    s->stats.n_encoder_shared += r->width;
    watch_append(&s->watch, watch_find(&s->watch, "mel"), s->mel_frames,
                 (int64_t)r->enc.w * MEL_PER_SLOT * N_MEL);
    s->slots.n_encoded += r->enc.w;
    drop_samples(s);
    return VOX_OK;
}

/* The silence before the first sample is the same for all streams, but for those whose rows
 * somebody wants to see or whose clock starts elsewhere: they hear it like any other slots. */
static int settle_start(vox_stream *s) {
    const pass_request *r = &s->request;
    s->stats.prefill_ns += r->ns;
    if (r->status != VOX_OK) return stream_fail(s, r->status, "out of memory, or of threads");
    s->slots.n_encoded = s->slots.n_decoded = s->m->n_left_pad - 1;
    return VOX_OK;
}

/* What the stream needs of the next pass, in its request: 1; 0 if it needed none to move on; or an
 * error. Slots wait for the decoder, or for the encoder. A full batch is always worth encoding, so
 * that the decoder never runs out of slots to look ahead into; fewer only when it has none. Where
 * embeddings are handed out, no slot ever waits for the decoder. */
static int plan(vox_stream *s, int has_decoder) {
    s->request.n_delay = s->slots.n_delay;
    if (s->slots.n_encoded == 0 && has_decoder && s->watch.n == 0 && s->clock == 0) {
        s->request.kind = PASS_START;
        s->request.enc.state = &s->enc_state;
        s->request.dec.state = &s->dec_state;
        return 1;
    }
    int64_t queued = s->slots.n_encoded - s->slots.n_decoded,
            ready = slots_complete(&s->slots) - slots_taken(&s->slots);
    if (queued == 0 || (has_decoder && queued < DECODER_WIDTH && ready >= s->batch))
        return plan_encode(s, (int)min(ready, s->batch));
    return plan_decode(s);
}

/* After the pass: VOX_OK or an error. */
static int settle(vox_stream *s) {
    int status = VOX_OK;
    switch (s->request.kind) {
    case PASS_START: status = settle_start(s); break;
    case PASS_ADOPT: break; /* which streams do not ask for */
    case PASS_ENCODE: status = settle_encode(s); break;
    case PASS_DECODE: status = settle_decode(s); break;
    }
    s->keeps_rows = status == VOX_ERR_MEMORY;
    assert(slots_hold(&s->slots, DECODER_WIDTH + ENCODER_WIDTH - 1, DECODER_WIDTH));
    return status;
}

/* The first of the likeliest states, or -1. */
static int32_t likeliest_turn(const vox_model *m, const said_token *said) {
    int32_t best = 0;
    for (int32_t i = 1; i < VOX_N_TURNS; i++)
        if (said->turns[i] > said->turns[best]) best = i;
    return m->turn_head ? best : -1;
}

static int hand_out(vox_stream *s, vox_slot *slot) {
    const vox_model *m = s->m;
    said_token *said = &s->said[s->slots.n_given++];
    for (int i = 0; i < said->n_alternatives; i++) {
        vox_alternative *a = &said->alternatives[i];
        vox_model_token(m, a->token, &a->text, &a->n_text);
    }
    int32_t token = said->token;
    *slot = (vox_slot){.index = s->slots.n_out++,
                       .token = token,
                       .text = s->slot_text,
                       .confidence = said->confidence,
                       .alternatives = said->alternatives,
                       .n_alternatives = said->n_alternatives,
                       .turn = likeliest_turn(m, said)};
    if (m->turn_head) memcpy(slot->turns, said->turns, sizeof slot->turns);
    if (token >= m->info.n_special) {
        const char *bytes = (const char *)m->token_bytes + m->token_offsets[token];
        slot->n_text = text_push(
            &s->text, bytes, m->token_offsets[token + 1] - m->token_offsets[token], s->slot_text);
    }
    if (s->phase == STREAM_DRAINING && slots_silent(&s->slots) + s->slots.n_out == s->slots.n_total)
        slot->n_text += text_flush(&s->text, s->slot_text + slot->n_text);
    return VOX_SLOT;
}

/* What stream_next gives without a pass, or VOX_OK if it needs one. */
static int standing(vox_stream *s) {
    if (s->phase == STREAM_FAILED) return stream_refuse_failed(s);
    if (s->slots.gives_embeddings)
        return stream_fail(s, VOX_ERR_STATE, "the stream gives embeddings: reset it to have text");
    if (s->slots.n_given < s->slots.n_said) return VOX_SLOT;
    if (s->phase != STREAM_OPEN && slots_done(&s->slots) == s->slots.n_total) {
        s->phase = STREAM_DONE;
        return VOX_DONE;
    }
    return slots_complete(&s->slots) <= slots_done(&s->slots) ? VOX_WAIT : VOX_OK;
}

/* plan(), with the mel as everywhere. */
static int plan_rounded(vox_stream *s, int has_decoder) {
    fenv_t callers = rounding_default();
    int status = plan(s, has_decoder);
    fesetenv(&callers);
    return status;
}

/* A pass for one stream, on its own engine if it is watched. */
static int run_alone(vox_stream *s) {
    if (s->watch.n == 0) {
        s->request.peer = NULL;
        batch_run(s->m->batch, &s->request);
    } else {
        if (!s->own_engine && engine_open(&s->own_engine, s->m, &s->watch) != VOX_OK)
            s->request.status = VOX_ERR_MEMORY;
        else engine_run(s->own_engine, &(pass_request *){&s->request}, 1);
    }
    return settle(s);
}

int stream_next(vox_stream *s, vox_slot *slot) {
    if (!s->keeps_rows) watch_clear(&s->watch);
    int status;
    while ((status = standing(s)) == VOX_OK) {
        status = plan_rounded(s, 1);
        if (status > 0) status = run_alone(s);
        if (status < 0) return status;
    }
    if (status == VOX_SLOT) return hand_out(s, slot);
    if (status > 0) batch_leave(s->m->batch, &s->request);
    return status;
}

void stream_advance(vox_stream *const *streams, int n, int *status) {
    for (int i = 0; i < n; i++) {
        if (!streams[i]->keeps_rows) watch_clear(&streams[i]->watch);
        status[i] = VOX_OK;
    }
    for (pass_request *first = NULL;; first = NULL) {
        for (int i = 0; i < n; i++) {
            vox_stream *s = streams[i];
            int is_planned = 0;
            while (status[i] == VOX_OK && !is_planned) {
                status[i] = standing(s);
                if (status[i] != VOX_OK) break;
                int planned = plan_rounded(s, 1);
                if (planned < 0) status[i] = planned;
                else if (planned > 0 && s->watch.n > 0) status[i] = run_alone(s);
                else is_planned = planned;
            }
            s->is_planned = is_planned;
            if (!is_planned) continue;
            s->request.peer = first;
            first = &s->request;
        }
        if (!first) break;
        batch_run(streams[0]->m->batch, first);
        for (int i = 0; i < n; i++)
            if (streams[i]->is_planned) status[i] = settle(streams[i]);
    }
    for (int i = 0; i < n; i++)
        if (status[i] == VOX_WAIT || status[i] == VOX_DONE)
            batch_leave(streams[i]->m->batch, &streams[i]->request);
}

int stream_embed(vox_stream *s, float *audio) {
    if (s->phase == STREAM_FAILED) return stream_refuse_failed(s);
    if (s->slots.n_decoded > 0 && !s->slots.gives_embeddings)
        return stream_fail(s, VOX_ERR_STATE, "the stream gives text: reset it to have embeddings");
    s->front.gate.n_computed = 0; /* a decoder elsewhere hears every slot */
    if (!s->keeps_rows) watch_clear(&s->watch);
    if (s->slots.n_encoded == s->slots.n_decoded) {
        if (s->phase != STREAM_OPEN && s->slots.n_decoded == s->slots.n_total) {
            s->phase = STREAM_DONE;
            return VOX_DONE;
        }
        if (slots_complete(&s->slots) <= s->slots.n_decoded) return VOX_WAIT;
        int status = plan_rounded(s, 0);
        if (status > 0) status = run_alone(s);
        if (status < 0) return status;
    }
    size_t dim = (size_t)s->m->dec.dim;
    float poison = 0; /* x * 0 is NaN where x is not finite */
    for (size_t i = 0; i < dim; i++) poison += s->audio[i] * 0;
    if (poison != 0) return fail_not_finite(s);
    memcpy(audio, s->audio, dim * sizeof *audio);
    s->slots.gives_embeddings = 1;
    s->slots.n_decoded++;
    memmove(s->audio, s->audio + dim,
            (size_t)(s->slots.n_encoded - s->slots.n_decoded) * dim * sizeof *s->audio);
    return VOX_SLOT;
}

int stream_give_start(vox_stream *s) {
    int64_t n = s->m->n_left_pad - 1;
    if (s->phase != STREAM_OPEN || s->clock != 0 || s->slots.n_pushed > 0 ||
        s->slots.n_encoded != n || s->slots.n_decoded != n)
        return VOX_ERR_FORMAT;
    s->request.kind = PASS_ADOPT;
    s->request.n_delay = s->slots.n_delay;
    s->request.enc.state = &s->enc_state;
    s->request.dec.state = &s->dec_state;
    s->request.peer = NULL;
    batch_run(s->m->batch, &s->request);
    batch_leave(s->m->batch, &s->request);
    return s->request.status;
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
    if (!known) return stream_fail(s, VOX_ERR_ARGUMENT, "no tensor of this name can be watched");
    if (s->slots.n_encoded > 0)
        return stream_fail(s, VOX_ERR_STATE, "watch before the first next, or after reset");
    watch_list *w = &s->watch;
    if (watch_find(w, name) >= 0) return VOX_OK;
    if (w->n == MAX_WATCHES)
        return stream_fail(s, VOX_ERR_ARGUMENT, "too many tensors are watched");
    snprintf(w->list[w->n++].name, WATCH_NAME, "%s", name);
    engine_close(s->own_engine); /* its graphs were built without this one */
    s->own_engine = NULL;
    return VOX_OK;
}

int64_t stream_pending(const vox_stream *s) {
    return slots_samples_pending(&s->slots);
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
    stats.scratch_bytes =
        s->own_engine ? (int64_t)engine_bytes(s->own_engine) : batch_bytes(s->m->batch);
    stats.weight_bytes = s->m->info.n_bytes;
    return stats;
}
