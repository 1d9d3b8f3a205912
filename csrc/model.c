/* model.c - reads and checks the GGUF; see model.h. Every name in the file is spelt here once more
 * than in convert/reading/tensors.py, and a test compares the two.
 */
#include "model.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"
#include "hash.h"
#include "rounding.h"
#include "weights.h"

enum { ROWS = 1, GROUPS = 2 }; /* versions of the format, by what a matrix consists of */
enum {
    MAX_THREADS = 256,
    BYTES_PER_THREAD = 64 << 20, /* weights that make another thread worth its meetings */
};

#define AGAIN ": convert the checkpoint again" /* the mend of most files */

/* What the checks below carry along: the model being filled and the caller's message. */
typedef struct {
    vox_model *model;
    gguf_contents file;
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

/* ---- metadata ------------------------------------------------------------------------------- */

static const gguf_key *key_find(loader *l, const char *name, gguf_type type, int is_array) {
    const gguf_key *key = gguf_find_key(&l->file, name);
    if (!key) {
        fail(l, VOX_ERR_FORMAT, "metadata key %s is missing" AGAIN, name);
    } else if (key->type != type || key->is_array != is_array) {
        fail(l, VOX_ERR_FORMAT, "metadata key %s has the wrong type" AGAIN, name);
        key = NULL;
    }
    return key;
}

/* Every number of the file that is read: what it may be, and its place in the model. */
#define AT(field) offsetof(vox_model, field)
enum { FIXED = -1 /* no place: there is one value */, A_TOKEN = -1 /* at most the last id */ };
static const struct {
    const char *key;
    int low, high, place;
} NUMBERS[] = {
    {"voxtral_edge.encoder.n_layers", 1, 1024, AT(enc.n_layers)},
    {"voxtral_edge.encoder.dim", 1, 1 << 16, AT(enc.dim)},
    {"voxtral_edge.encoder.n_heads", 1, 1024, AT(enc.n_heads)},
    {"voxtral_edge.encoder.head_dim", 2, MAX_HEAD_DIM, AT(enc.head_dim)},
    {"voxtral_edge.encoder.hidden_dim", 1, 1 << 18, AT(enc.hidden_dim)},
    {"voxtral_edge.encoder.window", 1, 1 << 20, AT(enc.window)},
    {"voxtral_edge.decoder.n_layers", 1, 1024, AT(dec.n_layers)},
    {"voxtral_edge.decoder.dim", 1, 1 << 16, AT(dec.dim)},
    {"voxtral_edge.decoder.n_heads", 1, 1024, AT(dec.n_heads)},
    {"voxtral_edge.decoder.n_kv_heads", 1, 1024, AT(dec.n_kv_heads)},
    {"voxtral_edge.decoder.head_dim", 2, MAX_HEAD_DIM, AT(dec.head_dim)},
    {"voxtral_edge.decoder.hidden_dim", 1, 1 << 18, AT(dec.hidden_dim)},
    {"voxtral_edge.decoder.window", 1, 1 << 20, AT(dec.window)},
    {"voxtral_edge.decoder.ada_dim", 1, 4096, AT(ada_dim)},
    {"voxtral_edge.adapter.downsample_factor", ENC_PER_SLOT, ENC_PER_SLOT, FIXED},
    {"voxtral_edge.audio.sampling_rate", SAMPLE_RATE, SAMPLE_RATE, FIXED},
    {"voxtral_edge.audio.n_mel", N_MEL, N_MEL, FIXED},
    {"voxtral_edge.audio.hop_length", MEL_HOP_LENGTH, MEL_HOP_LENGTH, FIXED},
    {"voxtral_edge.audio.window_length", MEL_N_FFT, MEL_N_FFT, FIXED},
    {"voxtral_edge.stream.n_left_pad", 1, 1024, AT(n_left_pad)},
    {"voxtral_edge.stream.n_right_pad_extra", 1, 1024, AT(n_right_extra)},
    {"voxtral_edge.stream.default_delay_ms", 80, 2400, AT(info.default_delay_ms)},
    {"voxtral_edge.decoder.n_vocab", 1, 1 << 24, AT(info.n_vocab)},
    {"tokenizer.voxtral_edge.n_special", 0, A_TOKEN, AT(info.n_special)},
    {"tokenizer.voxtral_edge.bos", 0, A_TOKEN, AT(token_bos)},
    {"tokenizer.voxtral_edge.streaming_pad", 0, A_TOKEN, AT(info.token_pad)},
    {"tokenizer.voxtral_edge.streaming_word", 0, A_TOKEN, AT(info.token_word)},
    {"tokenizer.voxtral_edge.eos", 0, A_TOKEN, FIXED}, /* no stream ends with it */
};

static void read_number(loader *l, const char *name, int64_t low, int64_t high, int *place) {
    const gguf_key *key = key_find(l, name, GGUF_U32, 0);
    uint32_t value = 0;
    if (key) memcpy(&value, key->values, sizeof value);
    if (value < low || value > high)
        fail(l, VOX_ERR_FORMAT, "metadata key %s is %lld, not in %lld..%lld" AGAIN, name,
             (long long)value, (long long)low, (long long)high);
    else if (place) *place = (int)value;
}

static float read_float(loader *l, const char *name) {
    const gguf_key *key = key_find(l, name, GGUF_F32, 0);
    float value = 1;
    if (key) memcpy(&value, key->values, sizeof value);
    if (!isfinite(value) || value <= 0)
        fail(l, VOX_ERR_FORMAT, "metadata key %s is not positive" AGAIN, name);
    return value;
}

static gguf_string read_string(loader *l, const char *name) {
    const gguf_key *key = key_find(l, name, GGUF_STRING, 0);
    return key ? (gguf_string){key->values, key->n} : (gguf_string){"", 0};
}

static int is_text(gguf_string s, const char *text) {
    return s.n == strlen(text) && memcmp(s.bytes, text, s.n) == 0;
}

/* A string or an array of the file, copied, with a zero behind it. */
static void *copy(loader *l, const void *values, size_t n) {
    char *bytes = malloc(n + 1);
    if (!bytes) {
        fail(l, VOX_ERR_MEMORY, "out of memory");
        return NULL;
    }
    if (n > 0) memcpy(bytes, values, n);
    bytes[n] = 0;
    return bytes;
}

static void read_tokens(loader *l) {
    vox_model *m = l->model;
    size_t n_vocab = (size_t)m->info.n_vocab;
    const gguf_key *bytes = key_find(l, "tokenizer.voxtral_edge.bytes", GGUF_U8, 1);
    const gguf_key *offsets = key_find(l, "tokenizer.voxtral_edge.offsets", GGUF_U32, 1);
    if (l->status != VOX_OK) return;
    int ordered = offsets->n == n_vocab + 1;
    if (ordered) m->token_offsets = copy(l, offsets->values, offsets->n * sizeof(uint32_t));
    if (l->status != VOX_OK) return;
    ordered = ordered && m->token_offsets[0] == 0 && m->token_offsets[n_vocab] == bytes->n;
    for (size_t i = 0; ordered && i < n_vocab; i++)
        ordered = m->token_offsets[i] <= m->token_offsets[i + 1];
    if (ordered) m->token_bytes = copy(l, bytes->values, bytes->n);
    else fail(l, VOX_ERR_FORMAT, "the tokenizer is inconsistent" AGAIN);
}

/* A word that says how numbers lie, of which this release knows one. */
static void read_layout(loader *l, const char *name, const char *known) {
    gguf_string layout = read_string(l, name);
    if (l->status == VOX_OK && !is_text(layout, known))
        fail(l, VOX_ERR_FORMAT,
             "metadata key %s is '%.*s', not '%s': convert the checkpoint with this release", name,
             layout.n < 40 ? (int)layout.n : 40, layout.bytes, known);
}

/* decoder_window: at most so many slots; 0: as many as the file says. */
static void read_metadata(loader *l, int decoder_window) {
    vox_model *m = l->model;
    vox_model_info *info = &m->info;
    gguf_string architecture = read_string(l, "general.architecture");
    if (l->status == VOX_OK && !is_text(architecture, "voxtral_edge"))
        fail(l, VOX_ERR_FORMAT,
             "this GGUF is for another program (architecture '%.*s'): make one with voxtral "
             "convert",
             architecture.n < 40 ? (int)architecture.n : 40, architecture.bytes);
    int version = 0;
    read_number(l, "voxtral_edge.format_version", 0, INT32_MAX, &version);
    if (l->status == VOX_OK && version != ROWS && version != GROUPS)
        fail(l, VOX_ERR_FORMAT,
             "format version %d is neither 1 nor 2: convert the checkpoint with this release",
             version);
    m->is_grouped = version == GROUPS;
    read_layout(l, "voxtral_edge.rope_layout", "interleaved");
    if (m->is_grouped) read_layout(l, "voxtral_edge.matrix_layout", "groups_of_16");

    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS && l->status == VOX_OK; i++)
        read_number(l, NUMBERS[i].key, NUMBERS[i].low,
                    NUMBERS[i].high == A_TOKEN ? info->n_vocab - 1 : NUMBERS[i].high,
                    NUMBERS[i].place == FIXED ? NULL
                                              : (int *)(void *)((char *)m + NUMBERS[i].place));
    m->enc.rope_theta = read_float(l, "voxtral_edge.encoder.rope_theta");
    m->enc.norm_eps = read_float(l, "voxtral_edge.encoder.norm_eps");
    m->dec.rope_theta = read_float(l, "voxtral_edge.decoder.rope_theta");
    m->dec.norm_eps = read_float(l, "voxtral_edge.decoder.norm_eps");
    if (read_float(l, "voxtral_edge.audio.log_mel_max") != 1.5f)
        fail(l, VOX_ERR_FORMAT, "metadata key voxtral_edge.audio.log_mel_max is not 1.5" AGAIN);
    gguf_string name = read_string(l, "general.name");
    gguf_string file_type = read_string(l, "voxtral_edge.file_type");
    const gguf_key *text = gguf_find_key(&l->file, "general.description");
    int has_text = text && text->type == GGUF_STRING && !text->is_array;
    if (l->status != VOX_OK) return;
    if (m->enc.head_dim % 2 || m->dec.head_dim % 2)
        fail(l, VOX_ERR_FORMAT, "head_dim is odd: rotation needs pairs" AGAIN);
    if (m->dec.n_heads % m->dec.n_kv_heads)
        fail(l, VOX_ERR_FORMAT, "decoder n_heads is no multiple of n_kv_heads" AGAIN);
    if (m->dec.dim % 2)
        fail(l, VOX_ERR_FORMAT, "decoder dim is odd: the time embedding needs halves" AGAIN);
    m->enc.n_kv_heads = m->enc.n_heads;
    m->kv_type = is_text(file_type, "f32") ? GGML_TYPE_F32 : GGML_TYPE_F16;
    info->name = copy(l, name.bytes, name.n);
    info->description = has_text ? copy(l, text->values, text->n) : copy(l, "", 0);
    info->file_type = copy(l, file_type.bytes, file_type.n);
    if (decoder_window > 0) m->dec.window = (int)min(decoder_window, m->dec.window);
    info->encoder_window = m->enc.window;
    info->decoder_window = m->dec.window;
    info->encoder_dim = m->enc.dim;
    info->decoder_dim = m->dec.dim;
    read_tokens(l);
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* The named tensor with shape [ne0, ne1] (ne1 1 for vectors), its data pointing into the file. What
 * is added, multiplied or convolved is F32 by rule; only matrices may be packed. */
static struct ggml_tensor *tensor(loader *l, const char *name, int64_t ne0, int64_t ne1,
                                  int is_matrix) {
    vox_model *m = l->model;
    const gguf_tensor *found = gguf_find_tensor(&l->file, name);
    if (!found) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is missing" AGAIN, name);
        return NULL;
    }
    const uint64_t *ne = found->ne;
    if (ne[0] != (uint64_t)ne0 || ne[1] != (uint64_t)ne1 || ne[2] != 1 || ne[3] != 1) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is [%llu, %llu], not [%lld, %lld]" AGAIN, name,
             (unsigned long long)ne[0], (unsigned long long)ne[1], (long long)ne0, (long long)ne1);
        return NULL;
    }
    int known = found->type < GGML_TYPE_COUNT;
    enum ggml_type type = known ? (enum ggml_type)found->type : GGML_TYPE_F32;
    size_t row = is_matrix || type == GGML_TYPE_F32 ? vox_packed_size((int)type, ne0) : 0;
    if (!known || row == 0) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is stored as %s, which this release cannot use" AGAIN,
             name, known ? ggml_type_name(type) : "something unknown");
        return NULL;
    }
    /* What the data consists of: rows, or groups of them. */
    packed_matrix groups = {0};
    matrix_type packed;
    int is_grouped = m->is_grouped && matrix_type_of(type, &packed);
    if (is_grouped) matrix_layout(&groups, packed, (int)ne1, ne0);
    size_t part = is_grouped ? groups.group_bytes : row;
    size_t n = is_grouped ? ((size_t)ne1 + GROUP - 1) / GROUP : (size_t)ne1;
    if (found->offset > m->file.size || n > (m->file.size - found->offset) / part) {
        fail(l, VOX_ERR_FORMAT,
             "the file ends inside tensor %s: it is truncated, copy or convert it again", name);
        return NULL;
    }
    if (found->offset % (is_grouped ? LINE : sizeof(float)) != 0) {
        fail(l, VOX_ERR_FORMAT, "tensor %s is not aligned" AGAIN, name);
        return NULL;
    }
    size_t size = row * (size_t)ne1;
    model_weight *w = &m->weights[m->n_weights++];
    w->is_matrix = is_matrix;
    w->tensor = (struct ggml_tensor){.type = type,
                                     .ne = {ne0, ne1, 1, 1},
                                     .nb = {ggml_type_size(type), row, size, size},
                                     .data = (void *)(m->file.data + (size_t)found->offset)};
    m->info.n_params += ne0 * ne1;
    m->info.n_bytes += (int64_t)(part * n);
    return &w->tensor;
}

