/* test_kv.c - the ring's index arithmetic: pages on demand, rows that survive exactly as long as
 * the window needs them, clocks that start anywhere. */
#include "kv.h"

#include <string.h>

#include "check.h"

enum { LAYERS = 3, HEADS = 2, DIM = 4, WIDTH = 8 };

static float salt; /* of the ring that writes or is checked */

static float stamp(int layer, int is_value, int head, int64_t position) {
    return salt + (float)(position % 100003) + 0.1f * (float)layer + 0.2f * (float)is_value +
           0.01f * (float)head;
}

/* The number d of a key or value. */
static float *number(kv_ring *kv, int layer, int is_value, int head, int64_t position, int d) {
    float *block = kv_block(kv, layer, is_value, head, position);
    int place = (int)(position % KV_PAGE);
    return is_value ? &block[place * DIM + d] : &block[d * KV_PAGE + place];
}

static void write_rows(kv_ring *kv, int n) {
    CHECK(kv_reserve(kv, n) == 0);
    for (int64_t p = kv->end; p < kv->end + n; p++)
        for (int i = 0; i < LAYERS * 2 * HEADS; i++) {
            int layer = i / (2 * HEADS), is_value = i / HEADS % 2, head = i % HEADS;
            for (int d = 0; d < DIM; d++)
                *number(kv, layer, is_value, head, p, d) = stamp(layer, is_value, head, p);
        }
}

static void check_rows(kv_ring *kv, int64_t from, int64_t to) {
    for (int64_t p = from; p < to; p++)
        for (int i = 0; i < LAYERS * 2 * HEADS; i++) {
            int layer = i / (2 * HEADS), is_value = i / HEADS % 2, head = i % HEADS;
            for (int d = 0; d < DIM; d++)
                CHECK(*number(kv, layer, is_value, head, p, d) == stamp(layer, is_value, head, p));
        }
}

/* Passes of every width over many turns of the ring: the first query of a pass still sees its whole
 * window. */
static void test_turns(int window, int64_t start) {
    kv_ring kv;
    CHECK(kv_init(&kv, LAYERS, HEADS, DIM, window, WIDTH, sizeof(float)) == 0);
    kv_reset(&kv, start);
    int spare = kv.n_pages * KV_PAGE - (window - 1 + WIDTH);
    CHECK(spare >= 0 && spare < KV_PAGE); /* as many pages as rows need, and no more */
    size_t full = (size_t)kv.n_pages * KV_PAGE * LAYERS * 2 * HEADS * DIM * sizeof(float);
    for (int turn = 0, w = 1; turn < 200; turn++, w = w % WIDTH + 1) {
        write_rows(&kv, w);
        int64_t oldest = kv_oldest(&kv, kv.end);
        CHECK(oldest >= start && kv.end - oldest < window);
        CHECK(oldest == start || kv.end - oldest == window - 1);
        check_rows(&kv, oldest, kv.end + w);
        kv_commit(&kv, w);
        CHECK(kv_bytes(&kv) <= full);
    }
    CHECK(kv.end == start + 900); /* 25 rounds of 1 + ... + 8 */
    kv_free(&kv);
}

static void test_pages_on_demand(void) {
    kv_ring kv;
    CHECK(kv_init(&kv, LAYERS, HEADS, DIM, 8 * KV_PAGE, WIDTH, sizeof(float)) == 0);
    kv_reset(&kv, 0);
    CHECK(kv_bytes(&kv) == 0);
    write_rows(&kv, WIDTH);
    kv_commit(&kv, WIDTH);
    CHECK(kv_bytes(&kv) == (size_t)KV_PAGE * LAYERS * 2 * HEADS * DIM * sizeof(float));
    kv_page *page = kv.pages[0]; /* is written on, for nobody else has it */
    write_rows(&kv, 1);
    CHECK(kv.pages[0] == page && atomic_load(&page->n_holders) == 1);
    kv_reset(&kv, 0);
    CHECK(kv_oldest(&kv, 0) == 0 && kv.end == 0);
    size_t held = kv_bytes(&kv); /* a page, which is all that it needs for so many */
    CHECK(kv_reserve(&kv, KV_PAGE) == 0 && kv_bytes(&kv) == held);
    kv_free(&kv);
}

/* A ring that shares another's pages has every row that the next query may see, wherever the ring
 * stands, and neither sees what the other writes; either may go first. */
