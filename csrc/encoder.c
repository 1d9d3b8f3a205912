/* encoder.c - see encoder.h. Shapes are in ggml's order; columns are frames or slots. */
#include "encoder.h"

#include <stdlib.h>
#include <string.h>

/* ---- state ---------------------------------------------------------------------------------- */

int encoder_state_init(encoder_state *st, const vox_model *m) {
    const transformer_params *p = &m->enc;
    *st = (encoder_state){0};
    st->conv1_tail = malloc((CONV_TAPS - 1) * N_MEL * sizeof *st->conv1_tail);
    st->conv2_tail = malloc((size_t)p->dim * sizeof *st->conv2_tail);
    st->conv2_next = malloc((size_t)p->dim * sizeof *st->conv2_next);
    if (!st->conv1_tail || !st->conv2_tail || !st->conv2_next ||
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
    free(st->conv2_next);
    *st = (encoder_state){0};
}

/* ---- graph ---------------------------------------------------------------------------------- */

/* dst [3 * dim, 4 per slot] = what frame j of the second convolution sees: conv1 frames 2j - 1, 2j,
 * 2j + 1 of its own stream, the first of them the stream's tail. */
static void op_gather(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const encoder *e = user;
    const struct ggml_tensor *x = dst->src[0];
    size_t frame = (size_t)x->ne[0] * sizeof(float);
    int first = 0; /* slot of the pass */
    for (int i = 0; i < e->n_parts; first += e->parts[i]->w, i++) {
        if (i % nth != ith) continue;
        const encoder_part *part = e->parts[i];
        int n = ENC_PER_SLOT * part->w, from = MEL_PER_SLOT * first, to = ENC_PER_SLOT * first;
        for (int j = 0; j < n; j++) {
            char *taps = (char *)column(dst, to + j);
            memcpy(taps, j == 0 ? part->state->conv2_tail : column(x, from + 2 * j - 1), frame);
            memcpy(taps + frame, column(x, from + 2 * j), 2 * frame);
        }
        memcpy(part->state->conv2_next, column(x, from + 2 * n - 1), frame);
    }
}

static int build(encoder *e) {
    const vox_model *m = e->m;
    const transformer_params *p = &m->enc;
    graph *g = &e->g;
    int status = graph_begin(g, e->c, 64 + 32 * p->n_layers, ENCODER_WIDTH);
    if (status != VOX_OK) return status;

    /* Conv stem: stride 1, then stride 2. */
    e->stem_in = graph_input(g, GGML_TYPE_F32, CONV_TAPS * N_MEL, MEL_PER_SLOT * ENCODER_WIDTH);
    struct ggml_tensor *x = gelu(g, linear(g, m->conv1, m->conv1_bias, e->stem_in, NULL));
    x = graph_op(g, op_gather, e, GGML_TYPE_F32, CONV_TAPS * p->dim, ENC_PER_SLOT * ENCODER_WIDTH,
                 x, NULL, NULL);
    struct ggml_tensor *h = gelu(g, linear(g, m->conv2, m->conv2_bias, x, NULL));
    graph_probe(g, h, "conv", -1);

    for (int i = 0; i < p->n_layers; i++) {
        const layer_weights *l = &m->enc_layers[i];
        struct ggml_tensor *y = rms_norm(g, h, l->attn_norm, &p->norm_eps);
        struct ggml_tensor *q = linear(g, l->attn_q, l->q_bias, y, NULL);
        struct ggml_tensor *k = linear(g, l->attn_k, NULL, y, NULL);
        struct ggml_tensor *v = linear(g, l->attn_v, l->v_bias, y, NULL);
        struct ggml_tensor *mixed = attention_build(g, &e->layers[i], q, k, v);
        h = linear(g, l->attn_out, l->out_bias, mixed, h);
        y = rms_norm(g, h, l->ffn_norm, &p->norm_eps);
        h = swiglu(g, l->ffn_gate, l->ffn_up, l->ffn_down, l->down_bias, y, h);
        graph_probe(g, h, "enc.blk", i);
    }
    h = rms_norm(g, h, m->enc_norm, &p->norm_eps);
    graph_probe(g, h, "enc.out", -1);

    /* Adapter: four frames side by side make one slot. */
    h = graph_reshape(g, h, ENC_PER_SLOT * p->dim, ENCODER_WIDTH);
    h = gelu(g, linear(g, m->adapter1, NULL, h, NULL));
    e->audio = linear(g, m->adapter2, NULL, h, NULL);
    graph_probe(g, e->audio, "audio", -1);
    graph_output(e->audio);
    return graph_end(g);
}

/* ---- passes --------------------------------------------------------------------------------- */

int encoder_init(encoder *e, const vox_model *m, compute *c) {
    *e = (encoder){.m = m, .c = c};
    e->layers = malloc((size_t)m->enc.n_layers * sizeof *e->layers);
    if (!e->layers || attention_init(&e->attn, &m->enc, m->kv_type, ENC_PER_SLOT * ENCODER_WIDTH,
                                     c->kernels) != VOX_OK) {
        encoder_free(e);
        return VOX_ERR_MEMORY;
    }
    for (int i = 0; i < m->enc.n_layers; i++)
        e->layers[i] = (attention_layer){.a = &e->attn, .layer = i};
    int status = build(e);
    if (status != VOX_OK) encoder_free(e);
    return status;
}

void encoder_free(encoder *e) {
    graph_free(&e->g);
    attention_free(&e->attn);
    free(e->layers);
    *e = (encoder){0};
}

/* Each mel frame of a part after its two predecessors. */
static void gather_frames(const encoder_part *part, float *stem) {
    size_t frame = N_MEL, tail = CONV_TAPS - 1, n = (size_t)(MEL_PER_SLOT * part->w);
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < CONV_TAPS; t++) {
            size_t f = i + t; /* counted from the tail */
            const float *row =
                f < tail ? part->state->conv1_tail + f * frame : part->mel + (f - tail) * frame;
            memcpy(stem + (i * CONV_TAPS + t) * frame, row, frame * sizeof *row);
        }
}