static struct ggml_tensor *vector(loader *l, const char *name, int64_t n) {
    return tensor(l, name, n, 1, 0);
}

static struct ggml_tensor *matrix(loader *l, const char *name, int64_t ne0, int64_t ne1) {
    return tensor(l, name, ne0, ne1, 1);
}

static layer_weights read_layer(loader *l, const char *part, int i, const transformer_params *p,
                                int biases) {
    char name[64];
    layer_weights w = {0};
    int q = p->n_heads * p->head_dim, kv = p->n_kv_heads * p->head_dim, ada = l->model->ada_dim;
#define NAME(what) (snprintf(name, sizeof name, "%s.blk.%d.%s", part, i, what), name)
    w.attn_norm = vector(l, NAME("attn_norm.weight"), p->dim);
    w.attn_q = matrix(l, NAME("attn_q.weight"), p->dim, q);
    w.attn_k = matrix(l, NAME("attn_k.weight"), p->dim, kv);
    w.attn_v = matrix(l, NAME("attn_v.weight"), p->dim, kv);
    w.attn_out = matrix(l, NAME("attn_out.weight"), q, p->dim);
    w.ffn_norm = vector(l, NAME("ffn_norm.weight"), p->dim);
    w.ffn_gate = matrix(l, NAME("ffn_gate.weight"), p->dim, p->hidden_dim);
    w.ffn_up = matrix(l, NAME("ffn_up.weight"), p->dim, p->hidden_dim);
    w.ffn_down = matrix(l, NAME("ffn_down.weight"), p->hidden_dim, p->dim);
    if (biases) {
        w.q_bias = vector(l, NAME("attn_q.bias"), q);
        w.v_bias = vector(l, NAME("attn_v.bias"), kv);
        w.out_bias = vector(l, NAME("attn_out.bias"), p->dim);
        w.down_bias = vector(l, NAME("ffn_down.bias"), p->dim);
    } else {
        w.ada_down = tensor(l, NAME("ada_down.weight"), p->dim, ada, 0);
        w.ada_up = tensor(l, NAME("ada_up.weight"), ada, p->dim, 0);
    }
#undef NAME
    return w;
}

