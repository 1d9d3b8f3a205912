/* draft.c - see draft.h; docs/performance.md has the measurements behind the rule and the numbers.
 */
#include "draft.h"

/* What a further position adds to a pass over one, until that was measured: reading the weights is
 * most of it where they do not fit into a cache. */
static const float MORE_COST = 0.1f;
/* What a position is worth to the next pass if it heard a wrong guess, in the same unit. */
static const float HINT_VALUE = 0.08f;
static const float LEARNING_RATE = 1.0f / 16;
/* What a pass weighs after the next one, and what MORE_COST weighs beside all passes. */
static const double REMEMBER = 63.0 / 64, PRIOR = 0.05;

/* Least squares of first + more x, and of PRIOR (more - MORE_COST first)^2. Narrow passes say
 * nothing about further positions, so what is known of them is forgotten then and tried again: a
 * busy machine may have spoilt it. */
void pass_cost_learn(pass_cost *c, int n, int64_t ns) {
    double x = n - 1, y = (double)ns;
    c->n = REMEMBER * c->n + 1;
    c->x = REMEMBER * c->x + x;
    c->xx = REMEMBER * c->xx + x * x;
    c->y = REMEMBER * c->y + y;
    c->xy = REMEMBER * c->xy + x * y;
    double a = c->n + PRIOR * MORE_COST * MORE_COST, b = c->x - PRIOR * MORE_COST;
    double d = c->xx + PRIOR, determinant = a * d - b * b;
    double first = (c->y * d - c->xy * b) / determinant;
    double more = (c->xy * a - c->y * b) / determinant;
    if (first < 0 || more < 0) { /* noise: all of it is the first position, or all are alike */
        more = first < 0 ? c->y / (c->n + c->x) : 0;
        first = first < 0 ? more : c->y / c->n;
    }
    c->first = (float)first;
    c->more = (float)more;
}

static int kind(const draft_state *d, int32_t token) {
    return token == d->pad ? 0 : token == d->word ? 1 : 2;
}

/* The i-th guess, after token. A hint that says what was said just before is none: its position had
 * not heard that yet. Without a hint: silence and the gaps between words are long, and text repeats
 * itself. */
static int32_t guess(const draft_state *d, int i, int32_t token) {
    if (i < d->n_hints && (d->hint[i] != token || token == d->pad)) return d->hint[i];
    return token == d->pad ? d->pad : d->next[token % DRAFT_SEEN];
}

void draft_reset(draft_state *d, int32_t pad, int32_t word) {
    *d = (draft_state){.pad = pad,
                       .word = word,
                       .right = {{0.7f, 0.1f, 0.7f}, {0.9f, 0.5f, 0.8f}},
                       .right_any = 0.7f};
    for (int i = 0; i < DRAFT_SEEN; i++) d->next[i] = pad;
}

/* Width of the pass with which n waiting slots are expected to cost least. chance[i]: that the
 * first i guesses are right. rest[k]: what k slots cost that a pass leaves over. */
static int best_width(const float *chance, int n, float more, const float *rest, float *cost) {
    int best = 1;
    for (int w = 1; w <= n; w++) {
        float total = 1 + more * (float)(w - 1) + chance[w - 1] * rest[n - w];
        for (int i = 0; i + 1 < w; i++) total += (chance[i] - chance[i + 1]) * rest[n - i - 1];
        if (w > 1 && total >= *cost) continue;
        *cost = total;
        best = w;
    }
    return best;
}

int draft_plan(const draft_state *d, float price, int32_t token, int n, int32_t *guesses) {
    float more = (price > 0 ? price : MORE_COST) - HINT_VALUE;
    float chance[DRAFT_WIDTH] = {1}, any[DRAFT_WIDTH] = {1}, rest[DRAFT_WIDTH + 1] = {0};
    for (int i = 1; i < n; i++) {
        any[i] = any[i - 1] * d->right_any;
        chance[i] = chance[i - 1] * d->right[i - 1 < d->n_hints][kind(d, token)];
        token = guesses[i - 1] = guess(d, i - 1, token);
    }
    for (int k = 1; k < n; k++) best_width(any, k, more, rest, &rest[k]);
    return best_width(chance, n, more, rest, &rest[n]);
}

void draft_learn(draft_state *d, const int32_t *heard, const int32_t *said, int n, int n_right) {
    for (int i = 0; i < n_right; i++) {
        if (i + 1 < n) {
            float right = heard[i + 1] == said[i];
            float *share = &d->right[i < d->n_hints][kind(d, heard[i])];
            *share += LEARNING_RATE * (right - *share);
            d->right_any += LEARNING_RATE * (right - d->right_any);
        }
        d->next[heard[i] % DRAFT_SEEN] = said[i];
    }
    int n_before = d->n_hints;
    d->n_hints = 0;
    for (int i = n_right; i < (n > n_before ? n : n_before); i++) {
        int32_t hint = i < n ? said[i] : d->hint[i];
        if (hint < 0) break;
        d->hint[d->n_hints++] = hint;
    }
}
