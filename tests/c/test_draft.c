/* test_draft.c - guesses and widths: what the rule learns from silence, from text that repeats
 * itself and from text that does not, and from what passes cost; that a plan keeps to the slots
 * that wait. */
#include "draft.h"

#include <math.h>
#include <string.h>

#include "check.h"

enum { PAD = 32, WORD = 33, TEXT = 1000 };

static const float CHEAP = 0.1f, DEAR = 1;

static int hints;

/* What a stream does: plan with at most `room` slots waiting, check against the truth, learn. The
 * number of passes that tokens [n] take. */
static int run(draft_state *d, float price, const int32_t *tokens, int n, int room) {
    int n_passes = 0;
    int32_t last = PAD;
    for (int p = 0; p < n; n_passes++) {
        int32_t heard[DRAFT_WIDTH] = {last};
        int waiting = n - p < room ? n - p : room;
        int w = draft_plan(d, price, last, waiting, heard + 1), right = 0;
        CHECK(w >= 1 && w <= waiting);
        while (right < w && (right == 0 || heard[right] == tokens[p + right - 1])) right++;
        /* Positions that heard a wrong guess say what is true, or nothing. */
        int32_t said[DRAFT_WIDTH];
        for (int i = 0; i < w; i++) said[i] = i < right || hints ? tokens[p + i] : -1;
        draft_learn(d, heard, said, w, right);
        last = said[right - 1];
        p += right;
    }
    return n_passes;
}

/* What a pass of w positions over n slots costs, and all that come after it: rest[k] is what k
 * slots cost that are left. right[i]: the chance of guess i when all before it are right. */
static double expected(const double *right, int w, int n, double more, const double *rest) {
    double cost = 1 + more * (w - 1), so_far = 1;
    for (int i = 1; i < w; i++) { /* guess i is the first that is wrong */
        cost += so_far * (1 - right[i]) * rest[n - i];
        so_far *= right[i];
    }
    return cost + so_far * rest[n - w];
}

static double least(const double *right, int n, double more, const double *rest) {
    double best = expected(right, 1, n, more, rest);
    for (int w = 2; w <= n; w++) best = fmin(best, expected(right, w, n, more, rest));
    return best;
}

/* No width costs less than the one of the plan, whatever is known of guesses. */
static void test_widths(void) {
    static const float prices[] = {0, 0.09f, 0.12f, 0.2f, 0.35f, 0.6f, 1};
    static const float shares[] = {0.05f, 0.3f, 0.6f, 0.85f, 0.97f};
    static const int32_t after[] = {PAD, WORD, TEXT};
    unsigned seed = 1;
    for (int round = 0; round < 3000; round++) {
        draft_state d;
        draft_reset(&d, PAD, WORD);
        for (int i = 0; i < 7; i++) {
            seed = seed * 1664525u + 1013904223u;
            *(i < 6 ? &d.right[i / 3][i % 3] : &d.right_any) = shares[(seed >> 16) % 5];
        }
        float price = prices[(seed >> 8) % 7];
        int n = 1 + round % DRAFT_WIDTH;
        d.n_hints = round % 5 < n - 1 ? round % 5 : n - 1;
        for (int i = 0; i < d.n_hints; i++) d.hint[i] = after[(seed >> i) % 3];
        d.next[WORD] = TEXT, d.next[TEXT] = WORD;

        int32_t token = after[round % 3], guesses[DRAFT_WIDTH];
        int w = draft_plan(&d, price, token, n, guesses);
        double more = (price > 0 ? price : 0.1) - 0.08;
        double right[DRAFT_WIDTH] = {0}, any[DRAFT_WIDTH], rest[DRAFT_WIDTH + 1] = {0};
        for (int i = 1; i < n; i++) {
            int32_t heard = i == 1 ? token : guesses[i - 2];
            int kind = heard == PAD ? 0 : heard == WORD ? 1 : 2;
            right[i] = d.right[i - 1 < d.n_hints][kind];
            any[i] = d.right_any;
        }
        for (int k = 1; k < n; k++) rest[k] = least(any, k, more, rest);
        CHECK(expected(right, w, n, more, rest) < least(right, n, more, rest) + 1e-5);
    }
}

/* How far a line is from n times, the newest last, as pass_cost_learn weighs them. */
static double misfit(const int *widths, const int64_t *ns, int n, double first, double more) {
    double sum = 0.05 * (more - 0.1 * first) * (more - 0.1 * first);
    for (int i = 0; i < n; i++) {
        double miss = (double)ns[i] - first - more * (widths[i] - 1);
        sum += pow(63.0 / 64, n - 1 - i) * miss * miss;
    }
    return sum;
}

