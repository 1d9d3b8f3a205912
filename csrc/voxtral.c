/* voxtral.c - the public entry points: checks arguments and hands over to model.c and stream.c; no
 * maths. */
#include "voxtral.h"

#include <stdio.h>
#include <stdlib.h>

#include "model.h"
#include "platform.h"
#include "stream.h"

static int refuse(char *message, size_t n_message, int status, const char *text) {
    if (message && n_message > 0) snprintf(message, n_message, "%s", text);
    return status;
}

const char *vox_status_name(int status) {
    switch (status) {
    case VOX_OK: return "VOX_OK";
    case VOX_SLOT: return "VOX_SLOT";
    case VOX_WAIT: return "VOX_WAIT";
    case VOX_DONE: return "VOX_DONE";
    case VOX_ERR_ARGUMENT: return "VOX_ERR_ARGUMENT";
    case VOX_ERR_STATE: return "VOX_ERR_STATE";
    case VOX_ERR_IO: return "VOX_ERR_IO";
    case VOX_ERR_FORMAT: return "VOX_ERR_FORMAT";
    case VOX_ERR_MEMORY: return "VOX_ERR_MEMORY";
    case VOX_ERR_COMPUTE: return "VOX_ERR_COMPUTE";
    default: return "unknown status";
    }
}

int vox_n_processors(double *quota) {
    return platform_n_processors(quota);
}

vox_model_params vox_model_default_params(void) {
    return (vox_model_params){0};
}

int vox_model_open(const char *path, const vox_model_params *params, vox_model **model,
                   char *message, size_t n_message) {
    if (message && n_message > 0) message[0] = 0;
    if (model) *model = NULL;
    if (!path || !model)
        return refuse(message, n_message, VOX_ERR_ARGUMENT, "path and model must not be NULL");
    vox_model_params p = params ? *params : vox_model_default_params();
    return model_open(path, &p, model, message, n_message);
}

int vox_model_describe(const vox_model *model, vox_model_info *info) {
    if (!model || !info) return VOX_ERR_ARGUMENT;
    *info = model->info;
    return VOX_OK;
}

int vox_model_token(const vox_model *model, int32_t token, const char **bytes, size_t *n_bytes) {
    if (bytes) *bytes = NULL;
    if (n_bytes) *n_bytes = 0;
    if (!model || !bytes || !n_bytes || token < 0 || token >= model->info.n_vocab)
        return VOX_ERR_ARGUMENT;
    *bytes = (const char *)model->token_bytes + model->token_offsets[token];
    *n_bytes = model->token_offsets[token + 1] - model->token_offsets[token];
    return VOX_OK;
}

vox_stream_params vox_stream_default_params(void) {
    return (vox_stream_params){0};
}

int vox_stream_open(vox_model *model, const vox_stream_params *params, vox_stream **stream,
                    char *message, size_t n_message) {
    if (message && n_message > 0) message[0] = 0;
    if (stream) *stream = NULL;
    if (!model || !stream)
        return refuse(message, n_message, VOX_ERR_ARGUMENT, "model and stream must not be NULL");
    vox_stream_params p = params ? *params : vox_stream_default_params();
    const char *fault = stream_params_fault(model, &p);
    if (fault) return refuse(message, n_message, VOX_ERR_ARGUMENT, fault);
    vox_stream *s = malloc(sizeof *s);
    if (!s) return refuse(message, n_message, VOX_ERR_MEMORY, "out of memory");
    int status = stream_init(s, model, &p, &fault);
    if (status != VOX_OK) {
        free(s);
        return refuse(message, n_message, status, fault);
    }
    *stream = s;
    return VOX_OK;
}

int vox_stream_push(vox_stream *stream, const float *samples, size_t n) {
    if (!stream || (!samples && n > 0)) return VOX_ERR_ARGUMENT;
    return stream_push(stream, samples, n);
}

int vox_stream_finish(vox_stream *stream) {
    return stream ? stream_finish(stream) : VOX_ERR_ARGUMENT;
}

int vox_stream_next(vox_stream *stream, vox_slot *slot) {
    if (slot) *slot = (vox_slot){.index = -1, .text = ""};
    if (!stream || !slot) return VOX_ERR_ARGUMENT;
    return stream_next(stream, slot);
}

