/* model.c - reads and checks the GGUF; see model.h. Every name in the file is spelt here once more
 * than in convert/tensors.py, and a test compares the two.
 */
#include "model.h"

#include <errno.h>
#include <ggml-cpu.h>
#include <gguf.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "rounding.h"

enum {
    MAX_THREADS = 256,
    PACKED_AT_ONCE = 32 << 20, /* bytes of weights in memory in both forms while they are packed */
    FINGERPRINT_BYTES = 4096,  /* of each tensor, at most */
    BYTES_PER_THREAD = 64 << 20, /* weights that make another thread worth its meetings */
};

/* What the checks below carry along: the model being filled and the caller's message. */
typedef struct {
    vox_model *model;
    char *message;
    size_t n_message;
    int status; /* first failure, or VOX_OK */
} loader;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
fail(loader *l, int status, const char *format, ...) {
    if (l->status != VOX_OK) return;
    l->status = status;
    if (!l->message || l->n_message == 0) return;
    va_list args;
    va_start(args, format);
    vsnprintf(l->message, l->n_message, format, args);
    va_end(args);
}

static void quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)level, (void)text, (void)user;
}

/* ---- metadata ------------------------------------------------------------------------------- */

static int64_t key_find(loader *l, const char *key, enum gguf_type type) {
    int64_t id = gguf_find_key(l->model->gguf, key);
    if (id < 0) {
        fail(l, VOX_ERR_FORMAT, "metadata key %s is missing: convert the checkpoint again", key);
        return -1;
    }
    if (gguf_get_kv_type(l->model->gguf, id) != type) {
        fail(l, VOX_ERR_FORMAT, "metadata key %s has the wrong type: convert the checkpoint again",
             key);
        return -1;
    }
    return id;
}

static int key_int(loader *l, const char *key, int64_t low, int64_t high) {
    int64_t id = key_find(l, key, GGUF_TYPE_UINT32);
    if (id < 0) return (int)low;
    int64_t value = gguf_get_val_u32(l->model->gguf, id);
    if (value < low || value > high) {
        fail(l, VOX_ERR_FORMAT, "metadata key %s is %lld, not in %lld..%lld", key, (long long)value,
             (long long)low, (long long)high);
        return (int)low;
    }
    return (int)value;
}

static float key_float(loader *l, const char *key) {
    int64_t id = key_find(l, key, GGUF_TYPE_FLOAT32);
    if (id < 0) return 1;
    float value = gguf_get_val_f32(l->model->gguf, id);
    if (!isfinite(value) || value <= 0)
        fail(l, VOX_ERR_FORMAT, "metadata key %s is not positive", key);
    return value;
}

static const char *key_string(loader *l, const char *key) {
    int64_t id = key_find(l, key, GGUF_TYPE_STRING);
    return id < 0 ? "" : gguf_get_val_str(l->model->gguf, id);
}

static const char *key_string_or_empty(loader *l, const char *key) {
    int64_t id = gguf_find_key(l->model->gguf, key);
    return id >= 0 && gguf_get_kv_type(l->model->gguf, id) == GGUF_TYPE_STRING
               ? gguf_get_val_str(l->model->gguf, id)
               : "";
}

/* An array's elements and count, checked for type. */
static const void *key_array(loader *l, const char *key, enum gguf_type type, size_t *n) {
    *n = 0;
    int64_t id = key_find(l, key, GGUF_TYPE_ARRAY);
    if (id < 0) return NULL;
    if (gguf_get_arr_type(l->model->gguf, id) != type) {
        fail(l, VOX_ERR_FORMAT, "metadata key %s has the wrong type: convert the checkpoint again",
             key);
        return NULL;
    }
    *n = gguf_get_arr_n(l->model->gguf, id);
    return gguf_get_arr_data(l->model->gguf, id);
}