/* What is learned of costs are the least squares, where these make sense; else one number. */
static void test_costs(void) {
    enum { N = 40 };
    int widths[N];
    int64_t ns[N];
    unsigned seed = 1;
    for (int round = 0; round < 20; round++) {
        pass_cost c = {0};
        for (int i = 0; i < N; i++) {
            seed = seed * 1664525u + 1013904223u;
            widths[i] = round ? 1 + (int)(seed >> 16) % DRAFT_WIDTH : 1;
            ns[i] = (int64_t)1000 * (10 + widths[i]) + (seed >> 8) % 2000;
            pass_cost_learn(&c, widths[i], ns[i]);
            double found = misfit(widths, ns, i + 1, c.first, c.more);
            for (int k = 0; k < 4; k++) {
                double step = k % 2 ? 3e-4 : -3e-4;
                double first = c.first * (1 + (k < 2 ? step : 0));
                double more = c.more * (1 + (k < 2 ? 0 : 10 * step));
                CHECK(misfit(widths, ns, i + 1, first, more) > found);
            }
        }
    }
    pass_cost tiny = {0}, less = {0}, falling = {0}, steep = {0};
    pass_cost_learn(&tiny, 2, 1);
    CHECK(tiny.first > 0.9f && tiny.first < 1 && fabsf(tiny.more - 0.1f * tiny.first) < 1e-6f);
    pass_cost_learn(&less, 1, 1);
    CHECK(less.first == 1 && fabsf(less.more - 0.1f) < 1e-6f);
    pass_cost_learn(&less, 16, 0);
    CHECK(less.more == 0 && less.first > 0.4f && less.first < 0.6f);
    pass_cost_learn(&falling, 1, 9000);
    pass_cost_learn(&falling, 16, 1000); /* wider and faster: all of it is the first position */
    CHECK(falling.more == 0 && fabsf(falling.first - (9000 * 63 + 1000 * 64) / 127.0f) < 1);
    pass_cost_learn(&steep, 2, 100);
    pass_cost_learn(&steep, 16, 9000); /* the first would cost less than nothing: all are alike */
    float mean = (100 * 63 + 9000 * 64) / (2 * 63 + 16 * 64.0f);
    CHECK(steep.first == steep.more && fabsf(steep.first - mean) < 0.01f);
}

/* Which share an outcome belongs to and how much it weighs; what stays of hints. */
static void test_learning(void) {
    draft_state d;
    draft_reset(&d, PAD, WORD);
    int32_t guesses[DRAFT_WIDTH];
    for (int32_t token = TEXT; token < TEXT + DRAFT_SEEN; token++) { /* nothing was seen yet */
        draft_plan(&d, CHEAP, token, 2, guesses);
        CHECK(guesses[0] == PAD);
    }
    for (int i = 0; i < 6; i++) d.right[i / 3][i % 3] = 0.5f;
    d.right_any = 0.5f;
    const int32_t heard[] = {PAD, WORD, TEXT, PAD, PAD}, said[] = {WORD, TEXT, PAD, TEXT + 1, PAD};
    draft_learn(&d, heard, said, 5, 4); /* right, right, right, wrong */
    CHECK(d.right[0][0] == (0.5f + 0.5f / 16) * 15 / 16 && d.right[0][1] == 0.5f + 0.5f / 16);
    CHECK(d.right[0][2] == 0.5f + 0.5f / 16);
    for (int kind = 0; kind < 3; kind++) CHECK(d.right[1][kind] == 0.5f);
    CHECK(d.right_any > 0.5f + 0.5f / 16 && d.right_any < 0.5f + 1.0f / 16);
    CHECK(d.next[PAD] == TEXT + 1 && d.next[WORD] == TEXT && d.next[TEXT] == PAD);
    CHECK(d.n_hints == 1 && d.hint[0] == PAD);

    const int32_t more[] = {WORD, TEXT, TEXT + 1, TEXT + 2, TEXT + 3};
    draft_learn(&d, heard, more, 5, 1);
    CHECK(d.right[1][0] == 0.5f + 0.5f / 16 && d.n_hints == 4);
    CHECK(memcmp(d.hint, more + 1, 4 * sizeof *more) == 0);
    draft_plan(&d, CHEAP, WORD, 3, guesses); /* hints come before what was seen */
    CHECK(guesses[0] == TEXT && guesses[1] == TEXT + 1);
    const int32_t narrow[] = {WORD, TEXT + 9};
    draft_learn(&d, heard, narrow, 2, 1); /* the hints behind a narrow pass stay */
    CHECK(d.n_hints == 3 && d.hint[0] == TEXT + 9 && d.hint[1] == TEXT + 2 &&
          d.hint[2] == TEXT + 3);
    const int32_t gap[] = {WORD, 0, -1, TEXT}; /* 0 is a token */
    draft_learn(&d, heard, gap, 4, 1);
    CHECK(d.n_hints == 1 && d.hint[0] == 0);
    draft_learn(&d, heard, said, 1, 1); /* one position tells nothing of guesses */
    CHECK(d.n_hints == 0 && d.next[PAD] == WORD);
}

