/* fuzz_text.c - any bytes as tokens, the first byte of each its length: the same text as in one
 * piece, whole UTF-8, within its bound. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fuzz.h"
#include "text.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0;
}

/* Bytes of the character at the front of text [n], which must be a whole one. */
static size_t character(const unsigned char *c, size_t n) {
    size_t more = *c < 0x80 ? 0 : *c >= 0xF0 ? 3 : *c >= 0xE0 ? 2 : 1;
    CHECK(*c < 0x80 || (*c >= 0xC2 && *c <= 0xF4));
    CHECK(more < n);
    uint32_t value = more ? *c & (0x3Fu >> more) : *c;
    for (size_t i = 1; i <= more; i++) {
        CHECK((c[i] & 0xC0) == 0x80);
        value = value << 6 | (c[i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    CHECK(value >= least[more] && value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF));
    return more + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    text_state pieces, whole;
    text_reset(&pieces);
    text_reset(&whole);
    char *bytes = malloc(size + 1), *a = malloc(text_bound(size) + 1),
         *b = malloc(text_bound(size) + 1);
    CHECK(bytes && a && b);
    size_t n = 0, n_a = 0;
    fuzz_bytes in = {data, data + size};
    while (in.at < in.end) {
        size_t length = fuzz_byte(&in) % 16, begin = n;
        while (length-- > 0 && in.at < in.end) bytes[n++] = (char)fuzz_byte(&in);
        char *out = malloc(text_bound(n - begin)); /* so that a byte beyond it is found */
        CHECK(out);
        size_t n_out = text_push(&pieces, bytes + begin, n - begin, out);
        CHECK(n_out <= text_bound(n - begin) && pieces.n_kept <= 3);
        memcpy(a + n_a, out, n_out);
        n_a += n_out;
        free(out);
    }
    n_a += text_flush(&pieces, a + n_a);
    size_t n_b = text_push(&whole, bytes, n, b);
    n_b += text_flush(&whole, b + n_b);
    CHECK(n_a == n_b && memcmp(a, b, n_a) == 0);
    for (size_t i = 0; i < n_a;) i += character((unsigned char *)a + i, n_a - i);
    free(bytes);
    free(a);
    free(b);
    return 0;
}
