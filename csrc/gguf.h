/* gguf.h - the table of contents of a GGUF file: which keys and tensors it has, and where they lie.
 *
 * In: the bytes of a file, none of which is trusted. Out: tables sorted by name; names, values and
 * arrays stay where they are. Versions 2 and 3, little-endian. A file has few keys and tensors, so
 * a header that counts more than any model of this library has is refused before it is read. No
 * ggml header.
 */
#ifndef VOXTRAL_GGUF_H
#define VOXTRAL_GGUF_H

#include <stddef.h>
#include <stdint.h>

typedef enum { /* numbers of the format */
               GGUF_U8,
               GGUF_I8,
               GGUF_U16,
               GGUF_I16,
               GGUF_U32,
               GGUF_I32,
               GGUF_F32,
               GGUF_BOOL,
               GGUF_STRING,
               GGUF_ARRAY,
               GGUF_U64,
               GGUF_I64,
               GGUF_F64,
               N_GGUF_TYPES
} gguf_type;

typedef struct {
    const char *bytes; /* [n] no zero at the end */
    size_t n;
} gguf_string;

typedef struct {
    gguf_string name;
    gguf_type type; /* of an array: of its elements */
    int is_array;   /* n elements; else there is one */
    size_t n;
    const void *values; /* not aligned; of a string, [n] bytes */
} gguf_key;

typedef struct {
    gguf_string name;
    uint32_t type;   /* ggml's number, or none of them */
    uint64_t ne[4];  /* columns first; 1 beyond the tensor's own */
    uint64_t offset; /* in the file, perhaps beyond its end */
} gguf_tensor;

typedef struct {
    gguf_key *keys;       /* [n_keys] by name */
    gguf_tensor *tensors; /* [n_tensors] by name */
    size_t n_keys, n_tensors;
    size_t n_header; /* bytes before the tensors' data */
} gguf_contents;

/* VOX_OK, or VOX_ERR_FORMAT or VOX_ERR_MEMORY with *fault saying why. bytes must outlive the
 * contents. */
int gguf_read(gguf_contents *contents, const void *bytes, size_t n, const char **fault);
void gguf_free(gguf_contents *contents); /* a zeroed one is fine */
/* NULL if there is none of this name. */
const gguf_key *gguf_find_key(const gguf_contents *contents, const char *name);
const gguf_tensor *gguf_find_tensor(const gguf_contents *contents, const char *name);

#endif