static transformer_params read_transformer(loader *l, const char *part) {
    char key[96];
    transformer_params p;
#define KEY(name) (snprintf(key, sizeof key, "voxtral_edge.%s.%s", part, name), key)
    p.n_layers = key_int(l, KEY("n_layers"), 1, 1024);
    p.dim = key_int(l, KEY("dim"), 1, 1 << 16);
    p.n_heads = key_int(l, KEY("n_heads"), 1, 1024);
    p.head_dim = key_int(l, KEY("head_dim"), 2, 1024);
    p.hidden_dim = key_int(l, KEY("hidden_dim"), 1, 1 << 18);
    p.window = key_int(l, KEY("window"), 1, 1 << 20);
    p.rope_theta = key_float(l, KEY("rope_theta"));
    p.norm_eps = key_float(l, KEY("norm_eps"));
#undef KEY
    p.n_kv_heads = p.n_heads;
    if (p.head_dim % 2) fail(l, VOX_ERR_FORMAT, "%s head_dim is odd: rotation needs pairs", part);
    return p;
}

static void read_metadata(loader *l) {
    vox_model *m = l->model;
    const char *architecture = key_string(l, "general.architecture");
    if (l->status == VOX_OK && strcmp(architecture, "voxtral_edge") != 0) {
        fail(l, VOX_ERR_FORMAT,
             "this GGUF is for another program (architecture '%.40s'): make one with voxtral "
             "convert",
             architecture);
        return;
    }
    int version = key_int(l, "voxtral_edge.format_version", 0, INT32_MAX);
    if (l->status == VOX_OK && version != 1)
        fail(l, VOX_ERR_FORMAT,
             "format version %d is not 1: convert the checkpoint with this release", version);
    const char *layout = key_string(l, "voxtral_edge.rope_layout");
    if (l->status == VOX_OK && strcmp(layout, "interleaved") != 0)
        fail(l, VOX_ERR_FORMAT, "unknown rotary layout '%.40s': convert the checkpoint again",
             layout);

    m->enc = read_transformer(l, "encoder");
    m->dec = read_transformer(l, "decoder");
    m->dec.n_kv_heads = key_int(l, "voxtral_edge.decoder.n_kv_heads", 1, 1024);
    if (m->dec.n_heads % m->dec.n_kv_heads)
        fail(l, VOX_ERR_FORMAT, "decoder n_heads is no multiple of n_kv_heads");
    if (m->dec.dim % 2)
        fail(l, VOX_ERR_FORMAT, "decoder dim is odd: the time embedding needs halves");
    m->ada_dim = key_int(l, "voxtral_edge.decoder.ada_dim", 1, 4096);
    key_int(l, "voxtral_edge.adapter.downsample_factor", ENC_PER_SLOT, ENC_PER_SLOT);
    key_int(l, "voxtral_edge.audio.sampling_rate", SAMPLE_RATE, SAMPLE_RATE);
    key_int(l, "voxtral_edge.audio.n_mel", N_MEL, N_MEL);
    key_int(l, "voxtral_edge.audio.hop_length", MEL_HOP_LENGTH, MEL_HOP_LENGTH);
    key_int(l, "voxtral_edge.audio.window_length", MEL_N_FFT, MEL_N_FFT);
    if (key_float(l, "voxtral_edge.audio.log_mel_max") != 1.5f)
        fail(l, VOX_ERR_FORMAT, "metadata key voxtral_edge.audio.log_mel_max is not 1.5");
    m->n_left_pad = key_int(l, "voxtral_edge.stream.n_left_pad", 1, 1024);
    m->n_right_extra = key_int(l, "voxtral_edge.stream.n_right_pad_extra", 1, 1024);

    vox_model_info *info = &m->info;
    info->n_vocab = key_int(l, "voxtral_edge.decoder.n_vocab", 1, 1 << 24);
    info->n_special = key_int(l, "tokenizer.voxtral_edge.n_special", 0, info->n_vocab);
    m->token_bos = key_int(l, "tokenizer.voxtral_edge.bos", 0, info->n_vocab - 1);
    info->token_pad = key_int(l, "tokenizer.voxtral_edge.streaming_pad", 0, info->n_vocab - 1);
    info->token_word = key_int(l, "tokenizer.voxtral_edge.streaming_word", 0, info->n_vocab - 1);
    key_int(l, "tokenizer.voxtral_edge.eos", 0, info->n_vocab - 1);
    info->default_delay_ms = key_int(l, "voxtral_edge.stream.default_delay_ms", 80, 2400);
    info->name = key_string(l, "general.name");
    info->description = key_string_or_empty(l, "general.description");
    info->file_type = key_string(l, "voxtral_edge.file_type");
    info->encoder_window = m->enc.window;
    info->decoder_window = m->dec.window;
    info->encoder_dim = m->enc.dim;
    info->decoder_dim = m->dec.dim;
    m->kv_type = strcmp(info->file_type, "f32") == 0 ? GGML_TYPE_F32 : GGML_TYPE_F16;

    size_t n_bytes, n_offsets;
    m->token_bytes = key_array(l, "tokenizer.voxtral_edge.bytes", GGUF_TYPE_UINT8, &n_bytes);
    m->token_offsets = key_array(l, "tokenizer.voxtral_edge.offsets", GGUF_TYPE_UINT32, &n_offsets);
    if (l->status != VOX_OK) return;
    int ordered = n_offsets == (size_t)info->n_vocab + 1 && m->token_offsets[0] == 0 &&
                  m->token_offsets[info->n_vocab] == n_bytes;
    for (size_t i = 0; ordered && i + 1 < n_offsets; i++)
        ordered = m->token_offsets[i] <= m->token_offsets[i + 1];
    if (!ordered)
        fail(l, VOX_ERR_FORMAT, "the tokenizer is inconsistent: convert the checkpoint again");
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* The named tensor with shape [ne0, ne1] (ne1 1 for vectors), its data pointing into the file. */
/* What is added, multiplied or convolved is F32 by rule; only matrices may be packed. */
static int is_matrix(const struct ggml_tensor *t) {
    return t->ne[1] > 1 && !strstr(t->name, "conv") && !strstr(t->name, "ada_");
}

static struct ggml_tensor *tensor(loader *l, const char *name, int64_t ne0, int64_t ne1) {
    vox_model *m = l->model;
    int64_t id = gguf_find_tensor(m->gguf, name);
    struct ggml_tensor *t = ggml_get_tensor(m->ctx, name);
    if (id < 0 || !t) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is missing: convert the checkpoint again", name);
        return NULL;
    }
    if (t->ne[0] != ne0 || t->ne[1] != ne1 || t->ne[2] != 1 || t->ne[3] != 1) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is [%lld, %lld], not [%lld, %lld]", name,
             (long long)t->ne[0], (long long)t->ne[1], (long long)ne0, (long long)ne1);
        return NULL;
    }
    if (is_matrix(t) ? !vox_packed_size((int)t->type, t->ne[0]) : t->type != GGML_TYPE_F32) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is stored as %s, which this release cannot use", name,
             ggml_type_name(t->type));
        return NULL;
    }
    size_t offset = gguf_get_data_offset(m->gguf) + gguf_get_tensor_offset(m->gguf, id);
    size_t size = ggml_nbytes(t);
    if (offset > m->file.size || size > m->file.size - offset) {
        fail(l, VOX_ERR_FORMAT,
             "the file ends inside tensor %s: it is truncated, copy or convert it again", name);
        return NULL;
    }
    if (offset % sizeof(float) != 0) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is not aligned: convert the checkpoint again", name);
        return NULL;
    }
    t->data = (void *)(m->file.data + offset);
    m->info.n_params += ggml_nelements(t);
    m->info.n_bytes += (int64_t)size;
    return t;
}

