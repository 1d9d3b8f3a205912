/* draft.c - see draft.h; docs/performance.md has the measurements behind the rule and the numbers.
 */
#include "draft.h"

/* What a position adds to a pass over one, in units of that: reading the weights is most of it. */
static const float POSITION_COST = 0.1f;
static const float LEARNING_RATE = 1.0f / 16;

static int kind(const draft_state *d, int32_t token) {
    return token == d->pad ? 0 : token == d->word ? 1 : 2;
}

/* Silence and the gaps between words are long; elsewhere text repeats itself. */
static int32_t guess_after(const draft_state *d, int32_t token) {
    return token == d->pad ? d->pad : d->next[token % DRAFT_SEEN];
}

void draft_reset(draft_state *d, int32_t pad, int32_t word) {
    *d = (draft_state){.pad = pad, .word = word, .right = {0.7f, 0.1f, 0.7f}, .right_any = 0.6f};
    for (int i = 0; i < DRAFT_SEEN; i++) d->next[i] = pad;
}

/* Width of the pass with which n waiting slots are expected to cost least. chance[i]: that the
 * first i guesses are right. rest[k]: what k slots cost that a pass leaves over. */
static int best_width(const float *chance, int n, const float *rest, float *cost) {
    int best = 1;
    for (int w = 1; w <= n; w++) {
        float total = 1 + POSITION_COST * (float)(w - 1) + chance[w - 1] * rest[n - w];
        for (int i = 0; i + 1 < w; i++) total += (chance[i] - chance[i + 1]) * rest[n - i - 1];
        if (w > 1 && total >= *cost) continue;
        *cost = total;
        best = w;
    }
    return best;
}

int draft_plan(const draft_state *d, int32_t token, int n, int32_t *guesses) {
    float chance[DRAFT_WIDTH] = {1}, any[DRAFT_WIDTH] = {1}, rest[DRAFT_WIDTH + 1] = {0};
    for (int i = 1; i < n; i++) {
        any[i] = any[i - 1] * d->right_any;
        chance[i] = chance[i - 1] * d->right[kind(d, token)];
        token = guesses[i - 1] = guess_after(d, token);
    }
    for (int k = 1; k < n; k++) best_width(any, k, rest, &rest[k]);
    return best_width(chance, n, rest, &rest[n]);
}

void draft_learn(draft_state *d, int32_t token, int32_t guess, int32_t next) {
    if (guess >= 0) {
        float right = guess == next;
        d->right[kind(d, token)] += LEARNING_RATE * (right - d->right[kind(d, token)]);
        d->right_any += LEARNING_RATE * (right - d->right_any);
    }
    d->next[token % DRAFT_SEEN] = next;
}
