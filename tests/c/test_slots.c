/* test_slots.c - counts of slots by what they mean: every sample of the audio is in a slot, and the
 * invariant knows what no stream can be. */
#include "slots.h"

#include <string.h>

#include "check.h"

enum { WAITING = 31, SAID = 16 };

static slot_counts begun(int64_t n_pushed) {
    slot_counts c;
    memset(&c, 1, sizeof c);
    c.n_left_pad = 32, c.n_delay = 6, c.n_right_extra = 11;
    slots_reset(&c);
    c.n_pushed = n_pushed;
    return c;
}

static void test_schedule(void) {
    for (int64_t n = 0; n < 5000; n += n < 50 ? 1 : 7) {
        slot_counts c = begun(n);
        /* The last slot of the left padding needs the look-ahead's 40 samples. */
        CHECK(slots_complete(&c) == (n < 40 ? 31 : 32 + (n - 40) / 1280));
        CHECK(slots_begin(&c, slots_complete(&c)) <= n || n < 40);
        CHECK(slots_samples_waiting(&c) == (size_t)n && slots_samples_pending(&c) == n);
        CHECK(slots_hold(&c, WAITING, SAID));
        slots_end(&c);
        int64_t heard = (n + 1279) / 1280;
        CHECK(slots_complete(&c) == 32 + heard + 6 + 11 - 1);
        /* What comes out of a stream of n samples, as voxtral.h promises. */
        CHECK(c.n_total - slots_silent(&c) == heard + 10);
    }
}

static void test_progress(void) {
    slot_counts c = begun(100 * 1280);
    c.n_encoded = 60;
    CHECK(!slots_hold(&c, WAITING, SAID)); /* too many between the stages */
    c.n_decoded = 44;
    CHECK(slots_silent(&c) == 38 && !slots_hold(&c, WAITING, SAID)); /* six tokens are missing */
    c.n_out = 4;
    c.n_said = 5;
    c.n_given = 3;
    CHECK(slots_hold(&c, WAITING, SAID));
    CHECK(slots_taken(&c) == 60 && slots_done(&c) == 44);
    CHECK(slots_samples_waiting(&c) == 100 * 1280 - (60 - 32) * 1280 - 40);
    CHECK(slots_samples_pending(&c) == 100 * 1280 - (42 - 32) * 1280 - 40);
    c.n_skipped = 3;
    CHECK(!slots_hold(&c, WAITING, SAID));
    c.n_out += 3;
    CHECK(slots_hold(&c, WAITING, SAID));
    CHECK(slots_taken(&c) == 63 && slots_done(&c) == 47);
    slot_counts bad[10];
    for (int i = 0; i < 10; i++) bad[i] = c;
    bad[0].n_pushed = -1;
    bad[1].n_encoded = (int64_t)1 << 62;
    bad[2].n_decoded = 61;
    bad[3].n_out = -1;
    bad[4].n_said = SAID + 1;
    bad[5].n_given = 6;
    bad[6].n_pushed = 1280; /* slots were taken that are not there */
    bad[7].n_skipped = -3;
    bad[8].gives_embeddings = 1;
    bad[9].n_total = -2;
    for (int i = 0; i < 10; i++) CHECK(!slots_hold(&bad[i], WAITING, SAID));
}

/* What is possible ends where it should: as many slots wait as may, all are taken that are there,
 * and none of the counts is above its limit. */
static void test_limits(void) {
    slot_counts c = begun(100 * 1280);
    c.n_encoded = slots_complete(&c);
    c.n_decoded = c.n_encoded - WAITING;
    c.n_out = c.n_decoded - slots_silent(&c);
    CHECK(slots_hold(&c, WAITING, SAID) && !slots_hold(&c, WAITING - 1, SAID));
    c.n_encoded++, c.n_decoded++, c.n_out++;
    CHECK(!slots_hold(&c, WAITING, SAID));
    c.n_total = 0; /* known, so it counts */
    CHECK(slots_complete(&c) == 0);

    const int64_t most = (int64_t)1 << 40;
    c = begun(most * 1280);
    c.n_total = 2 * most;
    c.n_encoded = c.n_decoded = c.n_skipped = most;
    c.n_out = 2 * most - slots_silent(&c);
    CHECK(slots_hold(&c, WAITING, SAID));
    slot_counts bad[] = {c, c, c, c};
    bad[0].n_pushed++;
    bad[1].n_total++;
    bad[2].n_encoded++;
    bad[3].n_skipped++, bad[3].n_encoded--, bad[3].n_decoded--; /* as many as before in all */
    for (int i = 0; i < 4; i++) CHECK(!slots_hold(&bad[i], WAITING, SAID));

    c = begun(most * 1280); /* embeddings, which have no tokens */
    c.n_encoded = c.n_decoded = 100;
    c.gives_embeddings = 1;
    CHECK(slots_hold(&c, WAITING, SAID));
    c.n_out = 1;
    CHECK(!slots_hold(&c, WAITING, SAID));
    c.n_out = 0, c.n_said = 1;
    CHECK(!slots_hold(&c, WAITING, SAID));
}

int main(void) {
    test_schedule();
    test_progress();
    test_limits();
    return 0;
}