static layer_weights read_layer(loader *l, const char *part, int i, const transformer_params *p,
                                int biases) {
    char name[64];
    layer_weights w = {0};
    int q = p->n_heads * p->head_dim, kv = p->n_kv_heads * p->head_dim;
#define NAME(what) (snprintf(name, sizeof name, "%s.blk.%d.%s", part, i, what), name)
    w.attn_norm = tensor(l, NAME("attn_norm.weight"), p->dim, 1);
    w.attn_q = tensor(l, NAME("attn_q.weight"), p->dim, q);
    w.attn_k = tensor(l, NAME("attn_k.weight"), p->dim, kv);
    w.attn_v = tensor(l, NAME("attn_v.weight"), p->dim, kv);
    w.attn_out = tensor(l, NAME("attn_out.weight"), q, p->dim);
    w.ffn_norm = tensor(l, NAME("ffn_norm.weight"), p->dim, 1);
    w.ffn_gate = tensor(l, NAME("ffn_gate.weight"), p->dim, p->hidden_dim);
    w.ffn_up = tensor(l, NAME("ffn_up.weight"), p->dim, p->hidden_dim);
    w.ffn_down = tensor(l, NAME("ffn_down.weight"), p->hidden_dim, p->dim);
    if (biases) {
        w.q_bias = tensor(l, NAME("attn_q.bias"), q, 1);
        w.v_bias = tensor(l, NAME("attn_v.bias"), kv, 1);
        w.out_bias = tensor(l, NAME("attn_out.bias"), p->dim, 1);
        w.down_bias = tensor(l, NAME("ffn_down.bias"), p->dim, 1);
    } else {
        w.ada_down = tensor(l, NAME("ada_down.weight"), p->dim, l->model->ada_dim);
        w.ada_up = tensor(l, NAME("ada_up.weight"), l->model->ada_dim, p->dim);
    }
#undef NAME
    return w;
}

