/* test_kv.c - the ring's index arithmetic: pages on demand, rows that survive exactly as long as
 * the window needs them, clocks that start anywhere. */
#include "kv.h"

#include <string.h>

#include "check.h"

enum { LAYERS = 2, HEADS = 3, DIM = 4, WIDTH = 8 };

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
    kv_reset(&kv, 0);
    CHECK(kv_oldest(&kv, 0) == 0 && kv.end == 0);
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
    int windows[] = {1, 2, 7, 63, 64, 65, 130};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        test_refused(windows[i]);
        test_share(windows[i], 0);
        test_share(windows[i], 1);
        test_share(windows[i], 124);
        test_share(windows[i], 1000);
        test_turns(windows[i], 0);
        test_turns(windows[i], 5);
        test_turns(windows[i], (int64_t)1 << 40);
    }
    return 0;
}