int vox_streams_advance(vox_stream *const *streams, int32_t n, int32_t *status) {
    if (n < 0 || (n > 0 && (!streams || !status))) return VOX_ERR_ARGUMENT;
    for (int32_t i = 0; i < n; i++) {
        if (!streams[i] || streams[i]->m != streams[0]->m) return VOX_ERR_ARGUMENT;
        for (int32_t k = 0; k < i; k++)
            if (streams[k] == streams[i]) return VOX_ERR_ARGUMENT;
    }
    stream_advance(streams, n, status);
    return VOX_OK;
}

int vox_stream_copy(vox_stream *stream, vox_stream **copy) {
    if (copy) *copy = NULL;
    if (!stream || !copy) return VOX_ERR_ARGUMENT;
    if (stream->phase == STREAM_FAILED) return stream_refuse_failed(stream);
    vox_stream *s = malloc(sizeof *s);
    int status = s ? stream_copy(s, stream) : VOX_ERR_MEMORY;
    if (status != VOX_OK) {
        free(s);
        return stream_fail(stream, status, "out of memory");
    }
    *copy = s;
    return VOX_OK;
}

int64_t vox_stream_save(vox_stream *stream, void *bytes, int64_t cap) {
    if (!stream || cap < 0) return VOX_ERR_ARGUMENT;
    return stream_save(stream, bytes, (size_t)cap);
}

int vox_stream_load(vox_model *model, const void *bytes, size_t n, vox_stream **stream,
                    char *message, size_t n_message) {
    if (message && n_message > 0) message[0] = 0;
    if (stream) *stream = NULL;
    if (!model || !bytes || !stream)
        return refuse(message, n_message, VOX_ERR_ARGUMENT, "an argument is NULL");
    const char *fault = "out of memory";
    vox_stream *s = malloc(sizeof *s);
    int status = s ? stream_load(s, model, bytes, n, &fault) : VOX_ERR_MEMORY;
    if (status != VOX_OK) {
        free(s);
        return refuse(message, n_message, status, fault);
    }
    *stream = s;
    return VOX_OK;
}

int vox_model_start(vox_model *model, const void *bytes, size_t n) {
    vox_stream *s;
    int status = vox_stream_load(model, bytes, n, &s, NULL, 0);
    if (status == VOX_OK) status = stream_give_start(s);
    vox_stream_close(s);
    return status;
}

int vox_stream_embed(vox_stream *stream, float *audio) {
    return stream && audio ? stream_embed(stream, audio) : VOX_ERR_ARGUMENT;
}

int vox_stream_reset(vox_stream *stream) {
    if (!stream) return VOX_ERR_ARGUMENT;
    stream_reset(stream, 0);
    return VOX_OK;
}

void vox_stream_close(vox_stream *stream) {
    if (!stream) return;
    stream_free(stream);
    free(stream);
}

int32_t vox_stream_delay(const vox_stream *stream) {
    return stream ? stream->params.delay_ms : VOX_ERR_ARGUMENT;
}

int64_t vox_stream_pending(const vox_stream *stream) {
    return stream ? stream_pending(stream) : VOX_ERR_ARGUMENT;
}

int64_t vox_stream_memory(const vox_stream *stream) {
    return stream ? stream_memory(stream) : VOX_ERR_ARGUMENT;
}

int vox_stream_stats(const vox_stream *stream, vox_stats *stats) {
    if (!stream || !stats) return VOX_ERR_ARGUMENT;
    *stats = stream_stats(stream);
    return VOX_OK;
}

const char *vox_stream_message(const vox_stream *stream) {
    return stream ? stream->message : "the stream is NULL";
}

int vox_stream_watch(vox_stream *stream, const char *name) {
    if (!stream || !name) return VOX_ERR_ARGUMENT;
    return stream_watch(stream, name);
}

int64_t vox_stream_tensor(const vox_stream *stream, const char *name, float *dst, int64_t cap) {
    if (!stream || !name) return VOX_ERR_ARGUMENT;
    const watch_list *w = &stream->watch;
    int i = watch_find(w, name);
    if (i < 0) return VOX_ERR_ARGUMENT;
    int64_t n = w->list[i].n_rows;
    for (int64_t k = 0; dst && k < n && k < cap; k++) dst[k] = w->list[i].rows[k];
    return n;
}
