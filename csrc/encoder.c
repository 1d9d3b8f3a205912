/* encoder.c - see encoder.h. Shapes are in ggml's order; columns are frames or slots. */
#include "encoder.h"

#include <ggml-backend.h>
#include <stdlib.h>
#include <string.h>

/* ---- state ---------------------------------------------------------------------------------- */

int encoder_state_init(encoder_state *st, const vox_model *m) {
    const transformer_params *p = &m->enc;
    *st = (encoder_state){0};
    st->conv1_tail = malloc((CONV_TAPS - 1) * N_MEL * sizeof *st->conv1_tail);
    st->conv2_tail = malloc((size_t)p->dim * sizeof *st->conv2_tail);
    if (!st->conv1_tail || !st->conv2_tail ||
        kv_init(&st->kv, p->n_layers, p->n_kv_heads, p->head_dim, p->window,
                ENC_PER_SLOT * ENCODER_WIDTH, ggml_type_size(m->kv_type))) {
        encoder_state_free(st);
        return VOX_ERR_MEMORY;
    }
    encoder_state_reset(st, m, 0);
    return VOX_OK;
}

void encoder_state_reset(encoder_state *st, const vox_model *m, int64_t slot) {
    memset(st->conv1_tail, 0, (CONV_TAPS - 1) * N_MEL * sizeof *st->conv1_tail);
    memset(st->conv2_tail, 0, (size_t)m->enc.dim * sizeof *st->conv2_tail);
    kv_reset(&st->kv, slot * ENC_PER_SLOT);
}

void encoder_state_copy(encoder_state *to, const encoder_state *from, const vox_model *m) {
    memcpy(to->conv1_tail, from->conv1_tail, (CONV_TAPS - 1) * N_MEL * sizeof *to->conv1_tail);
    memcpy(to->conv2_tail, from->conv2_tail, (size_t)m->enc.dim * sizeof *to->conv2_tail);
    kv_share(&to->kv, &from->kv);
}

void encoder_state_free(encoder_state *st) {
    kv_free(&st->kv);
    free(st->conv1_tail);
    free(st->conv2_tail);
    *st = (encoder_state){0};
}

/* ---- graph ---------------------------------------------------------------------------------- */

static int build(encoder *e, encoder_graph *eg, int w) {
    const vox_model *m = e->m;
    const transformer_params *p = &m->enc;
    graph *g = &eg->g;
    int n_mel = MEL_PER_SLOT * w, n_enc = ENC_PER_SLOT * w;
    int status = graph_begin(g, e->c, 64 + 32 * p->n_layers);
    if (status != VOX_OK) return status;
    struct ggml_context *ctx = g->ctx;

    /* Conv stem: stride 1, then stride 2. Output frame j of the second sees conv1 frames 2j - 1,
       2j, 2j + 1, which are columns 2j, 2j + 1, 2j + 2 once the tail is in front. */
    eg->stem_in = graph_input(g, GGML_TYPE_F32, CONV_TAPS * N_MEL, n_mel);
    eg->tail_in = graph_input(g, GGML_TYPE_F32, p->dim, 1);
    struct ggml_tensor *x = ggml_gelu_erf(ctx, linear(g, m->conv1, m->conv1_bias, eg->stem_in));
    x = eg->conv1 = ggml_concat(ctx, eg->tail_in, x, 1);
    graph_output(g, x);
    struct ggml_tensor *pairs = ggml_view_2d(ctx, x, 2 * p->dim, n_enc, 2 * x->nb[1], 0);
    struct ggml_tensor *next = ggml_view_2d(ctx, x, p->dim, n_enc, 2 * x->nb[1], 2 * x->nb[1]);
    struct ggml_tensor *h =
        ggml_gelu_erf(ctx, linear(g, m->conv2, m->conv2_bias, ggml_concat(ctx, pairs, next, 0)));
    graph_probe(g, h, "conv", -1);

    for (int i = 0; i < p->n_layers; i++) {
        const layer_weights *l = &m->enc_layers[i];
        struct ggml_tensor *y = rms_norm(g, h, l->attn_norm, p->norm_eps);
        struct ggml_tensor *q = linear(g, l->attn_q, l->q_bias, y);
        struct ggml_tensor *k = linear(g, l->attn_k, NULL, y);
        struct ggml_tensor *v = linear(g, l->attn_v, l->v_bias, y);
        struct ggml_tensor *mixed = attention_build(g, &e->layers[i], q, k, v);
        h = ggml_add(ctx, h, linear(g, l->attn_out, l->out_bias, mixed));
        y = rms_norm(g, h, l->ffn_norm, p->norm_eps);
        h = ggml_add(ctx, h, swiglu(g, l->ffn_gate, l->ffn_up, l->ffn_down, l->down_bias, y));
        graph_probe(g, h, "enc.blk", i);
    }
    h = rms_norm(g, h, m->enc_norm, p->norm_eps);
    graph_probe(g, h, "enc.out", -1);

    /* Adapter: four frames side by side make one slot. */
    h = ggml_reshape_2d(ctx, h, ENC_PER_SLOT * p->dim, w);
    eg->audio = linear(g, m->adapter2, NULL, ggml_gelu_erf(ctx, linear(g, m->adapter1, NULL, h)));
    graph_probe(g, eg->audio, "audio", -1);
    graph_output(g, eg->audio);
    return graph_end(g, e->memory);
}

