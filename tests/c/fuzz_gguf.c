/* fuzz_gguf.c - any bytes as the header of a GGUF file: refused with a reason, or tables that are
 * sorted and lie within the bytes. */
#include "check.h"
#include "fuzz.h"
#include "gguf.h"

static const uint8_t *begin, *end;

static void check_within(const void *p, size_t n) {
    const uint8_t *at = p;
    CHECK(n == 0 || (at >= begin && at <= end && n <= (size_t)(end - at)));
    for (size_t i = 0; i < n; i++) (void)*(const volatile uint8_t *)(at + i);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t sizes[N_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    gguf_contents c;
    const char *fault = NULL;
    begin = data, end = data + size;
    if (gguf_read(&c, data, size, &fault) != VOX_OK) {
        CHECK(fault && *fault && !c.keys && !c.tensors && c.n_keys == 0 && c.n_tensors == 0);
        return 0;
    }
    for (size_t i = 0; i < c.n_keys; i++) {
        const gguf_key *k = &c.keys[i];
        check_within(k->name.bytes, k->name.n);
        CHECK(k->type < N_GGUF_TYPES && k->type != GGUF_ARRAY &&
              (k->is_array || k->n == 1 || k->type == GGUF_STRING));
        size_t n_bytes = k->n * sizes[k->type];
        if (k->type == GGUF_STRING && !k->is_array) n_bytes = k->n;
        check_within(k->values, n_bytes);
    }
    for (size_t i = 0; i < c.n_tensors; i++) {
        check_within(c.tensors[i].name.bytes, c.tensors[i].name.n);
        CHECK(c.tensors[i].offset >= c.n_header);
    }
    gguf_free(&c);
    return 0;
}
