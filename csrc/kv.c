/* kv.c - see kv.h. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

#include "platform.h"

static size_t page_bytes(const kv_ring *kv) {
    return 2 * (size_t)kv->n_layers * (size_t)kv->n_heads * KV_PAGE * (size_t)kv->head_dim *
           kv->element;
}

static kv_page *page_new(const kv_ring *kv) {
    kv_page *page = malloc(sizeof *page);
    if (!page) return NULL;
    page->rows = platform_alloc_large(page_bytes(kv));
    if (!page->rows) {
        free(page);
        return NULL;
    }
    atomic_init(&page->n_holders, 1);
    return page;
}

static void page_drop(kv_page *page) {
    if (!page || atomic_fetch_sub(&page->n_holders, 1) != 1) return;
    platform_free_large(page->rows);
    free(page);
}

int kv_init(kv_ring *kv, int n_layers, int n_heads, int head_dim, int window, int width,
            size_t element) {
    *kv = (kv_ring){.n_layers = n_layers,
                    .n_heads = n_heads,
                    .head_dim = head_dim,
                    .window = window,
                    .element = element};
    kv->n_pages = (window - 1 + width + KV_PAGE - 1) / KV_PAGE;
    kv->pages = calloc((size_t)kv->n_pages, sizeof *kv->pages);
    return kv->pages ? 0 : -1;
}

void kv_free(kv_ring *kv) {
    for (int i = 0; kv->pages && i < kv->n_pages; i++) page_drop(kv->pages[i]);
    free(kv->pages);
    *kv = (kv_ring){0};
}

void kv_reset(kv_ring *kv, int64_t position) {
    kv->begin = kv->end = position;
}

int kv_reserve(kv_ring *kv, int n) {
    for (int64_t p = kv->end; p < kv->end + n; p++) {
        kv_page **page = &kv->pages[p / KV_PAGE % kv->n_pages];
        if (*page && atomic_load(&(*page)->n_holders) == 1) continue;
        kv_page *own = page_new(kv);
        if (!own) return -1;
        if (*page) memcpy(own->rows, (*page)->rows, page_bytes(kv));
        page_drop(*page);
        *page = own;
    }
    return 0;
}

void kv_commit(kv_ring *kv, int n) {
    kv->end += n;
}

void kv_share(kv_ring *to, const kv_ring *from) {
    int64_t p = from->end - (int64_t)from->n_pages * KV_PAGE; /* older rows are overwritten */
    for (p = p > from->begin ? p : from->begin; p < from->end; p = (p / KV_PAGE + 1) * KV_PAGE) {
        int64_t i = p / KV_PAGE % from->n_pages;
        atomic_fetch_add(&from->pages[i]->n_holders, 1);
        page_drop(to->pages[i]);
        to->pages[i] = from->pages[i];
    }
    to->begin = from->begin;
    to->end = from->end;
}

int kv_restore(kv_ring *kv, int64_t begin, int64_t end) {
    int64_t oldest = end - kv->window + 1;
    kv_reset(kv, oldest > begin ? oldest : begin);
    int n = (int)(end - kv->begin);
    if (kv_reserve(kv, n)) return -1;
    kv_commit(kv, n);
    return 0;
}

void kv_visit(const kv_ring *kv, void (*visit)(void *user, void *piece, size_t n), void *user) {
    size_t dim = (size_t)kv->head_dim;
    for (int64_t p = kv_oldest(kv, kv->end), next; p < kv->end; p = next) {
        next = (p / KV_PAGE + 1) * KV_PAGE;
        if (next > kv->end) next = kv->end;
        size_t first = (size_t)(p % KV_PAGE), n = (size_t)(next - p);
        if (n == KV_PAGE) { /* the same bytes in the same order, all at once */
            visit(user, kv_block(kv, 0, 0, 0, p), page_bytes(kv));
            continue;
        }
        for (int i = 0; i < 2 * kv->n_layers * kv->n_heads; i++) {
            int layer = i / (2 * kv->n_heads), is_value = i / kv->n_heads % 2;
            unsigned char *block = kv_block(kv, layer, is_value, i % kv->n_heads, p);
            if (is_value) visit(user, block + first * dim * kv->element, n * dim * kv->element);
            for (size_t d = 0; !is_value && d < dim; d++)
                visit(user, block + (d * KV_PAGE + first) * kv->element, n * kv->element);
        }
    }
}

size_t kv_state_bytes(const kv_ring *kv, int64_t begin, int64_t end) {
    int64_t oldest = end - kv->window + 1;
    return (size_t)(end - (oldest > begin ? oldest : begin)) * (page_bytes(kv) / KV_PAGE);
}

int64_t kv_oldest(const kv_ring *kv, int64_t position) {
    int64_t oldest = position - kv->window + 1;
    return oldest > kv->begin ? oldest : kv->begin;
}

size_t kv_bytes(const kv_ring *kv) {
    size_t n = 0;
    for (int i = 0; kv->pages && i < kv->n_pages; i++) n += kv->pages[i] ? page_bytes(kv) : 0;
    return n;
}
