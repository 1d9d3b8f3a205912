/* utf8.h - which bytes make a character of UTF-8, after the Unicode Standard's table of well-formed
 * sequences (3-7). No ggml header.
 */
#ifndef VOXTRAL_UTF8_H
#define VOXTRAL_UTF8_H

/* How many bytes follow the first one of a character, or -1 if it begins none; and the range of the
 * second one. Those after it are from 0x80 to 0xBF. */
static inline int utf8_follow(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = 0x80, *high = 0xBF;
    if (first < 0x80) return 0;
    if (first >= 0xC2 && first <= 0xDF) return 1;
    if (first >= 0xE0 && first <= 0xEF) {
        if (first == 0xE0) *low = 0xA0;  /* no overlong forms */
        if (first == 0xED) *high = 0x9F; /* no surrogates */
        return 2;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        if (first == 0xF0) *low = 0x90;
        if (first == 0xF4) *high = 0x8F; /* up to U+10FFFF */
        return 3;
    }
    return -1;
}

#endif
