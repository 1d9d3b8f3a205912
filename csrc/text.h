/* text.h - bytes of tokens to whole UTF-8 characters.
 *
 * In: the bytes of one token at a time; a character may span tokens. Out: UTF-8 that is always
 * valid: up to three bytes of an unfinished character are kept back, and bytes that cannot become a
 * character turn into U+FFFD, one per maximal broken part, as Python's decoder does with
 * errors="replace". No ggml header.
 */
#ifndef VOXTRAL_TEXT_H
#define VOXTRAL_TEXT_H

#include <stddef.h>

typedef struct {
    unsigned char kept[4];   /* bytes of an unfinished character */
    int n_kept, n_missing;   /* bytes kept; bytes still to come */
    unsigned char low, high; /* range of the next byte */
} text_state;

/* Most bytes that n bytes in can make: each may end one broken part (3 bytes each), kept ones
 * included. */
static inline size_t text_bound(size_t n) {
    return 3 * (n + 4);
}
void text_reset(text_state *t);
/* Both append to out and return the number of bytes written. */
size_t text_push(text_state *t, const char *bytes, size_t n, char *out);
size_t text_flush(text_state *t, char *out);

#endif
