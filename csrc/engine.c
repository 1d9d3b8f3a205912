/* engine.c - see engine.h. */
#include "engine.h"

#include <stdlib.h>

#include "rounding.h"

static int init(engine *e, const vox_model *m, watch_list *watch) {
    e->m = m;
    /* The last slot of the left padding ends in samples: its last mel frame looks ahead. */
    e->n_silence = m->n_left_pad - 1;
    e->audio = malloc(((size_t)e->n_silence + 1) * (size_t)m->dec.dim * sizeof *e->audio);
    if (!e->audio) return VOX_ERR_MEMORY;
    int status = compute_init(&e->c, m->n_threads, m->kernels, watch);
    if (status == VOX_OK) status = encoder_init(&e->enc, m, &e->c);
    if (status == VOX_OK) status = decoder_init(&e->dec, m, &e->c);
    return status == VOX_OK ? encoder_state_init(&e->silence_enc, m) : status;
}

int engine_open(engine **out, const vox_model *m, watch_list *watch) {
    engine *e = *out = calloc(1, sizeof *e);
    if (!e) return VOX_ERR_MEMORY;
    fenv_t callers = rounding_default(); /* its threads inherit it */
    int status = init(e, m, watch);
    fesetenv(&callers);
    if (status == VOX_OK) return VOX_OK;
    engine_close(e);
    *out = NULL;
    return status;
}

void engine_close(engine *e) {
    if (!e) return;
    for (delay_start *d = e->delays, *next; d; d = next) {
        next = d->next;
        decoder_state_free(&d->silence_dec);
        free(d->ffn_norm);
        free(d);
    }
    encoder_state_free(&e->silence_enc);
    decoder_free(&e->dec);
    encoder_free(&e->enc);
    compute_free(&e->c);
    free(e->audio);
    free(e);
}

static delay_start *find_delay(engine *e, int n_delay) {
    for (delay_start *d = e->delays; d; d = d->next)
        if (d->n_delay == n_delay) return d;
    delay_start *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    *d = (delay_start){.next = e->delays, .n_delay = n_delay};
    d->ffn_norm = decoder_delay_norms(e->m, n_delay);
    if (!d->ffn_norm || decoder_state_init(&d->silence_dec, e->m) != VOX_OK) {
        free(d->ffn_norm);
        free(d);
        return NULL;
    }
    return e->delays = d;
}

/* ---- the start ------------------------------------------------------------------------------ */

static int encode_silence(engine *e) {
    const vox_model *m = e->m;
    float samples[MEL_SLOT] = {0}, mel[ENCODER_WIDTH * MEL_PER_SLOT * N_MEL];
    mel_state state;
    mel_reset(&state);
    for (int i = 0; i < ENCODER_WIDTH; i++)
        mel_slot(m->kernels, &m->mel, &state, samples, mel + i * MEL_PER_SLOT * N_MEL);
    encoder_state_reset(&e->silence_enc, m, 0);
    int status = VOX_OK;
    for (int done = 0; status == VOX_OK && done < e->n_silence;) {
        encoder_part part = {.state = &e->silence_enc,
                             .mel = mel,
                             .audio = e->audio + (size_t)done * (size_t)m->dec.dim,
                             .w = (int)min(ENCODER_WIDTH, e->n_silence - done)};
        status = encoder_reserve(&part);
        if (status == VOX_OK) status = encoder_run(&e->enc, &(encoder_part *){&part}, 1);
        done += part.w;
    }
    return status;
}

static int decode_silence(engine *e, delay_start *d) {
    const vox_model *m = e->m;
    decoder_state_reset(&d->silence_dec, 0);
    int status = VOX_OK;
    for (int done = 0; status == VOX_OK && done < e->n_silence;) {
        int32_t tokens[DECODER_WIDTH];
        decoder_part part = {.state = &d->silence_dec,
                             .ffn_norm = d->ffn_norm,
                             .tokens = tokens,
                             .audio = e->audio + (size_t)done * (size_t)m->dec.dim,
                             .w = (int)min(DECODER_WIDTH, e->n_silence - done)};
        for (int i = 0; i < part.w; i++) tokens[i] = model_prompt_token(m, done + i);
        status = decoder_reserve(&part);
        if (status == VOX_OK) status = decoder_run(&e->dec, &(decoder_part *){&part}, 1);
        if (status == VOX_OK) decoder_keep(&d->silence_dec, part.w);
        done += part.w;
    }
    return status;
}

/* Bring the states of a stream, just reset to position 0, to where it has heard n_silence slots;
 * after an error they are as they were. */
static int start(engine *e, const pass_request *r) {
    delay_start *d = find_delay(e, r->n_delay);
    if (!d) return VOX_ERR_MEMORY;
    int has_all = e->has_encoder && (e->has_audio || d->has_decoder);
    int status = has_all ? VOX_OK : encode_silence(e);
    if (status == VOX_OK && !has_all) e->has_encoder = e->has_audio = 1;
    if (status == VOX_OK && !d->has_decoder) status = decode_silence(e, d);
    if (status != VOX_OK) return status;
    d->has_decoder = 1;
    encoder_state_copy(r->enc.state, &e->silence_enc, e->m);
    kv_share(&r->dec.state->kv, &d->silence_dec.kv);
    return VOX_OK;
}

