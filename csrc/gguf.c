/* gguf.c - see gguf.h. */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

#include "voxtral.h"

enum {
    MAX_KEYS = 256,
    MAX_TENSORS = 64 + 16 * 2048, /* of two stacks of 1024 layers, and besides */
    MAX_STRINGS = 1 << 20,        /* in an array; each takes a step */
    MIN_KEY = 8 + 4 + 1,          /* bytes in the file */
    MIN_TENSOR = 8 + 4 + 4 + 8,
    ALIGNMENT = 32, /* if no key says otherwise */
};

static const char *const CUT =
    "the GGUF header is damaged or cut short: copy or convert the file again";

/* What is left of the header. */
typedef struct {
    const unsigned char *at, *end;
    const char *fault; /* NULL so far; what is read after one is zero */
} cursor;

static const unsigned char *take(cursor *c, uint64_t n, size_t size) {
    const unsigned char *at = c->at;
    if (c->fault || n > (size_t)(c->end - at) / size) {
        if (!c->fault) c->fault = CUT;
        return NULL;
    }
    c->at += n * size;
    return at;
}

static uint64_t take_number(cursor *c, int n_bytes) {
    const unsigned char *bytes = take(c, 1, (size_t)n_bytes);
    uint64_t value = 0;
    for (int i = 0; bytes && i < n_bytes; i++) value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static gguf_string take_string(cursor *c) {
    uint64_t n = take_number(c, 8);
    const unsigned char *bytes = take(c, n, 1);
    return (gguf_string){(const char *)bytes, bytes ? (size_t)n : 0};
}

static gguf_key take_key(cursor *c) {
    static const size_t sizes[N_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    gguf_key key = {.name = take_string(c), .n = 1};
    uint64_t type = take_number(c, 4);
    if (type == GGUF_ARRAY) {
        key.is_array = 1;
        type = take_number(c, 4);
        uint64_t n = take_number(c, 8);
        if (n > SIZE_MAX || (type == GGUF_STRING && n > MAX_STRINGS)) c->fault = CUT;
        key.n = (size_t)n;
    }
    if (type >= N_GGUF_TYPES || type == GGUF_ARRAY) {
        c->fault = CUT;
        return key;
    }
    key.type = (gguf_type)type;
    key.values = c->at;
    if (type != GGUF_STRING) {
        take(c, key.n, sizes[type]);
    } else if (key.is_array) {
        for (size_t i = 0; i < key.n && !c->fault; i++) take_string(c);
    } else {
        gguf_string s = take_string(c);
        key.values = s.bytes;
        key.n = s.n;
    }
    return key;
}

static gguf_tensor take_tensor(cursor *c) {
    gguf_tensor t = {.name = take_string(c), .ne = {1, 1, 1, 1}};
    uint64_t n_dims = take_number(c, 4);
    if (n_dims > 4) c->fault = CUT;
    for (uint64_t i = 0; i < n_dims && !c->fault; i++) t.ne[i] = take_number(c, 8);
    t.type = (uint32_t)take_number(c, 4);
    t.offset = take_number(c, 8);
    if (t.offset > UINT64_MAX / 2) c->fault = CUT;
    return t;
}

/* Keys and tensors begin with their name. */
static int by_name(const void *x, const void *y) {
    const gguf_string *a = x, *b = y;
    int order = memcmp(a->bytes, b->bytes, a->n < b->n ? a->n : b->n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static void sort(cursor *c, void *entries, size_t n, size_t size) {
    if (c->fault) return;
    qsort(entries, n, size, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name((char *)entries + (i - 1) * size, (char *)entries + i * size) == 0)
            c->fault = "the GGUF header has a name twice: convert the checkpoint again";
}

static uint64_t alignment(cursor *c, const gguf_contents *contents) {
    const gguf_key *key = c->fault ? NULL : gguf_find_key(contents, "general.alignment");
    if (!key) return ALIGNMENT;
    cursor value = {key->values, c->end, NULL};
    uint64_t n = key->is_array || key->type != GGUF_U32 ? 0 : take_number(&value, 4);
    if (n == 0 || (n & (n - 1))) c->fault = CUT;
    return n ? n : ALIGNMENT;
}

int gguf_read(gguf_contents *contents, const void *bytes, size_t n, const char **fault) {
    *contents = (gguf_contents){0};
    const unsigned char *begin = bytes; /* NULL if there are none */
    if (n < 4 || memcmp(begin, "GGUF", 4) != 0) {
        *fault = "not a GGUF file: make one with voxtral convert";
        return VOX_ERR_FORMAT;
    }
    cursor c = {begin, begin + n, NULL};
    take(&c, 4, 1);
    uint64_t version = take_number(&c, 4);
    uint64_t n_tensors = take_number(&c, 8), n_keys = take_number(&c, 8);
    if (!c.fault && version != 2 && version != 3)
        c.fault = version != 0 && version % 65536 == 0
                      ? "a big-endian GGUF file: convert the checkpoint again, here"
                      : "its GGUF version is neither 2 nor 3: convert the checkpoint again";
    if (!c.fault && (n_keys > MAX_KEYS || n_tensors > MAX_TENSORS))
        c.fault = "the GGUF header counts more keys or tensors than a model of this library has";
    uint64_t left = (size_t)(c.end - c.at);
    if (!c.fault && n_keys * MIN_KEY + n_tensors * MIN_TENSOR > left) c.fault = CUT;
    if (!c.fault) {
        contents->keys = calloc((size_t)n_keys + 1, sizeof *contents->keys);
        contents->tensors = calloc((size_t)n_tensors + 1, sizeof *contents->tensors);
        if (!contents->keys || !contents->tensors) {
            gguf_free(contents);
            *fault = "out of memory";
            return VOX_ERR_MEMORY;
        }
    }
    while (!c.fault && contents->n_keys < n_keys) contents->keys[contents->n_keys++] = take_key(&c);
    while (!c.fault && contents->n_tensors < n_tensors)
        contents->tensors[contents->n_tensors++] = take_tensor(&c);
    sort(&c, contents->keys, contents->n_keys, sizeof *contents->keys);
    sort(&c, contents->tensors, contents->n_tensors, sizeof *contents->tensors);
    uint64_t step = alignment(&c, contents), end = (uint64_t)(c.at - begin);
    if (!c.fault) {
        contents->n_header = (size_t)((end + step - 1) / step * step);
        for (size_t i = 0; i < contents->n_tensors; i++)
            contents->tensors[i].offset += contents->n_header;
        return VOX_OK;
    }
    gguf_free(contents);
    *fault = c.fault;
    return VOX_ERR_FORMAT;
}

void gguf_free(gguf_contents *contents) {
    free(contents->keys);
    free(contents->tensors);
    *contents = (gguf_contents){0};
}

static const void *find(const char *name, const void *entries, size_t n, size_t size) {
    gguf_string wanted = {name, strlen(name)};
    return n > 0 ? bsearch(&wanted, entries, n, size, by_name) : NULL;
}

const gguf_key *gguf_find_key(const gguf_contents *contents, const char *name) {
    return find(name, contents->keys, contents->n_keys, sizeof *contents->keys);
}

const gguf_tensor *gguf_find_tensor(const gguf_contents *contents, const char *name) {
    return find(name, contents->tensors, contents->n_tensors, sizeof *contents->tensors);
}