int main(void) {
    enum { N = 1600 };
    static int32_t tokens[N];
    draft_state d;

    /* Silence: the widest passes there can be. */
    for (int i = 0; i < N; i++) tokens[i] = PAD;
    draft_reset(&d, PAD, WORD);
    CHECK(run(&d, CHEAP, tokens, N, DRAFT_WIDTH) < N / DRAFT_WIDTH + 5);
    CHECK(run(&d, CHEAP, tokens, N, 3) == N / 3 + 1);
    int32_t guesses[DRAFT_WIDTH];
    CHECK(draft_plan(&d, CHEAP, PAD, DRAFT_WIDTH, guesses) == DRAFT_WIDTH);
    for (int i = 0; i < DRAFT_WIDTH - 1; i++) CHECK(guesses[i] == PAD);
    CHECK(draft_plan(&d, CHEAP, PAD, 1, guesses) == 1);

    /* Text without pads that never repeats: one position at a time, unless further ones cost next
     * to nothing. */
    for (int i = 0; i < N; i++) tokens[i] = TEXT + i;
    draft_reset(&d, PAD, WORD);
    CHECK(run(&d, DEAR, tokens, N, DRAFT_WIDTH) == N);
    CHECK(draft_plan(&d, DEAR, TEXT + N, DRAFT_WIDTH, guesses) == 1);

    /* A phrase said over and over, its words two tokens long, with pads between. */
    static const int32_t phrase[] = {WORD, TEXT, TEXT + 1, PAD, PAD, WORD, TEXT + 2, TEXT + 3, PAD};
    enum { LENGTH = sizeof phrase / sizeof *phrase };
    for (int i = 0; i < N; i++) tokens[i] = phrase[i % LENGTH];
    draft_reset(&d, PAD, WORD);
    int n_passes = run(&d, CHEAP, tokens, N, DRAFT_WIDTH);
    CHECK(n_passes < N / 2);
    draft_plan(&d, CHEAP, TEXT, 3, guesses);
    CHECK(guesses[0] == TEXT + 1 && guesses[1] == PAD);

    /* Where each position costs as much as the first, nothing is won by guessing. */
    draft_reset(&d, PAD, WORD);
    CHECK(run(&d, DEAR, tokens, N, DRAFT_WIDTH) == N);

    /* Costs are learned from passes of any widths, and follow when they change. */
    pass_cost learned = {0};
    CHECK(draft_plan(&d, 0, PAD, 4, guesses) > 0);
    for (int i = 0, w = 1; i < 1000; i++, w = w % 6 + 1)
        pass_cost_learn(&learned, w, 80000000 + 8000000 * (w - 1));
    CHECK(learned.first > 79e6f && learned.first < 81e6f);
    CHECK(learned.more > 7.8e6f && learned.more < 8.2e6f);
    for (int i = 0; i < 1000; i++) pass_cost_learn(&learned, 1, 40000000);
    CHECK(learned.first > 39e6f && learned.first < 41e6f);
    /* A few wide passes are enough to find out that guesses do not pay. */
    pass_cost wide = {0};
    for (int i = 0; i < 8; i++) {
        int w = i % 2 ? 16 : 12;
        pass_cost_learn(&wide, w, 80000000 + 60000000 * (w - 1) + (i % 3 - 1) * 10000000);
    }
    CHECK(wide.more > 0.4f * wide.first);

    /* The same tokens and costs give the same passes. */
    draft_reset(&d, PAD, WORD);
    CHECK(run(&d, CHEAP, tokens, N, DRAFT_WIDTH) == n_passes);

    /* Where positions that heard a wrong guess say what is true all the same, passes bring more. */
    for (int i = 0; i < N; i++) tokens[i] = i % 3 ? PAD : TEXT + i;
    draft_reset(&d, PAD, WORD);
    n_passes = run(&d, CHEAP, tokens, N, DRAFT_WIDTH);
    draft_reset(&d, PAD, WORD);
    hints = 1;
    CHECK(run(&d, CHEAP, tokens, N, DRAFT_WIDTH) < n_passes * 4 / 5);

    /* One that says again what came before it is no such help: what followed that last time is. */
    draft_reset(&d, PAD, WORD);
    const int32_t heard[] = {PAD, WORD, TEXT, PAD, PAD, PAD};
    const int32_t said[] = {WORD, TEXT, PAD, WORD, WORD, TEXT};
    draft_learn(&d, heard, said, 6, 4);
    draft_plan(&d, CHEAP, WORD, 3, guesses);
    CHECK(guesses[0] == TEXT && guesses[1] == PAD);
    draft_learn(&d, heard + 3, said + 3, 3, 1);
    draft_plan(&d, CHEAP, PAD, 3, guesses);
    CHECK(guesses[0] == WORD && guesses[1] == TEXT);
    test_widths();
    test_costs();
    test_learning();
    return 0;
}