/* The other way round: states that have heard these slots are the start from now on. */
static int adopt(engine *e, const pass_request *r) {
    delay_start *d = find_delay(e, r->n_delay);
    if (!d) return VOX_ERR_MEMORY;
    if (!e->has_encoder) encoder_state_copy(&e->silence_enc, r->enc.state, e->m);
    if (!d->has_decoder) kv_share(&d->silence_dec.kv, &r->dec.state->kv);
    e->has_encoder = d->has_decoder = 1;
    return VOX_OK;
}

/* ---- passes --------------------------------------------------------------------------------- */

static void encode(engine *e, pass_request *const *requests, int n) {
    encoder_part *parts[ENCODER_WIDTH];
    for (int i = 0; i < n; i++) parts[i] = &requests[i]->enc;
    int status = encoder_run(&e->enc, parts, n);
    for (int i = 0; i < n; i++) requests[i]->status = status;
}

/* The token said at one of the positions that speak, with what the stream wants to know of it. */
static void weigh(const decoder *d, pass_request *r, int i) {
    said_token *said = &r->said[i];
    *said = (said_token){.token = r->next[i]};
    if (said->token >= d->m->info.n_special && (r->has_confidence || r->n_alternatives > 0))
        said->n_alternatives =
            decoder_weigh(d, &r->dec, i, &said->confidence, r->n_alternatives, said->alternatives);
    if (d->turns) decoder_turns(d, &r->dec, i, said->turns);
}

static void decode(engine *e, pass_request *const *requests, int n) {
    decoder_part *parts[DECODER_COLUMNS];
    int width = 0, n_speak = 0;
    for (int i = 0; i < n; i++) {
        parts[i] = &requests[i]->dec;
        width += parts[i]->w;
        n_speak += parts[i]->n;
    }
    int64_t begin = platform_clock_ns();
    int status = decoder_run(&e->dec, parts, n);
    int64_t middle = platform_clock_ns();
    if (status == VOX_OK) status = decoder_head(&e->dec, parts, n);
    int64_t end = platform_clock_ns();
    if (status == VOX_OK && n_speak == width) pass_cost_learn(&e->cost, width, end - begin);
    for (int i = 0; i < n; i++) {
        pass_request *r = requests[i];
        const int32_t *heard = r->tokens + r->dec.w - r->dec.n;
        r->status = status;
        r->n_right = 0;
        /* A logit that is not finite ends it too: it counts once its position is reached for
         * certain. */
        while (status == VOX_OK && r->n_right < r->dec.n && r->next[r->n_right] >= 0 &&
               (r->n_right == 0 || heard[r->n_right] == r->next[r->n_right - 1]))
            weigh(&e->dec, r, r->n_right++);
    }
    int64_t weighed = platform_clock_ns();
    for (int i = 0; i < n && n_speak > 0; i++)
        requests[i]->head_ns = (weighed - middle) * parts[i]->n / n_speak;
}

/* Whether a request has all the room and numbers that its pass needs. */
static int reserve(engine *e, pass_request *r) {
    if (r->kind == PASS_ENCODE) return encoder_reserve(&r->enc);
    if (r->kind <= PASS_ADOPT) return VOX_OK;
    const delay_start *d = find_delay(e, r->n_delay);
    if (!d) return VOX_ERR_MEMORY;
    r->dec.ffn_norm = d->ffn_norm;
    r->dec.tokens = r->tokens;
    r->dec.next = r->next;
    r->dec.penalties = r->penalties;
    r->dec.places = r->places;
    return decoder_reserve(&r->dec);
}

void engine_run(engine *e, pass_request *const *requests, int n) {
    pass_request *ready[DECODER_COLUMNS];
    int n_ready = 0, width = 0;
    fenv_t callers = rounding_default();
    int64_t begin = platform_clock_ns();
    for (int i = 0; i < n; i++) {
        pass_request *r = requests[i];
        r->ns = r->head_ns = 0;
        r->status = reserve(e, r);
        if (r->status != VOX_OK) continue;
        ready[n_ready++] = r;
        width += r->kind == PASS_ENCODE ? r->enc.w : r->dec.w;
    }
    if (n_ready > 0) switch (ready[0]->kind) {
        case PASS_START: ready[0]->status = start(e, ready[0]); break;
        case PASS_ADOPT: ready[0]->status = adopt(e, ready[0]); break;
        case PASS_ENCODE: encode(e, ready, n_ready); break;
        case PASS_DECODE: decode(e, ready, n_ready); break;
        }
    int64_t ns = platform_clock_ns() - begin;
    for (int i = 0; i < n_ready; i++) {
        int w = ready[i]->kind == PASS_ENCODE ? ready[i]->enc.w : ready[i]->dec.w;
        ready[i]->width = width;
        ready[i]->ns = ready[i]->kind <= PASS_ADOPT ? ns : ns * w / width;
    }
    fesetenv(&callers);
}

size_t engine_bytes(const engine *e) {
    if (!e) return 0;
    const transformer_params *p = &e->m->dec;
    size_t n = encoder_bytes(&e->enc) + decoder_bytes(&e->dec) +
               (size_t)e->n_silence * (size_t)p->dim * sizeof *e->audio +
               kv_bytes(&e->silence_enc.kv);
    for (const delay_start *d = e->delays; d; d = d->next)
        n += (size_t)p->n_layers * (size_t)p->dim * sizeof *d->ffn_norm +
             kv_bytes(&d->silence_dec.kv);
    return n;
}
