/* kv.h - the KV ring: keys and values of one transformer, for the positions its window still
 * reaches.
 *
 * Positions are absolute (int64, from the stream's start); position p lives in row p % capacity.
 * Rows lie in pages of KV_PAGE positions, allocated when the first of them is written, so that a
 * young stream is small and memory stops growing once the ring is full. Rings with a common past
 * share its pages: a ring writes only to pages that it holds alone. Invariant: every position
 * in [max(begin, end - capacity), end) is readable, and capacity >= window - 1 + the widest pass,
 * so the first query of a pass still finds its oldest key after the pass's own keys are in. No ggml
 * header.
 */
#ifndef VOXTRAL_KV_H
#define VOXTRAL_KV_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { KV_PAGE = 64 }; /* positions per page */

typedef struct {
    atomic_int n_holders; /* rings that have it, of any threads */
    unsigned char *rows;  /* [n_layers][keys, values][n_heads], see kv_block */
} kv_page;

typedef struct {
    int n_layers, n_heads, head_dim, window;
    size_t element;     /* bytes of one number: 4 (float) or 2 (half) */
    int n_pages;        /* capacity / KV_PAGE */
    kv_page **pages;    /* [n_pages], NULL until used */
    int64_t begin, end; /* positions written since the last reset */
} kv_ring;

/* 0, or -1 when out of memory. width: most positions of one pass. */
int kv_init(kv_ring *kv, int n_layers, int n_heads, int head_dim, int window, int width,
            size_t element);
void kv_free(kv_ring *kv);
/* Forget all; the next position is position. Pages are kept. */
void kv_reset(kv_ring *kv, int64_t position);
/* Make the rows of the next n positions writable: new pages, and copies of shared ones. 0, or -1
 * when out of memory (nothing is lost then). */
int kv_reserve(kv_ring *kv, int n);
/* The next n positions are written. Rows beyond them may have been written as well: they are in
 * nobody's window, and the next pass writes them anew. */
void kv_commit(kv_ring *kv, int n);
/* Make to, a ring of the same shape, hold what from holds, in the same pages. */
void kv_share(kv_ring *to, const kv_ring *from);
/* As if positions begin .. end - 1 had been written. Those that a query to come may see are
 * writable: 0, or -1 when out of memory. */
int kv_restore(kv_ring *kv, int64_t begin, int64_t end);
/* Visit the memory of all rows that a query to come may see, piece by piece, in an order and in
 * numbers that depend on the positions only. */
void kv_visit(const kv_ring *kv, void (*visit)(void *user, void *piece, size_t n), void *user);
/* Bytes that kv_visit has to visit after kv_restore of the same. */
size_t kv_state_bytes(const kv_ring *kv, int64_t begin, int64_t end);
/* Oldest position that a query at position may see. */
int64_t kv_oldest(const kv_ring *kv, int64_t position);
/* Bytes of all pages, shared ones included. */
size_t kv_bytes(const kv_ring *kv);

/* Where a head's keys or values of the page that holds a position lie: keys [head_dim][KV_PAGE],
 * values [KV_PAGE][head_dim]. The position's place among the KV_PAGE is position % KV_PAGE. Keys
 * lie with the positions side by side because a query's products with 16 keys are then 16 sums side
 * by side, as its sums of values are. */
static inline void *kv_block(const kv_ring *kv, int layer, int is_value, int head,
                             int64_t position) {
    size_t index = (size_t)(2 * layer + is_value) * (size_t)kv->n_heads + (size_t)head;
    return kv->pages[position / KV_PAGE % kv->n_pages]->rows +
           index * KV_PAGE * (size_t)kv->head_dim * kv->element;
}

#endif