int encoder_reserve(const encoder_part *part) {
    return kv_reserve(&part->state->kv, ENC_PER_SLOT * part->w) ? VOX_ERR_MEMORY : VOX_OK;
}

int encoder_run(encoder *e, encoder_part *const *parts, int n) {
    size_t frame = N_MEL, tail = CONV_TAPS - 1, dim = (size_t)e->m->dec.dim;
    int width = 0;
    e->parts = parts;
    e->n_parts = n;
    attention_begin(&e->attn);
    for (int i = 0; i < n; i++) {
        attention_add(&e->attn, &parts[i]->state->kv, ENC_PER_SLOT * parts[i]->w);
        gather_frames(parts[i], column(e->stem_in, MEL_PER_SLOT * width));
        width += parts[i]->w;
    }
    int status = graph_set_width(&e->g, width);
    if (status != VOX_OK) return status;
    graph_run(&e->g);
    const float *audio = e->audio->data;
    for (int i = 0; i < n; i++) {
        encoder_state *st = parts[i]->state;
        size_t n_slots = (size_t)parts[i]->w, n_mel = MEL_PER_SLOT * n_slots;
        memcpy(st->conv1_tail, parts[i]->mel + (n_mel - tail) * frame,
               tail * frame * sizeof *st->conv1_tail);
        float *next = st->conv2_next;
        st->conv2_next = st->conv2_tail;
        st->conv2_tail = next;
        memcpy(parts[i]->audio, audio, n_slots * dim * sizeof *audio);
        audio += n_slots * dim;
        kv_commit(&st->kv, ENC_PER_SLOT * parts[i]->w);
    }
    return VOX_OK;
}

size_t encoder_bytes(const encoder *e) {
    return graph_bytes(&e->g);
}
