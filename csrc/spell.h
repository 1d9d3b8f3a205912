/* spell.h - text as the tokens in which the tokenizer writes it.
 *
 * In: the bytes of every token, whose order is their rank (Tekken, docs/model.md), and UTF-8. Out:
 * ids. Text is cut by Tekken's pattern, and within a part the two neighbours that make the token of
 * the lowest rank become one, the first such two in a tie, until no two make one. No ggml header.
 */
#ifndef VOXTRAL_SPELL_H
#define VOXTRAL_SPELL_H

#include <stddef.h>
#include <stdint.h>

/* A tokenizer: token i is bytes offsets[i] .. offsets[i + 1]; those below n_special are no text. */
typedef struct {
    const uint8_t *bytes;
    const uint32_t *offsets; /* [n_vocab + 1] */
    int32_t n_special, n_vocab;
} vocabulary;

typedef struct {
    vocabulary of;
    int32_t *places; /* [mask + 1] ids by the hash of their bytes; -1: free */
    uint32_t mask;
} speller;

enum { SPELL_MAX = 256 /* bytes at once */ };

/* Nonzero when out of memory. The vocabulary's arrays are the caller's and must outlive it. */
int speller_init(speller *s, const vocabulary *of);
void speller_free(speller *s);
/* tokens [n] of text [n], n at most SPELL_MAX: how many; -1: it is not UTF-8; -2: there are no
 * tokens for it. */
int spell(const speller *s, const char *text, size_t n, int32_t *tokens);
/* The character at text [n], n > 0, and its bytes; -1: it is not UTF-8. */
int32_t spell_character(const char *text, size_t n, size_t *n_bytes);
int spell_is_space(int32_t character);

#endif
