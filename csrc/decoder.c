/* decoder.c - see decoder.h. Shapes are in ggml's order; columns are positions. */
#include "decoder.h"

#include <ggml-backend.h>
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
float *decoder_delay_norms(const vox_model *m, int n_delay) {
    int dim = m->dec.dim, half = dim / 2;
    float *ffn_norm = malloc((size_t)m->dec.n_layers * (size_t)dim * sizeof *ffn_norm);
    double *t = malloc((size_t)(dim + m->ada_dim) * sizeof *t), *hidden = t + dim;
    if (!ffn_norm || !t) {
        free(ffn_norm);
        free(t);
        return NULL;
    }
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
    free(t);
    return ffn_norm;
}

int decoder_state_init(decoder_state *st, const vox_model *m) {
    const transformer_params *p = &m->dec;
    *st = (decoder_state){0};
    return kv_init(&st->kv, p->n_layers, p->n_kv_heads, p->head_dim, p->window, DECODER_WIDTH,
                   ggml_type_size(m->kv_type))
               ? VOX_ERR_MEMORY
               : VOX_OK;
}

void decoder_state_reset(decoder_state *st, int64_t position) {
    kv_reset(&st->kv, position);
}

void decoder_state_free(decoder_state *st) {
    kv_free(&st->kv);
    *st = (decoder_state){0};
}

/* ---- graph ---------------------------------------------------------------------------------- */

static int build(decoder *d, decoder_graph *dg, int w) {
    const vox_model *m = d->m;
    const transformer_params *p = &m->dec;
    graph *g = &dg->g;
    int status = graph_begin(g, d->c, 64 + 32 * p->n_layers);
    if (status != VOX_OK) return status;
    struct ggml_context *ctx = g->ctx;

    dg->tokens_in = graph_input(g, GGML_TYPE_I32, w, 1);
    dg->audio_in = graph_input(g, GGML_TYPE_F32, p->dim, w);
    dg->ffn_norm_in = graph_input(g, GGML_TYPE_F32, p->dim, p->n_layers);
    struct ggml_tensor *h = ggml_add(ctx, lookup(g, m->embed, dg->tokens_in), dg->audio_in);
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
    dg->hidden = h;
    graph_output(g, h);
    return graph_end(g, d->memory);
}

static int build_head(decoder *d, head_graph *hg, int n) {
    const vox_model *m = d->m;
    graph *g = &hg->g;
    int status = graph_begin(g, d->c, 64);
    if (status != VOX_OK) return status;
    hg->hidden_in = graph_input(g, GGML_TYPE_F32, m->dec.dim, n);
    hg->logits =
        linear(g, m->embed, NULL, rms_norm(g, hg->hidden_in, m->dec_norm, m->dec.norm_eps));
    graph_probe(g, hg->logits, "dec.logits", -1);
    graph_output(g, hg->logits);
    return graph_end(g, d->head_memory);
}

/* ---- passes --------------------------------------------------------------------------------- */

int decoder_init(decoder *d, const vox_model *m, compute *c) {
    *d = (decoder){.m = m, .c = c};
    d->layers = malloc((size_t)m->dec.n_layers * sizeof *d->layers);
    d->memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
    d->head_memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
    if (!d->layers || !d->memory || !d->head_memory ||
        attention_init(&d->attn, &m->dec, m->kv_type, DECODER_WIDTH, c->kernels) != VOX_OK) {
        decoder_free(d);
        return VOX_ERR_MEMORY;
    }
    for (int i = 0; i < m->dec.n_layers; i++) d->layers[i] = (attention_layer){&d->attn, i};
    return VOX_OK;
}

void decoder_free(decoder *d) {
    for (int i = 0; i < DECODER_WIDTH; i++) {
        graph_free(&d->graphs[i].g);
        graph_free(&d->head_graphs[i].g);
    }
    if (d->memory) ggml_gallocr_free(d->memory);
    if (d->head_memory) ggml_gallocr_free(d->head_memory);
    attention_free(&d->attn);
    free(d->layers);
    *d = (decoder){0};
}

static int reserve_graph(decoder *d, int w) {
    return d->graphs[w - 1].g.ctx ? VOX_OK : build(d, &d->graphs[w - 1], w);
}

static int reserve_head(decoder *d, int n) {
    return d->head_graphs[n - 1].g.ctx ? VOX_OK : build_head(d, &d->head_graphs[n - 1], n);
}

