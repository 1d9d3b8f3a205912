/* test_text.c - UTF-8 assembly: characters over several tokens, broken parts, the flush. The
 * comparison with Python's decoder over random bytes is in test_stream.py. */
#include "text.h"

#include <string.h>

#include "check.h"

/* Push the pieces one by one, flush, and compare; also byte by byte. */
static void expect(const char *const *pieces, const char *expected) {
    char out[256];
    for (int by_byte = 0; by_byte < 2; by_byte++) {
        text_state t;
        text_reset(&t);
        size_t n = 0;
        for (int i = 0; pieces[i]; i++) {
            size_t length = strlen(pieces[i]), step = by_byte ? 1 : length;
            for (size_t k = 0; k < length; k += step) {
                memset(out + n, 'x', sizeof out - n);
                size_t made = text_push(&t, pieces[i] + k, step, out + n);
                CHECK(made <= text_bound(step));
                n += made;
                CHECK(out[n] == 'x');
            }
        }
        n += text_flush(&t, out + n);
        CHECK(text_flush(&t, out + n) == 0); /* nothing is left */
        CHECK(n == strlen(expected) && memcmp(out, expected, n) == 0);
    }
}

#define PIECES(...)                                                                                \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }
#define BROKEN "\xEF\xBF\xBD"

/* Characters stay as they are, in one piece and byte by byte: all of up to three bytes, and many of
 * four. */
static void test_all_characters(void) {
    for (unsigned c = 1; c <= 0x10FFFF; c += c < 0x10000 || c >= 0x10FF00 ? 1 : 63) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char first[] = {0, 0, 0xC0, 0xE0, 0xF0};
        char bytes[5] = {0};
        for (int i = n - 1; i > 0; i--) bytes[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3F));
        bytes[0] = (char)(first[n] | c >> 6 * (n - 1));
        expect(PIECES(bytes), bytes);
    }
}

int main(void) {
    test_all_characters();
    expect(PIECES("plain"), "plain");
    expect(PIECES("\xD0", "\xB3\xD0\xB0"), "\xD0\xB3\xD0\xB0");
    expect(PIECES("\xF0\x9F", "\x98", "\x80!"), "\xF0\x9F\x98\x80!");
    expect(PIECES("\xE2\x82"), BROKEN); /* cut short at the end */
    expect(PIECES("\xE2"), BROKEN);
    expect(PIECES("\xE2\x82", "a"), BROKEN "a");          /* cut short by another character */
    expect(PIECES("\x80\xBF"), BROKEN BROKEN);            /* continuation without a start */
    expect(PIECES("\xC0\xAF"), BROKEN BROKEN);            /* overlong */
    expect(PIECES("\xE0\x80\x80"), BROKEN BROKEN BROKEN); /* overlong, three bytes */
    expect(PIECES("\xF0\x8F\xBF\xBF"), BROKEN BROKEN BROKEN BROKEN); /* and four */
    expect(PIECES("\xED\xA0\x80"), BROKEN BROKEN BROKEN);            /* surrogate */
    expect(PIECES("\xF4\x90\x80\x80"), BROKEN BROKEN BROKEN BROKEN); /* beyond U+10FFFF */
    expect(PIECES("\xF0\x9F\x98\xF0\x9F\x98\x80"), BROKEN "\xF0\x9F\x98\x80");

    text_state t;
    char out[16];
    text_reset(&t);
    CHECK(text_push(&t, "a\0b", 3, out) == 3 &&
          memcmp(out, "a\0b", 3) == 0); /* byte 0 is a character */
    return 0;
}
