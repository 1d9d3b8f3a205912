/* decoder.c - see decoder.h. Shapes are in ggml's order; columns are positions. */
#include "decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- state ---------------------------------------------------------------------------------- */

static double gelu(double x) {
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double dot(const float *x, const double *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* ffn_norm * (1 + up(gelu(down(t)))) per layer; t is the sinusoid of the delay, cosines first. It
 * depends on the delay only, so it is made once and folded into the norm's weight. */
static void delay_norms(const vox_model *m, int n_delay, double *t, double *hidden,
                        float *ffn_norm) {
    int dim = m->dec.dim, half = dim / 2;
    for (int i = 0; i < half; i++) {
        double w = pow(10000, -(double)i / half);
        t[i] = cos(n_delay * w);
        t[half + i] = sin(n_delay * w);
    }
    for (int l = 0; l < m->dec.n_layers; l++) {
        const float *down = m->dec_layers[l].ada_down->data, *up = m->dec_layers[l].ada_up->data;
        const float *norm = m->dec_layers[l].ffn_norm->data;
        for (int r = 0; r < m->ada_dim; r++)
            hidden[r] = gelu(dot(down + (size_t)r * (size_t)dim, t, dim));
        for (int i = 0; i < dim; i++)
            ffn_norm[l * dim + i] = (float)(norm[i] * (1 + dot(up + (size_t)i * (size_t)m->ada_dim,
                                                               hidden, m->ada_dim)));
    }
}

int decoder_state_init(decoder_state *st, const vox_model *m, int n_delay) {
    const transformer_params *p = &m->dec;
    *st = (decoder_state){0};
    st->ffn_norm = malloc((size_t)p->n_layers * (size_t)p->dim * sizeof *st->ffn_norm);
    double *scratch = malloc((size_t)(p->dim + m->ada_dim) * sizeof *scratch);
    if (!st->ffn_norm || !scratch ||
        kv_init(&st->kv, p->n_layers, p->n_kv_heads, p->head_dim, p->window, MAX_WIDTH,
                ggml_type_size(m->dec_kv_type))) {
        free(scratch);
        decoder_state_free(st);
        return VOX_ERR_MEMORY;
    }
    delay_norms(m, n_delay, scratch, scratch + p->dim, st->ffn_norm);
    free(scratch);
    return VOX_OK;
}

void decoder_state_reset(decoder_state *st, int64_t position) {
    kv_reset(&st->kv, position);
}

void decoder_state_free(decoder_state *st) {
    kv_free(&st->kv);
    free(st->ffn_norm);
    *st = (decoder_state){0};
}

/* ---- graph ---------------------------------------------------------------------------------- */

static int build(decoder *d, decoder_graph *dg, int w, int with_logits) {
    const vox_model *m = d->m;
    const transformer_params *p = &m->dec;
    graph *g = &dg->g;
    int status = graph_begin(g, d->c, 64 + 32 * p->n_layers);
    if (status != VOX_OK) return status;
    struct ggml_context *ctx = g->ctx;

    dg->tokens_in = graph_input(g, GGML_TYPE_I32, w, 1);
    dg->audio_in = graph_input(g, GGML_TYPE_F32, p->dim, w);
    dg->ffn_norm_in = graph_input(g, GGML_TYPE_F32, p->dim, p->n_layers);
    struct ggml_tensor *h =
        ggml_add(ctx, ggml_get_rows(ctx, m->embed, dg->tokens_in), dg->audio_in);
    for (int i = 0; i < p->n_layers; i++) {
        const layer_weights *l = &m->dec_layers[i];
        struct ggml_tensor *y = rms_norm(g, h, l->attn_norm, p->norm_eps);
        struct ggml_tensor *q = linear(g, l->attn_q, NULL, y);
        struct ggml_tensor *k = linear(g, l->attn_k, NULL, y);
        struct ggml_tensor *v = linear(g, l->attn_v, NULL, y);
        struct ggml_tensor *mixed = attention_build(g, &d->layers[i], q, k, v);
        h = ggml_add(ctx, h, linear(g, l->attn_out, NULL, mixed));
        struct ggml_tensor *norm =
            ggml_view_1d(ctx, dg->ffn_norm_in, p->dim, (size_t)i * dg->ffn_norm_in->nb[1]);
        y = rms_norm(g, h, norm, p->norm_eps);
        h = ggml_add(ctx, h, swiglu(g, l->ffn_gate, l->ffn_up, l->ffn_down, NULL, y));
        graph_probe(g, h, "dec.blk", i);
    }
    dg->logits = NULL;
    if (with_logits) {
        dg->logits = linear(g, m->embed, NULL, rms_norm(g, h, m->dec_norm, p->norm_eps));
        graph_probe(g, dg->logits, "dec.logits", -1);
        graph_output(g, dg->logits);
    } else {
        graph_output(g, h);
    }
    return graph_end(g);
}

/* ---- passes --------------------------------------------------------------------------------- */

int decoder_init(decoder *d, const vox_model *m, compute *c) {
    *d = (decoder){.m = m, .c = c};
    d->layers = malloc((size_t)m->dec.n_layers * sizeof *d->layers);
    if (!d->layers || attention_init(&d->attn, &m->dec, m->dec_kv_type, MAX_WIDTH) != VOX_OK) {
        decoder_free(d);
        return VOX_ERR_MEMORY;
    }
    for (int i = 0; i < m->dec.n_layers; i++) d->layers[i] = (attention_layer){&d->attn, i};
    return VOX_OK;
}

void decoder_drop_graphs(decoder *d) {
    for (int i = 0; i < 2 * N_WIDTHS; i++) graph_free(&d->graphs[i / N_WIDTHS][i % N_WIDTHS].g);
}

void decoder_free(decoder *d) {
    decoder_drop_graphs(d);
    attention_free(&d->attn);
    free(d->layers);
    *d = (decoder){0};
}

int decoder_reserve(decoder *d, decoder_state *st, int w, int with_logits) {
    decoder_graph *dg = &d->graphs[with_logits][width_index(w)];
    if (kv_reserve(&st->kv, w)) return VOX_ERR_MEMORY;
    return dg->g.ctx ? VOX_OK : build(d, dg, w, with_logits);
}

int decoder_run(decoder *d, decoder_state *st, const int32_t *tokens, const float *audio, int w,
                const float **logits) {
    decoder_graph *dg = &d->graphs[logits != NULL][width_index(w)];
    memcpy(dg->tokens_in->data, tokens, (size_t)w * sizeof *tokens);
    memcpy(dg->audio_in->data, audio, ggml_nbytes(dg->audio_in));
    memcpy(dg->ffn_norm_in->data, st->ffn_norm, ggml_nbytes(dg->ffn_norm_in));
    attention_prepare(&d->attn, &st->kv, w);
    int status = graph_run(&dg->g);
    if (status != VOX_OK) return status;
    if (logits) *logits = dg->logits->data;
    kv_commit(&st->kv, w);
    return VOX_OK;
}

size_t decoder_bytes(const decoder *d) {
    size_t n = 0;
    for (int i = 0; i < 2 * N_WIDTHS; i++)
        n += graph_bytes(&d->graphs[i / N_WIDTHS][i % N_WIDTHS].g);
    return n;
}
