/* draft.h - guesses what the decoder will say next, and how many guesses are worth checking in one
 * pass.
 *
 * Most slots are pads, and a pass over several positions costs little more than one over a single
 * position, so the decoder runs ahead on guesses and keeps what it confirms. In: the tokens that
 * were said, and how long passes took. Out: guesses and the width of a pass. Only speed depends on
 * them, never a token. No ggml header.
 */
#ifndef VOXTRAL_DRAFT_H
#define VOXTRAL_DRAFT_H

#include <stdint.h>

enum { DRAFT_WIDTH = 16, DRAFT_SEEN = 4096, DRAFT_KINDS = 3 };

typedef struct {
    int32_t pad, word;        /* [STREAMING_PAD], [STREAMING_WORD] */
    int32_t next[DRAFT_SEEN]; /* what came after a token (id % DRAFT_SEEN) last time */
    /* What the next positions said in the last pass, where they had heard a wrong guess before: the
     * audio was theirs already, so it is the best guess there is. */
    int32_t hint[DRAFT_WIDTH];
    int n_hints;
    /* Running shares of right guesses, [without, with a hint] after a pad, a word marker, a piece
     * of text; and of all. */
    float right[2][DRAFT_KINDS], right_any;
} draft_state;

/* How long a pass takes, as measured: the first position, and each further one. */
typedef struct {
    float first, more; /* 0 until something was measured */
    /* Sums over passes, older ones weigh less: 1, further positions x, x^2, time y, x y. */
    double n, x, xx, y, xy;
} pass_cost;

/* A pass over n positions took ns. */
void pass_cost_learn(pass_cost *c, int n, int64_t ns);

void draft_reset(draft_state *d, int32_t pad, int32_t word);
/* guesses [n - 1]: what may follow token, one after the other. The number of positions, 1..n, that
 * the next pass should take when n <= DRAFT_WIDTH are there and a further one costs price times
 * what the stream pays for the pass; 0: not known. */
int draft_plan(const draft_state *d, float price, int32_t token, int n, int32_t *guesses);
/* A pass heard tokens heard [n], all but the first of them guesses, and said said [n] (-1:
 * nothing); the first n_right of these count. */
void draft_learn(draft_state *d, const int32_t *heard, const int32_t *said, int n, int n_right);

#endif
