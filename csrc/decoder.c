/* decoder.c - see decoder.h. Shapes are in ggml's order; columns are positions. */
#include "decoder.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/functions.h"
#include "maths.h"

/* ---- state ---------------------------------------------------------------------------------- */

/* gelu, in double precision */
static double smooth(double x) {
    return 0.5 * x * (1 + maths_erf(x * 0.7071067811865476));
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
        turns angle = (turns)n_delay * maths_turn(maths_power(10000, -(double)i / half));
        t[i] = maths_cos(angle);
        t[half + i] = maths_sin(angle);
    }
    for (int l = 0; l < m->dec.n_layers; l++) {
        const float *down = m->dec_layers[l].ada_down->data, *up = m->dec_layers[l].ada_up->data;
        const float *norm = m->dec_layers[l].ffn_norm->data;
        for (int r = 0; r < m->ada_dim; r++)
            hidden[r] = smooth(dot(down + (size_t)r * (size_t)dim, t, dim));
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

/* x / rms(x) * weight, the weight by the layer and the delay of each column. */
static void op_delay_norm(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const decoder_layer *layer = user;
    const decoder *d = layer->d;
    int64_t dim = dst->ne[0];
    for (int64_t c = ith; c < dst->ne[1]; c += nth)
        d->c->kernels->rms_norm(column(dst->src[0], c),
                                d->ffn_norm[c] + layer->attention.layer * dim, d->m->dec.norm_eps,
                                (int)dim, column(dst, c));
}

static int build(decoder *d) {
    const vox_model *m = d->m;
    const transformer_params *p = &m->dec;
    graph *g = &d->g;
    int status = graph_begin(g, d->c, 64 + 32 * p->n_layers, DECODER_COLUMNS);
    if (status != VOX_OK) return status;

    d->tokens_in = graph_input(g, GGML_TYPE_I32, 1, DECODER_COLUMNS);
    d->audio_in = graph_input(g, GGML_TYPE_F32, p->dim, DECODER_COLUMNS);
    struct ggml_tensor *h = add(g, lookup(g, m->embed, d->tokens_in), d->audio_in);
    for (int i = 0; i < p->n_layers; i++) {
        const layer_weights *l = &m->dec_layers[i];
        struct ggml_tensor *y = rms_norm(g, h, l->attn_norm, &p->norm_eps);
        struct ggml_tensor *q = linear(g, l->attn_q, NULL, y, NULL);
        struct ggml_tensor *k = linear(g, l->attn_k, NULL, y, NULL);
        struct ggml_tensor *v = linear(g, l->attn_v, NULL, y, NULL);
        struct ggml_tensor *mixed = attention_build(g, &d->layers[i].attention, q, k, v);
        h = linear(g, l->attn_out, NULL, mixed, h);
        y = operate(g, op_delay_norm, &d->layers[i], p->dim, h, NULL);
        h = swiglu(g, l->ffn_gate, l->ffn_up, l->ffn_down, NULL, y, h);
        graph_probe(g, h, "dec.blk", i);
    }
    d->hidden = h;
    graph_output(h);
    return graph_end(g);
}

/* The largest of a thread's share of a column's logits. */
typedef struct {
    float largest, poison; /* poison is not 0 where one of them is not finite */
    int32_t index;         /* the lowest of the largest; -1: none */
} peak;

/* In lanes, so that it is a small part of the product before it. x * 0 is NaN where x is not
 * finite. */
static peak peak_of(const float *x, int first, int last) {
    enum { LANES = 32 };
    float max[LANES], poison[LANES] = {0};
    if (first >= last) return (peak){.index = -1};
    for (int j = 0; j < LANES; j++) max[j] = x[first];
    int i = first;
    for (; i + LANES <= last; i += LANES)
        for (int j = 0; j < LANES; j++) {
            max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
            poison[j] += x[i + j] * 0;
        }
    for (; i < last; i++) {
        max[0] = x[i] > max[0] ? x[i] : max[0];
        poison[0] += x[i] * 0;
    }
    for (int j = 1; j < LANES; j++) {
        max[0] = max[j] > max[0] ? max[j] : max[0];
        poison[0] += poison[j];
    }
    peak p = {.largest = max[0], .poison = poison[0], .index = -1};
    for (i = first; poison[0] == 0 && p.index < 0; i++)
        if (x[i] == max[0]) p.index = i;
    return p;
}

/* dst [threads] peaks of each column, with its penalty taken off the pad's logit. */
static void op_peaks(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const decoder *d = user;
    int64_t n = d->m->info.n_vocab;
    int first = (int)(n * ith / nth), last = (int)(n * (ith + 1) / nth), pad = d->m->info.token_pad;
    int has_pad = first <= pad && pad < last; /* the others look at numbers of their own only */
    for (int64_t c = 0; c < dst->ne[1]; c++) {
        float *x = column(dst->src[0], c), kept = has_pad ? x[pad] : 0;
        peak *peaks = (peak *)(void *)column(dst, c);
        if (has_pad) x[pad] -= d->penalty[c];
        peaks[ith] = peak_of(x, first, last);
        if (has_pad) x[pad] = kept;
    }
}

/* The likeliest token of column c of the last head, which is the k-th of a part, or -1. */
static int32_t likeliest(const decoder *d, int c, const decoder_part *part, int k) {
    for (int i = 0; d->turns && i < VOX_N_TURNS; i++)
        if (!isfinite(column(d->turns, c)[i])) return -1;
    const peak *peaks = (const peak *)(const void *)column(d->peaks, c), *best = NULL;
    for (int i = 0; i < pool_size(d->c->pool); i++) {
        if (peaks[i].poison != 0) return -1;
        if (peaks[i].index >= 0 && (!best || peaks[i].largest > best->largest)) best = &peaks[i];
    }
    if (!part->words) return best->index;
    return words_lean(part->words, part->places[k], column(d->logits, c), best->largest,
                      best->index);
}

static int build_head(decoder *d) {
    const vox_model *m = d->m;
    graph *g = &d->head;
    int status = graph_begin(g, d->c, 64, DECODER_COLUMNS);
    if (status != VOX_OK) return status;
    d->hidden_in = graph_input(g, GGML_TYPE_F32, m->dec.dim, DECODER_COLUMNS);
    struct ggml_tensor *y = rms_norm(g, d->hidden_in, m->dec_norm, &m->dec.norm_eps);
    d->logits = linear(g, m->embed, NULL, y, NULL);
    graph_probe(g, d->logits, "dec.logits", -1);
    graph_output(d->logits);
    d->peaks = operate(g, op_peaks, d, (int64_t)(sizeof(peak) / sizeof(float)) * d->c->n_threads,
                       d->logits, NULL);
    graph_output(d->peaks);
    if (m->turn_head) {
        d->turns = linear(g, m->turn_head, NULL, y, NULL);
        graph_output(d->turns);
    }
    return graph_end(g);
}

/* ---- passes --------------------------------------------------------------------------------- */

int decoder_init(decoder *d, const vox_model *m, compute *c) {
    *d = (decoder){.m = m, .c = c};
    d->layers = malloc((size_t)m->dec.n_layers * sizeof *d->layers);
    if (!d->layers ||
        attention_init(&d->attn, &m->dec, m->kv_type, DECODER_COLUMNS, c->kernels) != VOX_OK) {
        decoder_free(d);
        return VOX_ERR_MEMORY;
    }
    for (int i = 0; i < m->dec.n_layers; i++)
        d->layers[i] = (decoder_layer){.attention = {.a = &d->attn, .layer = i}, .d = d};
    int status = build(d);
    if (status == VOX_OK) status = build_head(d);
    if (status != VOX_OK) decoder_free(d);
    return status;
}

void decoder_free(decoder *d) {
    graph_free(&d->g);
    graph_free(&d->head);
    attention_free(&d->attn);
    free(d->layers);
    *d = (decoder){0};
}

int decoder_reserve(const decoder_part *part) {
    return kv_reserve(&part->state->kv, part->w) ? VOX_ERR_MEMORY : VOX_OK;
}

int decoder_run(decoder *d, decoder_part *const *parts, int n) {
    int width = 0;
    size_t row = (size_t)d->m->dec.dim * sizeof(float);
    attention_begin(&d->attn);
    for (int i = 0; i < n; i++) {
        const decoder_part *part = parts[i];
        attention_add(&d->attn, &part->state->kv, part->w);
        memcpy(column(d->tokens_in, width), part->tokens, (size_t)part->w * sizeof *part->tokens);
        memcpy(column(d->audio_in, width), part->audio, (size_t)part->w * row);
        for (int c = 0; c < part->w; c++) d->ffn_norm[width++] = part->ffn_norm;
    }
    int status = graph_set_width(&d->g, width);
    if (status == VOX_OK) graph_run(&d->g);
    return status;
}

int decoder_head(decoder *d, decoder_part *const *parts, int n) {
    int width = 0, first = 0;
    size_t row = (size_t)d->m->dec.dim * sizeof(float);
    for (int i = 0; i < n; first += parts[i]->w, i++) {
        int n_next = parts[i]->n;
        parts[i]->first_logits = width;
        memcpy(column(d->hidden_in, width), column(d->hidden, first + parts[i]->w - n_next),
               (size_t)n_next * row);
        memcpy(d->penalty + width, parts[i]->penalties, (size_t)n_next * sizeof *d->penalty);
        width += n_next;
    }
    int status = width > 0 ? graph_set_width(&d->head, width) : VOX_OK;
    if (status == VOX_OK && width > 0) graph_run(&d->head);
    for (int i = 0; status == VOX_OK && i < n; i++)
        for (int k = 0; k < parts[i]->n; k++)
            parts[i]->next[k] = likeliest(d, parts[i]->first_logits + k, parts[i], k);
    return status;
}

int decoder_weigh(const decoder *d, const decoder_part *part, int i, float *confidence, int n,
                  vox_alternative *alternatives) {
    const vox_model_info *info = &d->m->info;
    const float *logits = column(d->logits, part->first_logits + i);
    int32_t token = part->next[i];
    float max = logits[token];
    for (int t = 0; t < info->n_vocab; t++) max = logits[t] > max ? logits[t] : max;
    double sum = d->c->kernels->exp_sum(logits, info->n_vocab, max);
    *confidence = (float)(exp_neg(logits[token] - max) / sum);
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
        alternatives[k].confidence = (float)(exp_neg(logits[alternatives[k].token] - max) / sum);
    return n_found;
}

void decoder_turns(const decoder *d, const decoder_part *part, int i, float *states) {
    const float *logits = column(d->turns, part->first_logits + i);
    float max = logits[0];
    for (int t = 1; t < VOX_N_TURNS; t++) max = logits[t] > max ? logits[t] : max;
    double sum = 0;
    for (int t = 0; t < VOX_N_TURNS; t++) sum += exp_neg(logits[t] - max);
    for (int t = 0; t < VOX_N_TURNS; t++) states[t] = (float)(exp_neg(logits[t] - max) / sum);
}

void decoder_keep(decoder_state *st, int n) {
    kv_commit(&st->kv, n);
}

size_t decoder_bytes(const decoder *d) {
    return graph_bytes(&d->g) + graph_bytes(&d->head);
}