static void read_tensors(loader *l) {
    vox_model *m = l->model;
    m->weights = calloc(l->file.n_tensors + 1, sizeof *m->weights);
    m->enc_layers = calloc((size_t)m->enc.n_layers, sizeof *m->enc_layers);
    m->dec_layers = calloc((size_t)m->dec.n_layers, sizeof *m->dec_layers);
    if (!m->weights || !m->enc_layers || !m->dec_layers) {
        fail(l, VOX_ERR_MEMORY, "out of memory");
        return;
    }
    m->conv1 = tensor(l, "enc.conv1.weight", CONV_TAPS * N_MEL, m->enc.dim, 0);
    m->conv1_bias = vector(l, "enc.conv1.bias", m->enc.dim);
    m->conv2 = tensor(l, "enc.conv2.weight", CONV_TAPS * m->enc.dim, m->enc.dim, 0);
    m->conv2_bias = vector(l, "enc.conv2.bias", m->enc.dim);
    for (int i = 0; i < m->enc.n_layers && l->status == VOX_OK; i++)
        m->enc_layers[i] = read_layer(l, "enc", i, &m->enc, 1);
    m->enc_norm = vector(l, "enc.norm.weight", m->enc.dim);
    m->adapter1 = matrix(l, "adapter.1.weight", ENC_PER_SLOT * m->enc.dim, m->dec.dim);
    m->adapter2 = matrix(l, "adapter.2.weight", m->dec.dim, m->dec.dim);
    m->embed = matrix(l, "dec.embed.weight", m->dec.dim, m->info.n_vocab);
    for (int i = 0; i < m->dec.n_layers && l->status == VOX_OK; i++)
        m->dec_layers[i] = read_layer(l, "dec", i, &m->dec, 0);
    m->dec_norm = vector(l, "dec.norm.weight", m->dec.dim);
    if (gguf_find_tensor(&l->file, "dec.turn.weight"))
        m->turn_head = tensor(l, "dec.turn.weight", m->dec.dim, VOX_N_TURNS, 0);
    m->info.has_turns = m->turn_head != NULL;
}

