/* voxtral.h - the public interface of the voxtral-edge core: streaming speech to text on a CPU.
 *
 *   vox_model_open("voxtral-q4_0.gguf", NULL, &model, message, sizeof message);
 *   vox_stream_open(model, NULL, &s, message, sizeof message);
 *   vox_stream_push(s, samples, n);                      (any number of times, any n)
 *   vox_stream_finish(s);                                (when there is no more audio)
 *   while ((r = vox_stream_next(s, &slot)) == VOX_SLOT) fwrite(slot.text, 1, slot.n_text, stdout);
 *   if (r < 0) fprintf(stderr, "%s\n", vox_stream_message(s));
 *
 * A model may be shared by any number of streams and threads; it has the threads that compute, and
 * runs one pass at a time, which all streams that wait for one share. A stream holds what changes
 * while it is transcribed and belongs to one thread at a time. Audio is 16 kHz mono float in [-1,
 * 1). push only copies; next hands out one slot, so the caller sets the pace. A slot is 80 ms of
 * audio (1280 samples) and one token. Committed text is never revised. Functions return VOX_OK (0)
 * or a negative vox_status unless they say otherwise; the library never prints, exits or reads the
 * environment.
 */
#ifndef VOXTRAL_H
#define VOXTRAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */
typedef struct vox_model vox_model;   /* weights, tokenizer, threads; reference counted */
typedef struct vox_stream vox_stream; /* one audio stream; one thread at a time */

typedef enum {
    VOX_OK = 0,
    VOX_SLOT = 1,          /* vox_stream_next: *slot was filled */
    VOX_WAIT = 2,          /* vox_stream_next: needs more audio: push or finish */
    VOX_DONE = 3,          /* vox_stream_next: finished and drained */
    VOX_ERR_ARGUMENT = -1, /* a NULL, an option out of range, a sample that is not finite */
    VOX_ERR_STATE = -2,   /* push after finish, or any use of a failed stream but reset and close */
    VOX_ERR_IO = -3,      /* the file cannot be opened or read */
    VOX_ERR_FORMAT = -4,  /* not a whole, consistent voxtral-edge GGUF, or saved stream */
    VOX_ERR_MEMORY = -5,  /* out of memory; the stream is as it was and the call may be repeated */
    VOX_ERR_COMPUTE = -6, /* values came out that are not finite, or the processor is too old */
} vox_status;

typedef struct {
    const char *name;        /* general.name; this and the next two live as long as the model */
    const char *description; /* general.description: what the model understands; may be "" */
    const char *file_type;   /* "q4_0", "f32", ... */
    const char *kernels;     /* "amx", "avx512", "avx-vnni", "avx2", "sse4.1"; "neon-i8mm",
                              "neon-dotprod", "neon"; "portable" */
    int64_t n_params;        /* parameters, all tensors */
    int64_t n_bytes;         /* size of the tensor data in the file */
    int32_t n_vocab;         /* token ids are 0 .. n_vocab-1 */
    int32_t n_special;       /* ids below this carry no text */
    int32_t token_pad;       /* [STREAMING_PAD]: nothing to say in this slot */
    int32_t token_word;      /* [STREAMING_WORD]: a word group follows */
    int32_t default_delay_ms;
    int32_t encoder_window; /* encoder frames of 20 ms */
    int32_t decoder_window; /* slots of 80 ms; at most what was asked for */
    int32_t encoder_dim;
    int32_t decoder_dim;
    int32_t has_turns; /* its slots have a state of the turn */
    int32_t n_lanes;   /* passes that run at the same time, if several threads ask for them */
} vox_model_info;

typedef struct {
    int32_t n_threads;      /* 1..256; 0: what suits the model's size, at most one per processor; a
                               small model's passes have one each, and run on all at once */
    int32_t decoder_window; /* how many slots its decoder remembers, where memory is short for the
                               keys and values of all: results are others then; 0, or more than
                               it was trained for: as many as that */
} vox_model_params;

typedef struct {
    int32_t delay_ms;     /* how far text trails speech: 80..1200 by 80, or 2400; 0: the model's */
    int32_t pad_guard_ms; /* after this long of nothing but pads, by 80, they become less and less
                             likely, until something else is said; 0: never */
    int32_t silence_gate_ms; /* what is silent for longer, by 80, is not computed, its slots are
                                pads; at least delay_ms + 880; 0: all is computed */
    int32_t confidence;      /* 1: slots have theirs */
    int32_t n_alternatives;  /* of each slot, at most VOX_MAX_ALTERNATIVES */
    int32_t batch_ms;   /* most audio in one pass, 80..1280; 0: 1280. Results do not depend on it */
    int32_t background; /* 1: passes go to streams without it first, as live ones are */
    int32_t auto_gain;  /* 1: quiet speech is made louder, by up to 40 dB */
    float gain_db;      /* all audio is, by so much, -60..60; without auto_gain */
    float words_bonus;  /* the next token of a listed word is said if its logit is at most this much
                           below the best, up to 10; 0: 3 */
    const char *words;  /* words to expect, as they are spelt, one a line (UTF-8); NULL: none */
} vox_stream_params;

