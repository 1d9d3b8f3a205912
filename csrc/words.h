/* words.h - words that a user expects: where the model is in two minds, it leans towards them.
 *
 * In: words as text, and the tokens that were said. Out: after them, which tokens a listed word may
 * have next, and which token is said when these have a bonus. The words are sequences of tokens, as
 * the tokenizer spells them with a space before them, and without one where the text so far is none
 * or ends in a sign; all of them are one automaton. Tokens without text (pads, markers) lie between
 * those of a word and change nothing. It depends on tokens and logits only, so what is said does
 * not depend on the width of a pass. No ggml header.
 */
#ifndef VOXTRAL_WORDS_H
#define VOXTRAL_WORDS_H

#include "spell.h"

typedef struct word_list word_list; /* immutable; reference counted */

/* A stream's: what it lists, and where in its words it is. */
typedef struct {
    word_list *list; /* NULL: no words */
    int32_t place;   /* after all that was said */
} listed_words;

/* Words, one a line of text [n]; white space around and between their parts is one space. bonus: in
 * logits. VOX_OK with *list, which is NULL if there are no words; else a status, and *fault says
 * what is wrong. The vocabulary's arrays must outlive the list. */
int words_new(word_list **list, const vocabulary *of, const char *text, size_t n, float bonus,
              const char **fault);
word_list *words_retain(word_list *list); /* both take NULL as well */
void words_release(word_list *list);
/* The text [n] that it was made from. */
const char *words_text(const word_list *list, size_t *n);
/* Where a stream begins, and whether a number is a place at all. */
int32_t words_start(void);
int words_is_place(const word_list *list, int32_t place);

/* places [n]: at n positions of which the first hears the last token said and the others heard
 * [1 .. n - 1], which count as said. */
void words_plan(const listed_words *w, const int32_t *heard, int n, int32_t *places);
/* said [n] were said. */
void words_learn(listed_words *w, const int32_t *said, int n);
/* The token that is said at a place, where best, the lowest id of the largest, has a logit of
 * largest: tokens that may be next have their bonus added to their logits, in float, and the
 * largest is said, the lowest id in a tie. */
int32_t words_lean(const word_list *list, int32_t place, const float *logits, float largest,
                   int32_t best);

#endif