/* ---- fingerprint ---------------------------------------------------------------------------- */

/* All that a result depends on; not the version of the file, nor what the model is called. */
static void take_fingerprint(loader *l) {
    vox_model *m = l->model;
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++)
        if (NUMBERS[i].place != FIXED)
            h = hash_bytes(h, (const char *)m + NUMBERS[i].place, sizeof(int));
    float floats[] = {m->enc.rope_theta, m->enc.norm_eps, m->dec.rope_theta, m->dec.norm_eps};
    h = hash_bytes(h, floats, sizeof floats);
    h = hash_bytes(h, &m->kv_type, sizeof m->kv_type);
    size_t n_vocab = (size_t)m->info.n_vocab;
    h = hash_bytes(h, m->token_offsets, (n_vocab + 1) * sizeof *m->token_offsets);
    h = hash_bytes(h, m->token_bytes, m->token_offsets[n_vocab]);
    m->fingerprint = weights_hash(m, h);
}

/* ---- open and close ------------------------------------------------------------------------- */

vox_model *model_retain(vox_model *model) {
    atomic_fetch_add(&model->n_references, 1);
    return model;
}

void vox_model_close(vox_model *m) {
    if (!m || atomic_fetch_sub(&m->n_references, 1) != 1) return;
    batch_free(m->batch);
    platform_unmap(&m->file);
    free((void *)m->info.name);
    free((void *)m->info.description);
    free((void *)m->info.file_type);
    free(m->token_bytes);
    free(m->token_offsets);
    weights_free(m);
    free(m->enc_layers);
    free(m->dec_layers);
    free(m);
}