enum { VOX_MAX_ALTERNATIVES = 8, VOX_N_TURNS = 6 };

/* Another token that can have text, in place of the one that was said. */
typedef struct {
    int32_t token;
    float confidence; /* its probability */
    const char *text; /* [n_text] bytes as in the tokenizer, not always whole UTF-8; the model's */
    size_t n_text;
} vox_alternative;

typedef struct {
    int64_t index;    /* from the first sample on: spoken about [80 index, 80 index + 80) ms */
    int32_t token;    /* token id; pads and markers included */
    const char *text; /* whole UTF-8 characters, often none; valid until the stream's next call */
    size_t n_text;    /* bytes */
    float confidence; /* probability of a token that can have text, if asked for; else 0 */
    const vox_alternative *alternatives; /* likeliest first; valid as text is */
    int32_t n_alternatives;
    int32_t turn;             /* the likeliest of these states; -1: the model has none */
    float turns[VOX_N_TURNS]; /* how likely: idle, noise, speaking, end, backchannel, uncertain */
} vox_slot;

/* What a stream has done since it was opened or reset, and the memory behind it. A pass takes
 * several slots through the network at once; times are of a monotonic clock, in ns. */
typedef struct {
    int64_t mel_ns, encoder_ns, prefill_ns, decoder_ns, head_ns; /* none within another */
    int64_t n_encoder_passes, n_encoder_slots;
    int64_t n_prefill_passes, n_prefill_slots;  /* positions before the first that speaks; the pass
                                                   with the last of them is one of these */
    int64_t n_decoder_passes, n_decoder_slots;  /* positions that speak, refused drafts included */
    int64_t n_accepted;                         /* slots that came out of them */
    int64_t n_skipped;                          /* slots that the silence gate shut out */
    int64_t n_encoder_shared, n_decoder_shared; /* slots of all streams that were in its passes of
                                                   the encoder; of those after the prompt */
    int64_t n_drafted, n_agreed;                /* tokens guessed ahead; those found to be right */
    int64_t state_bytes;                        /* the stream's own: rings and audio */
    int64_t scratch_bytes;                      /* what passes compute in, shared by all streams */
    int64_t weight_bytes;                       /* the model's */
} vox_stats;

/* All zero: the defaults; of a stream below. */
vox_model_params vox_model_default_params(void);
/* Map a GGUF file; params may be NULL. Threads start with the first pass. On success *model holds
 * one reference. On failure *model is NULL and message (may be NULL), at most n_message bytes, says
 * what is wrong and how to mend it. */
int vox_model_open(const char *path, const vox_model_params *params, vox_model **model,
                   char *message, size_t n_message);
/* Drop one reference; the last one, the model's or a stream's, frees it. NULL is fine. */
void vox_model_close(vox_model *model);
/* Fill *info. Strings belong to the model. */
int vox_model_describe(const vox_model *model, vox_model_info *info);
/* The bytes of a token, exactly as in the tokenizer (not always whole UTF-8); the model's. */
int vox_model_token(const vox_model *model, int32_t token, const char **bytes, size_t *n_bytes);

vox_stream_params vox_stream_default_params(void);
/* A new stream, which keeps a reference to the model. params may be NULL. */
int vox_stream_open(vox_model *model, const vox_stream_params *params, vox_stream **stream,
                    char *message, size_t n_message);
/* Append n samples (copied). Refused as a whole if one is not finite. */
int vox_stream_push(vox_stream *stream, const float *samples, size_t n);
/* No more audio: padding follows, so that the last words come out. Repeating it is fine. */
int vox_stream_finish(vox_stream *stream);
/* VOX_SLOT with *slot filled; or VOX_WAIT, VOX_DONE or an error, and its index is -1. After n
 * samples and finish there are exactly ceil(n / 1280) + 10 slots. */
int vox_stream_next(vox_stream *stream, vox_slot *slot);
/* Compute for n streams of one model, in passes that they share, until vox_stream_next has
 * something to say of each without computing: status [n] is what it will return. For servers that
 * have one thread for many streams; threads that call vox_stream_next share passes as well. */