static void read_tensors(loader *l) {
    vox_model *m = l->model;
    m->enc_layers = calloc((size_t)m->enc.n_layers, sizeof *m->enc_layers);
    m->dec_layers = calloc((size_t)m->dec.n_layers, sizeof *m->dec_layers);
    if (!m->enc_layers || !m->dec_layers) {
        fail(l, VOX_ERR_MEMORY, "out of memory");
        return;
    }
    m->conv1 = tensor(l, "enc.conv1.weight", CONV_TAPS * N_MEL, m->enc.dim);
    m->conv1_bias = tensor(l, "enc.conv1.bias", m->enc.dim, 1);
    m->conv2 = tensor(l, "enc.conv2.weight", CONV_TAPS * m->enc.dim, m->enc.dim);
    m->conv2_bias = tensor(l, "enc.conv2.bias", m->enc.dim, 1);
    for (int i = 0; i < m->enc.n_layers && l->status == VOX_OK; i++)
        m->enc_layers[i] = read_layer(l, "enc", i, &m->enc, 1);
    m->enc_norm = tensor(l, "enc.norm.weight", m->enc.dim, 1);
    m->adapter1 = tensor(l, "adapter.1.weight", ENC_PER_SLOT * m->enc.dim, m->dec.dim);
    m->adapter2 = tensor(l, "adapter.2.weight", m->dec.dim, m->dec.dim);
    m->embed = tensor(l, "dec.embed.weight", m->dec.dim, m->info.n_vocab);
    for (int i = 0; i < m->dec.n_layers && l->status == VOX_OK; i++)
        m->dec_layers[i] = read_layer(l, "dec", i, &m->dec, 0);
    m->dec_norm = tensor(l, "dec.norm.weight", m->dec.dim, 1);
}

/* ---- packing -------------------------------------------------------------------------------- */

static int packed_type(const struct ggml_tensor *t, matrix_type *type) {
    switch (t->type) {
    case GGML_TYPE_Q4_0: *type = Q4_0; return 1;
    case GGML_TYPE_Q8_0: *type = Q8_0; return 1;
    case GGML_TYPE_Q4_K: *type = Q4_K; return 1;
    case GGML_TYPE_Q5_K: *type = Q5_K; return 1;
    case GGML_TYPE_Q6_K: *type = Q6_K; return 1;
    default: return 0;
    }
}

/* What the threads that pack share: groups of rows of one tensor. */
typedef struct {
    packed_matrix *matrix;
    const struct ggml_tensor *tensor;
    int first, last;
} packing;

