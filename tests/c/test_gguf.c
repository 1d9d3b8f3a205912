/* test_gguf.c - the reader of GGUF headers: values of every type, every place at which a file can
 * end, and claims that are not true. Each file lies in memory of its own size, so that a sanitizer
 * sees a step beyond its end. */
#include "gguf.h"

#include <string.h>

#include "check.h"
#include "voxtral.h"

typedef struct {
    unsigned char bytes[4096];
    size_t n;
} file;

static void put(file *f, const void *bytes, size_t n) {
    CHECK(f->n + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, bytes, n);
    f->n += n;
}

static void put_number(file *f, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);
        put(f, &byte, 1);
    }
}

static void put_string(file *f, const char *text) {
    put_number(f, strlen(text), 8);
    put(f, text, strlen(text));
}

static file header(uint64_t version, uint64_t n_tensors, uint64_t n_keys) {
    file f = {.n = 0};
    put(&f, "GGUF", 4);
    put_number(&f, version, 4);
    put_number(&f, n_tensors, 8);
    put_number(&f, n_keys, 8);
    return f;
}

static void put_key(file *f, const char *name, gguf_type type) {
    put_string(f, name);
    put_number(f, type, 4);
}

static void put_array(file *f, const char *name, gguf_type type, uint64_t n) {
    put_key(f, name, GGUF_ARRAY);
    put_number(f, type, 4);
    put_number(f, n, 8);
}

static void put_tensor(file *f, const char *name, uint32_t n_dims, uint64_t offset) {
    put_string(f, name);
    put_number(f, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) put_number(f, 2 + i, 8);
    put_number(f, 8, 4);
    put_number(f, offset, 8);
}

/* The first n bytes of f: the fault, or NULL and the contents. */
static const char *read_part(const file *f, size_t n, gguf_contents *contents) {
    static unsigned char *bytes;
    free(bytes);
    CHECK((bytes = malloc(n + (n == 0))) != NULL);
    memcpy(bytes, f->bytes, n);
    const char *fault = NULL;
    int status = gguf_read(contents, bytes, n, &fault);
    CHECK(status == (fault ? VOX_ERR_FORMAT : VOX_OK));
    CHECK(!fault || (!contents->keys && !contents->tensors && contents->n_tensors == 0));
    return fault;
}

static void refused(const file *f, const char *part) {
    gguf_contents contents;
    const char *fault = read_part(f, f->n, &contents);
    CHECK(fault && strstr(fault, part));
}