int vox_streams_advance(vox_stream *const *streams, int32_t n, int32_t *status);
/* A second stream that goes on from where this one is, with memory of its own only for what the two
 * do not share. To know the words so far while the speaker may go on: finish the copy, drain it,
 * close it. Refused for a failed stream. On failure *copy is NULL. */
int vox_stream_copy(vox_stream *stream, vox_stream **copy);
/* Write the stream's state to bytes [cap]: its size, or < 0 (cap is too small, the stream has
 * failed, or gives embeddings). NULL: the size only, which holds until the stream's next call. */
int64_t vox_stream_save(vox_stream *stream, void *bytes, int64_t cap);
/* A stream that goes on where the saved one was, with its options; statistics begin anew. It must
 * be of the same model file and of this version of the library: else, or if it is cut short or
 * damaged, VOX_ERR_FORMAT. The rest as for vox_stream_open. */
int vox_stream_load(vox_model *model, const void *bytes, size_t n, vox_stream **stream,
                    char *message, size_t n_message);
/* Give a model the start of its streams, so that none of that delay computes it: what a stream
 * saved whose first next() said VOX_WAIT with no sample pushed. Trust it as the model's file; else
 * as vox_stream_load. */
int vox_model_start(vox_model *model, const void *bytes, size_t n);
/* Instead of next, for a decoder outside of this library: fill audio [decoder_dim] with the audio
 * embedding of the next slot, those of the left padding first. VOX_SLOT, VOX_WAIT, VOX_DONE or an
 * error. Until it is reset, a stream takes either this or next. */
int vox_stream_embed(vox_stream *stream, float *audio);
/* As if just opened, from any state; memory is kept. Same delay. */
int vox_stream_reset(vox_stream *stream);
void vox_stream_close(vox_stream *stream); /* and its reference to the model; NULL is fine */
int32_t vox_stream_delay(const vox_stream *stream); /* how far text trails speech, in ms */
/* Samples pushed but not yet decoded: the lag, for backpressure. */
int64_t vox_stream_pending(const vox_stream *stream);
/* Bytes that the stream holds now: rings, with what copies share of them, and audio. */
int64_t vox_stream_memory(const vox_stream *stream);
int vox_stream_stats(const vox_stream *stream, vox_stats *stats);
/* Detail of the last error; never NULL; valid until the next call on the stream. */
const char *vox_stream_message(const vox_stream *stream);
const char *vox_status_name(int status); /* "VOX_OK", "VOX_ERR_IO", ... */

/* Keep the rows of a named tensor; before the first next(), or after reset(). Names: "mel" [8 per
 * slot, 128], "conv" and "enc.out" [4 per slot, encoder dim], "enc.blk.N" likewise, "audio" [1,
 * decoder dim], "dec.blk.N" [1, decoder dim], "dec.logits" [1, vocabulary; outputs only]. */
int vox_stream_watch(vox_stream *stream, const char *name);
/* Copy the rows the last next() computed, oldest first, to dst (at most cap floats); the count, or
 * < 0. dst NULL: the count only. */
int64_t vox_stream_tensor(const vox_stream *stream, const char *name, float *dst, int64_t cap);

/* Quantisers for the converter, by ggml type id; n values, n a multiple of n_row. packed_size:
 * their bytes, or 0 if the type is not supported or n is not a whole number of its blocks. */
size_t vox_packed_size(int type, int64_t n);
int vox_pack(int type, const float *values, int64_t n, int64_t n_row, void *blocks);
int vox_unpack(int type, const void *blocks, int64_t n, float *values);
/* A matrix of n_rows rows of n values as the kernels read it, in groups of rows: its bytes, or 0 if
 * its type is kept in rows. group: from rows of blocks. ungroup: what vox_unpack gives. */
enum { VOX_GROUP_ROWS = 16 };
size_t vox_grouped_size(int type, int64_t n_rows, int64_t n);
int vox_group(int type, const void *blocks, int64_t n_rows, int64_t n, void *groups);
int vox_ungroup(int type, const void *groups, int64_t n_rows, int64_t n, float *values);

/* Processors that this process may keep busy: by its affinity, and by the quota of its control
 * groups, which *quota (may be NULL) says, in processors; 0: there is none. */
int vox_n_processors(double *quota);
/* ggml's version and where its source came from, at most n_version bytes. */
int vox_ggml_version(char *version, size_t n_version);
/* cffi: end */

#ifdef __cplusplus
}
#endif
#endif
