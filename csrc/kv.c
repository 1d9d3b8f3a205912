/* kv.c - see kv.h. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

#include "platform.h"

static size_t page_bytes(const kv_ring *kv) {
    return 2 * (size_t)kv->n_layers * (size_t)kv->n_heads * KV_PAGE * (size_t)kv->head_dim *
           kv->element;
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
    for (int i = 0; kv->pages && i < kv->n_pages; i++) free(kv->pages[i]);
    free(kv->pages);
    *kv = (kv_ring){0};
}

void kv_reset(kv_ring *kv, int64_t position) {
    kv->begin = kv->end = position;
}

int kv_reserve(kv_ring *kv, int n) {
    for (int64_t p = kv->end; p < kv->end + n; p++) {
        unsigned char **page = &kv->pages[p / KV_PAGE % kv->n_pages];
        if (!*page && !(*page = platform_alloc_large(page_bytes(kv)))) return -1;
    }
    return 0;
}

void kv_commit(kv_ring *kv, int n) {
    kv->end += n;
}

int kv_copy(kv_ring *to, const kv_ring *from) {
    kv_reset(to, from->begin);
    int64_t p = from->end - (int64_t)from->n_pages * KV_PAGE; /* older rows are overwritten */
    for (p = p > from->begin ? p : from->begin; p < from->end; p = (p / KV_PAGE + 1) * KV_PAGE) {
        unsigned char **page = &to->pages[p / KV_PAGE % to->n_pages];
        if (!*page && !(*page = platform_alloc_large(page_bytes(to)))) return -1;
        memcpy(*page, from->pages[p / KV_PAGE % from->n_pages], page_bytes(to));
    }
    to->end = from->end;
    return 0;
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