static void pack_share(int ith, int nth, void *user) {
    const packing *p = user;
    int64_t n = p->last - p->first;
    matrix_pack(p->matrix, p->tensor->data, p->first + (int)(n * ith / nth),
                p->first + (int)(n * (ith + 1) / nth));
}

/* Part by part, so that only a part is in memory twice. */
static void pack(packed_matrix *m, const struct ggml_tensor *t, int n_threads) {
    int n_groups = (m->n_rows + GROUP - 1) / GROUP,
        part = (int)(PACKED_AT_ONCE / m->group_bytes) + 1;
    packing p = {.matrix = m, .tensor = t};
    for (; p.first < n_groups; p.first = p.last) {
        p.last = n_groups - p.first < part ? n_groups : p.first + part;
        platform_parallel(n_threads, pack_share, &p);
        size_t begin = (size_t)p.first * GROUP * t->nb[1], end = (size_t)p.last * GROUP * t->nb[1];
        end = end < ggml_nbytes(t) ? end : ggml_nbytes(t);
        platform_forget((const char *)t->data + begin, end - begin);
    }
}

/* All weights but float matrices leave the map, so that a quantised model needs neither the file
 * nor the map's pages, which a system may map in lumps of megabytes around each small tensor. */
static void pack_weights(loader *l) {
    vox_model *m = l->model;
    size_t size = 0, n_small = 0;
    matrix_type type;
    packed_matrix *next;
    for (struct ggml_tensor *t = ggml_get_first_tensor(m->ctx); t;
         t = ggml_get_next_tensor(m->ctx, t))
        if (t->data && packed_type(t, &type)) m->n_packed++;
        else if (t->data && !is_matrix(t)) n_small += ggml_nbytes(t);
    m->packed = next = calloc((size_t)m->n_packed + 1, sizeof *m->packed);
    for (struct ggml_tensor *t = ggml_get_first_tensor(m->ctx); m->packed && t;
         t = ggml_get_next_tensor(m->ctx, t))
        if (t->data && packed_type(t, &type))
            size += matrix_layout(next++, type, (int)t->ne[1], t->ne[0]);
    m->packed_groups = platform_alloc_large(size + 1);
    char *small = m->small = malloc(n_small + 1);
    if (!m->packed || !m->packed_groups || !small) {
        fail(l, VOX_ERR_MEMORY, "out of memory: the weights need %zu MB", size / 1000000);
        return;
    }
    unsigned char *groups = m->packed_groups;
    next = m->packed;
    for (struct ggml_tensor *t = ggml_get_first_tensor(m->ctx); t;
         t = ggml_get_next_tensor(m->ctx, t)) {
        if (t->data && !is_matrix(t)) {
            memcpy(small, t->data, ggml_nbytes(t));
            t->data = small;
            small += ggml_nbytes(t);
        }
        if (!t->data || !packed_type(t, &type)) continue;
        next->groups = groups;
        groups += next->group_bytes * (size_t)((next->n_rows + GROUP - 1) / GROUP);
        pack(next, t, m->n_threads);
        t->extra = next++;
    }
    platform_forget(m->file.data, m->file.size); /* the header and what is small */
}

/* Other weights differ in nearly every value, so the first bytes of each tensor tell them apart. */
static void take_fingerprint(vox_model *m) {
    size_t n_header = gguf_get_data_offset(m->gguf);
    if (n_header > m->file.size) n_header = m->file.size;
    uint64_t h = hash_bytes(m->file.size, m->file.data, n_header);
    for (struct ggml_tensor *t = ggml_get_first_tensor(m->ctx); t;
         t = ggml_get_next_tensor(m->ctx, t)) {
        size_t n = t->data ? ggml_nbytes(t) : 0;
        h = hash_bytes(h, t->data, n < FINGERPRINT_BYTES ? n : FINGERPRINT_BYTES);
    }
    m->fingerprint = h;
}

/* ---- open and close ------------------------------------------------------------------------- */

