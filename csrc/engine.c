/* engine.c - see engine.h. */
#include "engine.h"

#include <stdlib.h>

int engine_open(engine **out, const vox_model *m, watch_list *watch) {
    engine *e = *out = calloc(1, sizeof *e);
    if (!e) return VOX_ERR_MEMORY;
    e->m = m;
    /* The last slot of the left padding ends in samples: its last mel frame looks ahead. */
    e->n_silence = m->n_left_pad - 1;
    e->audio = malloc(((size_t)e->n_silence + 1) * (size_t)m->dec.dim * sizeof *e->audio);
    if (!e->audio || compute_init(&e->c, m->n_threads, m->kernels, watch) != VOX_OK ||
        encoder_init(&e->enc, m, &e->c) != VOX_OK || decoder_init(&e->dec, m, &e->c) != VOX_OK ||
        encoder_state_init(&e->encoder, m) != VOX_OK) {
        engine_close(e);
        *out = NULL;
        return VOX_ERR_MEMORY;
    }
    return VOX_OK;
}

void engine_close(engine *e) {
    if (!e) return;
    for (delay_start *d = e->delays, *next; d; d = next) {
        next = d->next;
        decoder_state_free(&d->decoder);
        free(d->ffn_norm);
        free(d);
    }
    encoder_state_free(&e->encoder);
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
    if (!d->ffn_norm || decoder_state_init(&d->decoder, e->m) != VOX_OK) {
        free(d->ffn_norm);
        free(d);
        return NULL;
    }
    d->decoder.ffn_norm = d->ffn_norm;
    return e->delays = d;
}

const float *engine_norms(engine *e, int n_delay) {
    const delay_start *d = find_delay(e, n_delay);
    return d ? d->ffn_norm : NULL;
}

static int min(int a, int b) {
    return a < b ? a : b;
}

static int encode_silence(engine *e) {
    const vox_model *m = e->m;
    float samples[MEL_SLOT] = {0}, mel[ENCODER_WIDTH * MEL_PER_SLOT * N_MEL];
    mel_state state;
    mel_reset(&state);
    for (int i = 0; i < ENCODER_WIDTH; i++)
        mel_slot(&m->mel, &state, samples, mel + i * MEL_PER_SLOT * N_MEL);
    encoder_state_reset(&e->encoder, m, 0);
    int status = VOX_OK;
    for (int done = 0, w; status == VOX_OK && done < e->n_silence; done += w) {
        w = min(ENCODER_WIDTH, e->n_silence - done);
        status = encoder_reserve(&e->enc, &e->encoder, w);
        if (status == VOX_OK)
            status = encoder_run(&e->enc, &e->encoder, mel, w,
                                 e->audio + (size_t)done * (size_t)m->dec.dim);
    }
    return status;
}

static int decode_silence(engine *e, delay_start *d) {
    const vox_model *m = e->m;
    decoder_state_reset(&d->decoder, 0);
    int status = VOX_OK;
    for (int done = 0, w; status == VOX_OK && done < e->n_silence; done += w) {
        int32_t tokens[DECODER_WIDTH];
        w = min(DECODER_WIDTH, e->n_silence - done);
        for (int i = 0; i < w; i++) tokens[i] = done + i == 0 ? m->token_bos : m->info.token_pad;
        status = decoder_reserve(&e->dec, &d->decoder, w, 0);
        if (status == VOX_OK)
            status = decoder_run(&e->dec, &d->decoder, tokens,
                                 e->audio + (size_t)done * (size_t)m->dec.dim, w);
        if (status == VOX_OK) decoder_keep(&d->decoder, w);
    }
    return status;
}

int engine_start(engine *e, int n_delay, encoder_state *enc, decoder_state *dec) {
    delay_start *d = find_delay(e, n_delay);
    if (!d) return VOX_ERR_MEMORY;
    int status = e->has_encoder ? VOX_OK : encode_silence(e);
    if (status == VOX_OK) e->has_encoder = 1;
    if (status == VOX_OK && !d->has_decoder) status = decode_silence(e, d);
    if (status != VOX_OK) return status;
    d->has_decoder = 1;
    encoder_state_copy(enc, &e->encoder, e->m);
    kv_share(&dec->kv, &d->decoder.kv);
    return VOX_OK;
}

size_t engine_bytes(const engine *e) {
    if (!e) return 0;
    const transformer_params *p = &e->m->dec;
    size_t n = encoder_bytes(&e->enc) + decoder_bytes(&e->dec) + e->c.n_work +
               (size_t)e->n_silence * (size_t)p->dim * sizeof *e->audio + kv_bytes(&e->encoder.kv);
    for (const delay_start *d = e->delays; d; d = d->next)
        n += (size_t)p->n_layers * (size_t)p->dim * sizeof *d->ffn_norm + kv_bytes(&d->decoder.kv);
    return n;
}
