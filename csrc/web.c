/* web.c - see web.h. Texts are addresses of bytes that end with zero, valid until the next call. */
#include "web.h"

#include <stdlib.h>

#include "voxtral.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static char message[256];
static int status; /* of the last that could not be opened */
static vox_slot slot;

EXPORT(allocate) void *web_allocate(size_t size) {
    return malloc(size);
}

EXPORT(release) void web_release(void *data) {
    free(data);
}

EXPORT(file) void *web_file(size_t size) {
    return web_give_file(size);
}

#if defined(__wasm_atomics__)
EXPORT(serve_thread) void web_serve(void) {
    web_serve_thread();
}

EXPORT(n_threads) int web_threads(void) {
    return web_n_threads();
}
#endif

/* A model of the file that was given, or NULL with a message. */
EXPORT(model_open) vox_model *web_model_open(int n_threads, int decoder_window) {
    vox_model_params params = {.n_threads = n_threads, .decoder_window = decoder_window};
    vox_model *model;
    status = vox_model_open("", &params, &model, message, sizeof message);
    return model;
}

EXPORT(model_close) void web_model_close(vox_model *model) {
    vox_model_close(model);
}

/* 0: name, 1: description, 2: file type, 3: kernels. */
EXPORT(model_text) const char *web_model_text(const vox_model *model, int which) {
    vox_model_info info;
    vox_model_describe(model, &info);
    const char *texts[] = {info.name, info.description, info.file_type, info.kernels};
    return texts[which];
}

/* 0: parameters, 1: bytes of weights, 2: the default delay, ms. */
EXPORT(model_number) double web_model_number(const vox_model *model, int which) {
    vox_model_info info;
    vox_model_describe(model, &info);
    const double numbers[] = {(double)info.n_params, (double)info.n_bytes, info.default_delay_ms};
    return numbers[which];
}

/* A stream, or NULL with a message. */
EXPORT(stream_open)
vox_stream *web_stream_open(vox_model *model, int delay_ms, int silence_gate_ms, int pad_guard_ms,
                            int confidence, int auto_gain, float gain_db, float words_bonus,
                            const char *words) {
    vox_stream_params params = {.delay_ms = delay_ms,
                                .silence_gate_ms = silence_gate_ms,
                                .pad_guard_ms = pad_guard_ms,
                                .confidence = confidence,
                                .auto_gain = auto_gain,
                                .gain_db = gain_db,
                                .words_bonus = words_bonus,
                                .words = words};
    vox_stream *stream;
    status = vox_stream_open(model, &params, &stream, message, sizeof message);
    return stream;
}

EXPORT(stream_close) void web_stream_close(vox_stream *stream) {
    vox_stream_close(stream);
}

EXPORT(stream_push) int web_stream_push(vox_stream *stream, const float *samples, size_t n) {
    return vox_stream_push(stream, samples, n);
}

EXPORT(stream_finish) int web_stream_finish(vox_stream *stream) {
    return vox_stream_finish(stream);
}

/* A vox_status; the slot is then what slot_ tells. */
EXPORT(stream_next) int web_stream_next(vox_stream *stream) {
    return vox_stream_next(stream, &slot);
}

/* 0: index, 1: token, 2: confidence, 3: address of the text, 4: its bytes. */
EXPORT(slot_number) double web_slot_number(int which) {
    const double numbers[] = {(double)slot.index, slot.token, slot.confidence,
                              (double)(uintptr_t)slot.text, (double)slot.n_text};
    return numbers[which];
}

EXPORT(stream_pending) double web_stream_pending(const vox_stream *stream) {
    return (double)vox_stream_pending(stream);
}

/* What was wrong: with the stream, or NULL: with what could not be opened. */
EXPORT(message) const char *web_message(const vox_stream *stream) {
    return stream ? vox_stream_message(stream) : message;
}

EXPORT(status) int web_status(void) {
    return status;
}