int decoder_reserve(decoder *d, decoder_state *st, int w, int n) {
    if (kv_reserve(&st->kv, w)) return VOX_ERR_MEMORY;
    int status = reserve_graph(d, DECODER_WIDTH); /* the widest first: see graph_end */
    if (status == VOX_OK) status = reserve_graph(d, w);
    if (status == VOX_OK && n > 0) status = reserve_head(d, DECODER_WIDTH);
    if (status == VOX_OK && n > 0) status = reserve_head(d, n);
    return status;
}

int decoder_run(decoder *d, decoder_state *st, const int32_t *tokens, const float *audio, int w) {
    decoder_graph *dg = &d->graphs[w - 1];
    memcpy(dg->tokens_in->data, tokens, (size_t)w * sizeof *tokens);
    memcpy(dg->audio_in->data, audio, ggml_nbytes(dg->audio_in));
    memcpy(dg->ffn_norm_in->data, st->ffn_norm, ggml_nbytes(dg->ffn_norm_in));
    attention_prepare(&d->attn, &st->kv, w);
    d->width = w;
    return graph_run(&dg->g);
}

/* In lanes, so that it is a small part of the product before it. x * 0 is NaN where x is not
 * finite. */
static int32_t argmax(const float *x, int n) {
    enum { LANES = 32 };
    float max[LANES], poison[LANES] = {0};
    for (int j = 0; j < LANES; j++) max[j] = x[0];
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
            poison[j] += x[i + j] * 0;
        }
    for (; i < n; i++) {
        max[0] = x[i] > max[0] ? x[i] : max[0];
        poison[0] += x[i] * 0;
    }
    for (int j = 0; j < LANES; j++) {
        if (poison[j] != 0) return -1;
        max[0] = max[j] > max[0] ? max[j] : max[0];
    }
    for (i = 0; x[i] != max[0];) i++;
    return i;
}

int decoder_head(decoder *d, int n, const float *penalties, int32_t *next) {
    head_graph *hg = &d->head_graphs[n - 1];
    const struct ggml_tensor *hidden = d->graphs[d->width - 1].hidden;
    memcpy(hg->hidden_in->data, (const char *)hidden->data + (size_t)(d->width - n) * hidden->nb[1],
           ggml_nbytes(hg->hidden_in));
    d->head_width = n;
    int status = graph_run(&hg->g);
    const vox_model_info *info = &d->m->info;
    for (int i = 0; status == VOX_OK && i < n; i++) {
        float *logits = (float *)hg->logits->data + (size_t)i * (size_t)info->n_vocab;
        float pad = logits[info->token_pad];
        logits[info->token_pad] -= penalties[i];
        next[i] = argmax(logits, info->n_vocab);
        logits[info->token_pad] = pad;
    }
    return status;
}

int decoder_weigh(const decoder *d, int i, int32_t token, float *confidence, int n,
                  vox_alternative *alternatives) {
    const vox_model_info *info = &d->m->info;
    const float *logits = (const float *)d->head_graphs[d->head_width - 1].logits->data +
                          (size_t)i * (size_t)info->n_vocab;
    float max = logits[token];
    for (int t = 0; t < info->n_vocab; t++) max = logits[t] > max ? logits[t] : max;
    double sum = 0;
    for (int t = 0; t < info->n_vocab; t++) sum += expf(logits[t] - max);
    *confidence = (float)(expf(logits[token] - max) / sum);
    int n_found = 0;
    for (int32_t t = info->n_special; t < info->n_vocab; t++) {
        if (n == 0 || t == token) continue;
        if (n_found == n && logits[t] <= logits[alternatives[n - 1].token]) continue;
        int at = n_found < n ? n_found++ : n - 1;
        for (; at > 0 && logits[t] > logits[alternatives[at - 1].token]; at--)
            alternatives[at] = alternatives[at - 1];
        alternatives[at].token = t;
    }
    for (int k = 0; k < n_found; k++)
        alternatives[k].confidence = (float)(expf(logits[alternatives[k].token] - max) / sum);
    return n_found;
}

void decoder_keep(decoder_state *st, int n) {
    kv_commit(&st->kv, n);
}

size_t decoder_bytes(const decoder *d) {
    size_t n = ggml_gallocr_get_buffer_size(d->memory, 0) +
               ggml_gallocr_get_buffer_size(d->head_memory, 0);
    for (int i = 0; i < DECODER_WIDTH; i++)
        n += graph_bytes(&d->graphs[i].g) + graph_bytes(&d->head_graphs[i].g);
    return n;
}