vox_model *model_retain(vox_model *model) {
    atomic_fetch_add(&model->n_references, 1);
    return model;
}

void vox_model_close(vox_model *m) {
    if (!m || atomic_fetch_sub(&m->n_references, 1) != 1) return;
    engine_close(m->engine);
    platform_lock_free(m->lock);
    if (m->ctx) ggml_free(m->ctx);
    if (m->gguf) gguf_free(m->gguf);
    platform_unmap(&m->file);
    free(m->packed);
    free(m->packed_groups);
    free(m->small);
    free(m->enc_layers);
    free(m->dec_layers);
    free(m);
}

/* Threads meet after every operation, so a small model is fastest, and kindest, on one. */
static int default_threads(const vox_model *m) {
    int64_t worthwhile = 1 + m->info.n_bytes / BYTES_PER_THREAD;
    int n = platform_n_processors();
    if (n > MAX_THREADS) n = MAX_THREADS;
    return worthwhile < n ? (int)worthwhile : n;
}

vox_model_params vox_model_default_params(void) {
    return (vox_model_params){0};
}

int vox_model_open(const char *path, const vox_model_params *params, vox_model **model,
                   char *message, size_t n_message) {
    vox_model_params p = params ? *params : vox_model_default_params();
    loader l = {.message = message, .n_message = n_message, .status = VOX_OK};
    if (message && n_message) message[0] = 0;
    if (model) *model = NULL;
    if (!path || !model) {
        fail(&l, VOX_ERR_ARGUMENT, "path and model must not be NULL");
        return l.status;
    }
    if (p.n_threads < 0 || p.n_threads > MAX_THREADS) {
        fail(&l, VOX_ERR_ARGUMENT, "the number of threads must be 1 to %d", MAX_THREADS);
        return l.status;
    }
    const char *missing = platform_missing_feature();
    if (missing) {
        fail(&l, VOX_ERR_COMPUTE, "this processor has no %s, which this build needs", missing);
        return l.status;
    }
    ggml_log_set(quiet, NULL); /* ggml's own messages would go to stderr; ours go to the caller */
    ggml_cpu_init();
    vox_model *m = calloc(1, sizeof *m);
    if (!m) {
        fail(&l, VOX_ERR_MEMORY, "out of memory");
        return l.status;
    }
    atomic_init(&m->n_references, 1);
    m->kernels = kernels_best();
    m->info.kernels = m->kernels->name;
    l.model = m;
    if (!(m->lock = platform_lock_new())) {
        fail(&l, VOX_ERR_MEMORY, "out of memory");
        goto done;
    }
    int error = platform_map(path, &m->file);
    if (error) {
        fail(&l, error == ENOMEM ? VOX_ERR_MEMORY : VOX_ERR_IO, "%s", strerror(error));
        goto done;
    }
    if (m->file.size < 4 || memcmp(m->file.data, "GGUF", 4) != 0) {
        fail(&l, VOX_ERR_FORMAT, "not a GGUF file: make one with voxtral convert");
        goto done;
    }
    struct gguf_init_params how = {.no_alloc = true, .ctx = &m->ctx};
    m->gguf = gguf_init_from_buffer(m->file.data, m->file.size, how);
    if (!m->gguf || !m->ctx) {
        fail(&l, VOX_ERR_FORMAT,
             "the GGUF header is damaged or cut short: copy or convert the file again");
        goto done;
    }
    read_metadata(&l);
    if (l.status == VOX_OK) read_tensors(&l);
    if (l.status == VOX_OK) take_fingerprint(m);
    if (l.status == VOX_OK) {
        fenv_t callers = rounding_default();
        mel_tables_init(&m->mel);
        fesetenv(&callers);
    }
    if (l.status == VOX_OK) m->n_threads = p.n_threads > 0 ? p.n_threads : default_threads(m);
    if (l.status == VOX_OK) pack_weights(&l);
done:
    if (l.status == VOX_OK) *model = m;
    else vox_model_close(m);
    return l.status;
}