/* ---- passes --------------------------------------------------------------------------------- */

int encoder_init(encoder *e, const vox_model *m, compute *c) {
    *e = (encoder){.m = m, .c = c};
    e->layers = malloc((size_t)m->enc.n_layers * sizeof *e->layers);
    e->memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
    if (!e->layers || !e->memory ||
        attention_init(&e->attn, &m->enc, m->kv_type, ENC_PER_SLOT * ENCODER_WIDTH, c->kernels) !=
            VOX_OK) {
        encoder_free(e);
        return VOX_ERR_MEMORY;
    }
    for (int i = 0; i < m->enc.n_layers; i++) e->layers[i] = (attention_layer){&e->attn, i};
    return VOX_OK;
}

void encoder_free(encoder *e) {
    for (int i = 0; i < ENCODER_WIDTH; i++) graph_free(&e->graphs[i].g);
    if (e->memory) ggml_gallocr_free(e->memory);
    attention_free(&e->attn);
    free(e->layers);
    *e = (encoder){0};
}

static int reserve_graph(encoder *e, int w) {
    return e->graphs[w - 1].g.ctx ? VOX_OK : build(e, &e->graphs[w - 1], w);
}

int encoder_reserve(encoder *e, encoder_state *st, int w) {
    if (kv_reserve(&st->kv, ENC_PER_SLOT * w)) return VOX_ERR_MEMORY;
    int status = reserve_graph(e, ENCODER_WIDTH); /* the widest first: see graph_end */
    return status == VOX_OK ? reserve_graph(e, w) : status;
}

int encoder_run(encoder *e, encoder_state *st, const float *mel, int w, float *audio) {
    encoder_graph *eg = &e->graphs[w - 1];
    size_t frame = N_MEL, tail = CONV_TAPS - 1, n_mel = (size_t)(MEL_PER_SLOT * w),
           dim = (size_t)e->m->enc.dim;
    float *stem = eg->stem_in->data;
    for (size_t i = 0; i < n_mel; i++)
        for (size_t t = 0; t < CONV_TAPS; t++) {
            size_t f = i + t; /* counted from the tail */
            const float *row = f < tail ? st->conv1_tail + f * frame : mel + (f - tail) * frame;
            memcpy(stem + (i * CONV_TAPS + t) * frame, row, frame * sizeof *row);
        }
    memcpy(eg->tail_in->data, st->conv2_tail, dim * sizeof(float));
    attention_prepare(&e->attn, &st->kv, ENC_PER_SLOT * w);
    int status = graph_run(&eg->g);
    if (status != VOX_OK) return status;
    memcpy(st->conv1_tail, mel + (n_mel - tail) * frame, tail * frame * sizeof *mel);
    memcpy(st->conv2_tail, (const float *)eg->conv1->data + n_mel * dim, dim * sizeof(float));
    memcpy(audio, eg->audio->data, ggml_nbytes(eg->audio));
    kv_commit(&st->kv, ENC_PER_SLOT * w);
    return VOX_OK;
}

size_t encoder_bytes(const encoder *e) {
    size_t n = ggml_gallocr_get_buffer_size(e->memory, 0);
    for (int i = 0; i < ENCODER_WIDTH; i++) n += graph_bytes(&e->graphs[i].g);
    return n;
}