static void test_share(int window, int n_positions) {
    for (int round = 0; round < 2; round++) {
        kv_ring from, to;
        CHECK(kv_init(&from, LAYERS, HEADS, DIM, window, WIDTH, sizeof(float)) == 0);
        CHECK(kv_init(&to, LAYERS, HEADS, DIM, window, WIDTH, sizeof(float)) == 0);
        kv_reset(&from, 0);
        kv_reset(&to, 7);
        for (int i = 0; i < round * window; i++) { /* pages of its own, to be let go */
            write_rows(&to, 1);
            kv_commit(&to, 1);
        }
        for (int i = 0; i < n_positions; i++) {
            write_rows(&from, 1);
            kv_commit(&from, 1);
        }
        kv_share(&to, &from);
        CHECK(to.begin == from.begin && to.end == from.end);
        for (int64_t p = kv_oldest(&from, from.end); p < from.end; p++)
            CHECK(kv_block(&to, 0, 0, 0, p) == kv_block(&from, 0, 0, 0, p));
        if (n_positions % KV_PAGE > 0) { /* who writes leaves the page to the other */
            int64_t place = (from.end - 1) / KV_PAGE % from.n_pages;
            kv_page *shared = from.pages[place];
            CHECK(shared == to.pages[place] && atomic_load(&shared->n_holders) == 2);
            write_rows(&from, 1);
            CHECK(shared != from.pages[place] && atomic_load(&shared->n_holders) == 1);
        }
        for (int i = 0; i < 3 * window; i++) {
            int is_second = i % 3 == 1;
            kv_ring *writer = is_second ? &to : &from;
            salt = is_second ? 0.5f : 0;
            write_rows(writer, 1 + i % WIDTH);
            kv_commit(writer, 1);
            salt = 0;
            check_rows(&from, kv_oldest(&from, from.end), from.end);
            int64_t oldest = kv_oldest(&to, to.end), fork = n_positions;
            check_rows(&to, oldest, to.end < fork ? to.end : fork);
            salt = 0.5f;
            check_rows(&to, oldest > fork ? oldest : fork, to.end);
            salt = 0;
        }
        kv_free(round ? &from : &to);
        kv_free(round ? &to : &from);
    }
}

/* Bytes on their way out of one ring, or into another. */
typedef struct {
    unsigned char bytes[1 << 16];
    size_t n;
    int is_in;
} tape;

static void pass(void *user, void *piece, size_t n) {
    tape *t = user;
    CHECK(n <= sizeof t->bytes - t->n);
    if (t->is_in) memcpy(piece, t->bytes + t->n, n);
    else memcpy(t->bytes + t->n, piece, n);
    t->n += n;
}

/* What is visited is all that the next query may see, and no more: another ring that it is put into
 * goes on as this one, wherever it stands. */
static void test_visit(int window, int64_t start, int n_positions) {
    static tape t;
    kv_ring from, to;
    CHECK(kv_init(&from, LAYERS, HEADS, DIM, window, WIDTH, sizeof(float)) == 0);
    CHECK(kv_init(&to, LAYERS, HEADS, DIM, window, WIDTH, sizeof(float)) == 0);
    kv_reset(&from, start);
    for (int i = 0; i < n_positions; i++) {
        write_rows(&from, 1);
        kv_commit(&from, 1);
    }
    t.n = 0, t.is_in = 0;
    kv_visit(&from, pass, &t);
    int64_t n_rows = from.end - kv_oldest(&from, from.end);
    CHECK(n_rows == (n_positions < window - 1 ? n_positions : window - 1));
    CHECK(t.n == (size_t)n_rows * LAYERS * 2 * HEADS * DIM * sizeof(float));
    CHECK(kv_state_bytes(&to, start, from.end) == t.n);
    CHECK(kv_restore(&to, start, from.end) == 0 && to.end == from.end);
    CHECK(to.begin == kv_oldest(&from, from.end));
    CHECK(kv_oldest(&to, to.end) == kv_oldest(&from, from.end));
    t.n = 0, t.is_in = 1;
    kv_visit(&to, pass, &t);
    for (int i = 0; i < 2 * window; i++) {
        check_rows(&to, kv_oldest(&to, to.end), to.end);
        write_rows(&to, 1);
        kv_commit(&to, 1);
    }
    kv_free(&from);
    kv_free(&to);
}

/* Rows of refused positions: written, not kept, and written anew, at any width. */
static void test_refused(int window) {
    kv_ring kv;
    CHECK(kv_init(&kv, LAYERS, HEADS, DIM, window, WIDTH, sizeof(float)) == 0);
    kv_reset(&kv, 0);
    for (int turn = 0; turn < 400; turn++) {
        write_rows(&kv, WIDTH);
        kv_commit(&kv, 1 + turn % WIDTH);
        check_rows(&kv, kv_oldest(&kv, kv.end), kv.end);
    }
    kv_free(&kv);
}

int main(void) {
    test_pages_on_demand();
    int windows[] = {1, 2, 7, 56, 57, 58, 63, 64, 65, 130}; /* sums with WIDTH about whole pages */
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        test_refused(windows[i]);
        test_share(windows[i], 0);
        test_share(windows[i], 1);
        test_share(windows[i], 124);
        test_share(windows[i], 1000);
        int lengths[] = {0, 1, 9, 63, 64, 65, 127, 200};
        for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
            test_visit(windows[i], n % 2 ? 0 : ((int64_t)1 << 31) + 5, lengths[n]);
        test_turns(windows[i], 0);
        test_turns(windows[i], 5);
        test_turns(windows[i], (int64_t)1 << 40);
    }
    return 0;
}
