/* model.h - a GGUF file as hyperparameters, named weights and a tokenizer.
 *
 * In: the path of a file (format: docs/format.md). Out: a vox_model. A quantised tensor's extra is
 * its packed_matrix (weights.h); all else lies in the mapped file, untouched. Invariant: once open
 * nothing in it changes but the reference count and the engine behind its queue, so any number of
 * threads may read it.
 *
 * Shapes are in ggml's order: [columns, rows], columns contiguous.
 */
#ifndef VOXTRAL_MODEL_H
#define VOXTRAL_MODEL_H

#include <ggml.h>
#include <stdatomic.h>

#include "kernels/kernels.h"
#include "mel.h"
#include "platform.h"
#include "voxtral.h"

/* Fixed by the architecture; a file that says otherwise is refused. */
enum {
    SAMPLE_RATE = 16000, /* Hz */
    N_MEL = MEL_N_BINS,
    MEL_PER_SLOT = MEL_FRAMES, /* config.json: audio_length_per_tok */
    ENC_PER_SLOT = 4,          /* params.json: downsample_factor */
    CONV_TAPS = 3,
    MS_PER_SLOT = 80,
    ENCODER_WIDTH = 16,   /* most slots in one pass of the encoder */
    DECODER_WIDTH = 16,   /* most positions of one stream in a pass of the decoder, ... */
    DECODER_COLUMNS = 64, /* ... and of all of them */
};

typedef struct {
    int n_layers, dim, n_heads, n_kv_heads, head_dim, hidden_dim, window;
    float rope_theta, norm_eps;
} transformer_params;

/* One transformer layer. Biases and the ada pair are NULL where the architecture has none. */
typedef struct {
    struct ggml_tensor *attn_norm;       /* [dim] */
    struct ggml_tensor *attn_q, *q_bias; /* [dim, n_heads * head_dim], [n_heads * head_dim] */
    struct ggml_tensor *attn_k;          /* [dim, n_kv_heads * head_dim] */
    struct ggml_tensor *attn_v, *v_bias; /* [dim, n_kv_heads * head_dim], [n_kv_heads * head_dim] */
    struct ggml_tensor *attn_out, *out_bias;  /* [n_heads * head_dim, dim], [dim] */
    struct ggml_tensor *ffn_norm;             /* [dim] */
    struct ggml_tensor *ffn_gate, *ffn_up;    /* [dim, hidden_dim] */
    struct ggml_tensor *ffn_down, *down_bias; /* [hidden_dim, dim], [dim] */
    struct ggml_tensor *ada_down;             /* [dim, ada_dim] */
    struct ggml_tensor *ada_up;               /* [ada_dim, dim] */
} layer_weights;

typedef struct {
    struct ggml_tensor tensor; /* its extra is the packed_matrix, if it has one */
    int is_matrix;             /* else it is F32, and small */
} model_weight;

struct vox_model {
    atomic_int n_references;
    file_map file;
    vox_model_info info;  /* its strings are the model's own, but for the kernels' name */
    uint64_t fingerprint; /* of what results depend on; of every weight the first bytes */
    int is_grouped;       /* matrices of the file are as the kernels read them */

    transformer_params enc, dec;
    int ada_dim;
    int n_left_pad;    /* slots of silence before the first sample */
    int n_right_extra; /* slots of right padding beyond the delay */
    int token_bos;
    enum ggml_type
        kv_type; /* of the rings: F32 for f32 files, else F16 (docs/model.md, "Numerics") */

    struct ggml_tensor *conv1,
        *conv1_bias; /* [3 * N_MEL, enc.dim], [enc.dim]; columns (tap, channel) */
    struct ggml_tensor *conv2, *conv2_bias; /* [3 * enc.dim, enc.dim], [enc.dim] */
    layer_weights *enc_layers;              /* [enc.n_layers] */
    struct ggml_tensor *enc_norm;           /* [enc.dim] */
    struct ggml_tensor *adapter1;           /* [4 * enc.dim, dec.dim] */
    struct ggml_tensor *adapter2;           /* [dec.dim, dec.dim] */
    struct ggml_tensor *embed;              /* [dec.dim, n_vocab]; also the output head */
    layer_weights *dec_layers;              /* [dec.n_layers] */
    struct ggml_tensor *dec_norm;           /* [dec.dim] */
    struct ggml_tensor *turn_head;          /* [dec.dim, VOX_N_TURNS]; NULL: there is none */

    const kernels *kernels;
    model_weight *weights; /* [n_weights] what the names above point to */
    size_t n_weights;
    packed_matrix *packed; /* one per quantised weight */
    /* Of a file whose matrices are rows, else NULL: their groups; and norms, biases, convolutions,
       delay conditioning. */
    unsigned char *packed_groups;
    void *small;

    uint8_t *token_bytes;    /* all tokens' bytes, one after the other */
    uint32_t *token_offsets; /* [n_vocab + 1] */

    mel_tables mel;

    int n_threads;       /* of an engine */
    struct batch *batch; /* what runs the passes of its streams */
};

/* As vox_model_open; params may not be NULL. */
int model_open(const char *path, const vox_model_params *params, vox_model **model, char *message,
               size_t n_message);
vox_model *model_retain(vox_model *model);
/* batch.h's, as the model owns one. */
struct batch *batch_new(const vox_model *model, int n_lanes);
void batch_free(struct batch *batch);
static inline int64_t min(int64_t a, int64_t b) {
    return a < b ? a : b;
}
/* What the decoder hears at a position of the prompt, as a token. */
static inline int32_t model_prompt_token(const vox_model *model, int64_t position) {
    return position == 0 ? model->token_bos : model->info.token_pad;
}

#endif