/* Threads meet after every operation, so a small model is fastest, and kindest, on one. */
static int default_threads(const vox_model *m) {
    int64_t worthwhile = 1 + m->info.n_bytes / BYTES_PER_THREAD;
    int n = platform_n_processors(NULL);
    if (n > MAX_THREADS) n = MAX_THREADS;
    return worthwhile < n ? (int)worthwhile : n;
}

/* Streams of so small a model gain little by sharing a pass, and more by a processor for each. */
static int default_lanes(const vox_model *m) {
    int n = platform_n_processors(NULL);
    return m->n_threads > 1 ? 1 : n < MAX_THREADS ? n : MAX_THREADS;
}

int model_open(const char *path, const vox_model_params *params, vox_model **model, char *message,
               size_t n_message) {
    loader l = {.message = message, .n_message = n_message, .status = VOX_OK};
    int n_threads = params->n_threads;
    if (n_threads < 0 || n_threads > MAX_THREADS)
        fail(&l, VOX_ERR_ARGUMENT, "the number of threads must be 1 to %d", MAX_THREADS);
    if (params->decoder_window < 0)
        fail(&l, VOX_ERR_ARGUMENT, "the window of the decoder must be 1 slot or more");
    if (l.status != VOX_OK) return l.status;
    vox_model *m = calloc(1, sizeof *m);
    if (!m) {
        fail(&l, VOX_ERR_MEMORY, "out of memory");
        return l.status;
    }
    atomic_init(&m->n_references, 1);
    m->kernels = kernels_best();
    m->info.kernels = m->kernels->name;
    l.model = m;
    int error = platform_map(path, &m->file);
    if (error) {
        fail(&l, error == ENOMEM ? VOX_ERR_MEMORY : VOX_ERR_IO, "%s", strerror(error));
        goto done;
    }
    const char *fault;
    int status = gguf_read(&l.file, m->file.data, m->file.size, &fault);
    if (status != VOX_OK) fail(&l, status, "%s", fault);
    if (l.status == VOX_OK) read_metadata(&l, params->decoder_window);
    if (l.status == VOX_OK) read_tensors(&l);
    if (l.status == VOX_OK) {
        fenv_t callers = rounding_default();
        mel_tables_init(&m->mel);
        fesetenv(&callers);
    }
    if (l.status == VOX_OK) {
        m->n_threads = n_threads > 0 ? n_threads : default_threads(m);
        m->info.n_lanes = n_threads > 0 ? 1 : default_lanes(m);
        m->batch = batch_new(m, m->info.n_lanes);
        if (!m->batch) fail(&l, VOX_ERR_MEMORY, "out of memory");
    }
    if (l.status == VOX_OK) {
        size_t size;
        if (weights_place(m, &size) != VOX_OK)
            fail(&l, VOX_ERR_MEMORY, "out of memory: the weights need %zu MB", size / 1000000);
    }
    if (l.status == VOX_OK) take_fingerprint(&l);
done:
    gguf_free(&l.file);
    if (l.status == VOX_OK) *model = m;
    else vox_model_close(m);
    return l.status;
}
