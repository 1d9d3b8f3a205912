/* test_draft.c - guesses and widths: what the rule learns from silence, from text that repeats
 * itself and from text that does not, and from what passes cost; that a plan keeps to the slots
 * that wait. */
#include "draft.h"

#include "check.h"

enum { PAD = 32, WORD = 33, TEXT = 1000 };

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

int main(void) {
    enum { N = 1600 };
    static int32_t tokens[N];
    draft_state d;
    static const float CHEAP = 0.1f, DEAR = 1;

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
    return 0;
}