static void test_values(uint64_t version) {
    static const int sizes[N_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    file f = header(version, 3, 26);
    for (int type = 0; type < N_GGUF_TYPES; type++) {
        char name[3] = {(char)('z' - type), 0, 0}; /* not in order */
        if (type != GGUF_ARRAY) {
            put_key(&f, name, (gguf_type)type);
            if (type == GGUF_STRING) put_string(&f, "te\nxt");
            else put_number(&f, 0x0102030405060708, sizes[type]);
        }
        name[1] = 'a';
        if (type != GGUF_ARRAY) {
            put_array(&f, name, (gguf_type)type, 3);
            for (int i = 0; i < 3; i++)
                if (type == GGUF_STRING) put_string(&f, i == 1 ? "" : "two");
                else put_number(&f, (uint64_t)i, sizes[type]);
        }
    }
    put_array(&f, "empty", GGUF_U8, 0);
    put_key(&f, "general.alignment", GGUF_U32);
    put_number(&f, 64, 4);
    put_tensor(&f, "b", 2, 64);
    put_tensor(&f, "bb", 0, 0);
    put_tensor(&f, "a", 4, 3ull << 30);
    size_t n_header = f.n;
    put(&f, "a tail, or data", 15);
    gguf_contents c;
    CHECK(read_part(&f, f.n, &c) == NULL);
    CHECK(c.n_keys == 26 && c.n_tensors == 3 && c.n_header == (n_header + 63) / 64 * 64);
    for (int type = 0; type < N_GGUF_TYPES; type++) {
        char name[3] = {(char)('z' - type), 0, 0};
        if (type == GGUF_ARRAY) continue;
        const gguf_key *one = gguf_find_key(&c, name);
        CHECK(one && (int)one->type == type && !one->is_array);
        if (type == GGUF_STRING) CHECK(one->n == 5 && memcmp(one->values, "te\nxt", 5) == 0);
        else CHECK(one->n == 1 && *(const unsigned char *)one->values == 8);
        name[1] = 'a';
        const gguf_key *array = gguf_find_key(&c, name);
        CHECK(array && (int)array->type == type && array->is_array && array->n == 3);
    }
    CHECK(gguf_find_key(&c, "empty")->n == 0);
    CHECK(!gguf_find_key(&c, "emptY") && !gguf_find_key(&c, "") && !gguf_find_tensor(&c, "c"));
    const gguf_tensor *a = gguf_find_tensor(&c, "a"), *b = gguf_find_tensor(&c, "b");
    CHECK(a->ne[0] == 2 && a->ne[3] == 5 && a->type == 8 && a->offset == c.n_header + (3ull << 30));
    CHECK(b->ne[1] == 3 && b->ne[2] == 1 && b->offset == c.n_header + 64);
    CHECK(gguf_find_tensor(&c, "bb")->ne[0] == 1);
    gguf_free(&c);
    for (size_t n = 0; n < n_header; n++) CHECK(read_part(&f, n, &c));
    CHECK(read_part(&f, n_header, &c) ==
          NULL); /* the data may be missing: not the reader's matter */
    gguf_free(&c);
}

static void test_versions(void) {
    for (uint64_t version = 0; version < 6; version++) {
        file f = header(version, 0, 0);
        if (version == 2 || version == 3) continue;
        refused(&f, "version");
    }
    file big = header(3 << 24, 0, 0);
    refused(&big, "big-endian");
    big.bytes[0] = 'g';
    refused(&big, "not a GGUF file");
}

static void test_claims(void) {
    file f = header(3, 0, 1);
    put_array(&f, "a", GGUF_ARRAY, 1); /* arrays of arrays are nobody's */
    put_number(&f, GGUF_U8, 4);
    refused(&f, "damaged");
    f = header(3, 0, 1);
    put_key(&f, "a", N_GGUF_TYPES);
    put_number(&f, 0, 8);
    refused(&f, "damaged");
    uint64_t counts[] = {1, 255, 257, 1 << 30, UINT64_MAX / 13, UINT64_MAX / 13 + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        f = header(3, counts[i], 0);
        put_number(&f, 0, 8);
        refused(&f, counts[i] > 1 << 20 ? "counts more" : "damaged");
        f = header(3, 0, counts[i]);
        put_number(&f, 0, 4);
        refused(&f, counts[i] > 256 ? "counts more" : "damaged");
        for (int type = GGUF_U8; type < N_GGUF_TYPES; type++) {
            f = header(3, 0, 1);
            put_array(&f, "a", (gguf_type)type, counts[i]);
            refused(&f, "damaged");
        }
        f = header(3, 0, 1);
        put_number(&f, counts[i] < 13 ? 13 : counts[i], 8); /* the length of a name */
        put_key(&f, "", GGUF_U8);
        refused(&f, "damaged");
    }
    for (uint64_t n = 0; n < 100; n++) { /* alignments */
        f = header(3, 0, 1);
        put_key(&f, "general.alignment", GGUF_U32);
        put_number(&f, n, 4);
        gguf_contents c;
        if (n == 0 || (n & (n - 1))) refused(&f, "damaged");
        else CHECK(read_part(&f, f.n, &c) == NULL && c.n_header % n == 0);
        if (n > 0 && !(n & (n - 1))) gguf_free(&c);
    }
    f = header(3, 0, 1);
    put_key(&f, "general.alignment", GGUF_U8);
    put_number(&f, 32, 1);
    refused(&f, "damaged");
    f = header(3, 1, 0);
    put_tensor(&f, "a", 5, 0);
    refused(&f, "damaged");
    f = header(3, 1, 0);
    put_tensor(&f, "a", 1, UINT64_MAX - 8);
    refused(&f, "damaged");
    f = header(3, 2, 0);
    put_tensor(&f, "a", 1, 0);
    put_tensor(&f, "a", 1, 0);
    refused(&f, "twice");
    f = header(3, 0, 2);
    put_key(&f, "a", GGUF_U8);
    put_number(&f, 1, 1);
    put_key(&f, "a", GGUF_U32);
    put_number(&f, 1, 4);
    refused(&f, "twice");
}

int main(void) {
    test_values(2);
    test_values(3);
    test_versions();
    test_claims();
    return 0;
}
