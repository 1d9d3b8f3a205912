/* words.c - see words.h. The automaton is Aho and Corasick's: a tree of the words' tokens, and for
 * every node the longest end of its tokens that begins a word. */
#include "words.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "voxtral.h"

enum {
    MAX_TEXT = 1 << 16, /* bytes of all words */
    SPACED = 0,         /* nodes: words with a space before them begin here, ... */
    BARE = 1,           /* ... and words without one */
};

typedef struct {
    int32_t token, first, next; /* its first child, its next sibling; -1: none */
    int32_t shorter;            /* the longest end of its tokens that is a node below SPACED */
    int32_t is_whole;           /* a word may end here */
} node;

struct word_list {
    atomic_int n_references;
    vocabulary of;
    float bonus;
    char *text; /* [n_text] */
    size_t n_text;
    node *nodes; /* [n_nodes] */
    int32_t n_nodes, cap_nodes;
};

/* ---- the tree ------------------------------------------------------------------------------- */

static int32_t child_of(const word_list *l, int32_t parent, int32_t token) {
    int32_t i = l->nodes[parent].first;
    while (i >= 0 && l->nodes[i].token != token) i = l->nodes[i].next;
    return i;
}

/* A new node, or -1 when out of memory. */
static int32_t add_node(word_list *l, int32_t parent, int32_t token) {
    if (l->n_nodes == l->cap_nodes) {
        int32_t cap = 2 * l->cap_nodes + 64;
        node *room = realloc(l->nodes, (size_t)cap * sizeof *room);
        if (!room) return -1;
        l->nodes = room;
        l->cap_nodes = cap;
    }
    l->nodes[l->n_nodes] = (node){.token = token, .first = -1, .next = -1};
    if (parent >= 0) {
        l->nodes[l->n_nodes].next = l->nodes[parent].first;
        l->nodes[parent].first = l->n_nodes;
    }
    return l->n_nodes++;
}

static int add_tokens(word_list *l, int32_t at, const int32_t *tokens, int n) {
    for (int i = 0; i < n; i++) {
        int32_t next = child_of(l, at, tokens[i]);
        if (next < 0) next = add_node(l, at, tokens[i]);
        if (next < 0) return 1;
        at = next;
    }
    l->nodes[at].is_whole = 1;
    return 0;
}

/* The child by a token of a node or of the longest end of it that has one, or -1. */
static int32_t step(const word_list *l, int32_t at, int32_t token) {
    for (;; at = l->nodes[at].shorter) {
        int32_t next = child_of(l, at, token);
        if (next >= 0 || at == SPACED) return next;
    }
}

/* Level by level: an end of a node is an end of its parent and one token more. */
static int link_ends(word_list *l) {
    int32_t *queue = malloc((size_t)l->n_nodes * sizeof *queue);
    if (!queue) return 1;
    int32_t n = 0;
    l->nodes[SPACED].shorter = l->nodes[BARE].shorter = SPACED;
    queue[n++] = SPACED;
    queue[n++] = BARE;
    for (int32_t done = 0; done < n; done++) {
        int32_t parent = queue[done];
        for (int32_t i = l->nodes[parent].first; i >= 0; i = l->nodes[i].next) {
            int32_t end = SPACED;
            if (parent != SPACED) end = step(l, l->nodes[parent].shorter, l->nodes[i].token);
            l->nodes[i].shorter = end < 0 ? SPACED : end;
            queue[n++] = i;
        }
    }
    free(queue);
    return 0;
}

/* One word, with one space before it and where it has any, to out [SPELL_MAX]; its bytes, 0 if the
 * line is empty, or -1: it is too long, -2: not UTF-8. */
static int spaced(const char *text, size_t n, char *out) {
    int n_out = 0, is_gap = 1;
    for (size_t at = 0, n_bytes; at < n; at += n_bytes) {
        int32_t character = spell_character(text + at, n - at, &n_bytes);
        if (character < 0) return -2;
        if (spell_is_space(character)) {
            is_gap = 1;
            continue;
        }
        if (n_out + is_gap + (int)n_bytes > SPELL_MAX) return -1;
        if (is_gap) out[n_out++] = ' ';
        is_gap = 0;
        memcpy(out + n_out, text + at, n_bytes);
        n_out += (int)n_bytes;
    }
    return n_out;
}

static int add_word(word_list *l, const speller *s, const char *text, size_t n,
                    const char **fault) {
    char word[SPELL_MAX];
    int32_t tokens[SPELL_MAX];
    int n_word = spaced(text, n, word);
    *fault = n_word == -1 ? "a listed word is longer than 255 bytes" : "the words are not UTF-8";
    if (n_word < 0) return VOX_ERR_ARGUMENT;
    for (int root = SPACED; n_word > 0 && root <= BARE; root++) {
        int n_tokens = spell(s, word + root, (size_t)(n_word - root), tokens);
        *fault = "the model's tokenizer cannot spell a listed word";
        if (n_tokens < 0) return VOX_ERR_ARGUMENT;
        *fault = "out of memory";
        if (add_tokens(l, root, tokens, n_tokens)) return VOX_ERR_MEMORY;
    }
    return VOX_OK;
}

static int add_words(word_list *l, const speller *s, const char **fault) {
    int status = VOX_OK;
    for (size_t at = 0, n; status == VOX_OK && at < l->n_text; at += n + 1) {
        const char *end = memchr(l->text + at, '\n', l->n_text - at);
        n = end ? (size_t)(end - l->text) - at : l->n_text - at;
        status = add_word(l, s, l->text + at, n, fault);
    }
    return status;
}

int words_new(word_list **list, const vocabulary *of, const char *text, size_t n, float bonus,
              const char **fault) {
    *list = NULL;
    if (n == 0) return VOX_OK; /* without the speller's table of the whole vocabulary */
    *fault = "there are more than 65536 bytes of words: leave out those that the model knows";
    if (n > MAX_TEXT) return VOX_ERR_ARGUMENT;
    *fault = "out of memory";
    word_list *l = calloc(1, sizeof *l);
    if (!l) return VOX_ERR_MEMORY;
    atomic_init(&l->n_references, 1);
    l->of = *of;
    l->bonus = bonus;
    l->n_text = n;
    speller s = {0};
    int status = VOX_ERR_MEMORY;
    l->text = malloc(n);
    if (l->text && add_node(l, -1, -1) == SPACED && add_node(l, -1, -1) == BARE &&
        !speller_init(&s, of)) {
        memcpy(l->text, text, n);
        status = add_words(l, &s, fault);
        if (status == VOX_OK && link_ends(l)) {
            *fault = "out of memory";
            status = VOX_ERR_MEMORY;
        }
    }
    speller_free(&s);
    if (status == VOX_OK && l->n_nodes > BARE + 1) *list = l;
    else words_release(l);
    return status;
}

word_list *words_retain(word_list *list) {
    if (list) atomic_fetch_add(&list->n_references, 1);
    return list;
}

void words_release(word_list *list) {
    if (!list || atomic_fetch_sub(&list->n_references, 1) != 1) return;
    free(list->nodes);
    free(list->text);
    free(list);
}

const char *words_text(const word_list *list, size_t *n) {
    *n = list ? list->n_text : 0;
    return list ? list->text : "";
}

/* ---- places: twice the node, and one more where a word may begin without a space ------------- */

int32_t words_start(void) {
    return 2 * SPACED + 1;
}

int words_is_place(const word_list *list, int32_t place) {
    return list ? 0 <= place && place < 2 * list->n_nodes : place == words_start();
}

static int is_letter_or_digit(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80;
}

static int32_t after(const word_list *l, int32_t place, int32_t token) {
    const uint32_t *offsets = l->of.offsets;
    if (token < l->of.n_special || offsets[token] == offsets[token + 1]) return place;
    int32_t next = step(l, place / 2, token);
    if (next < 0 && place % 2) next = child_of(l, BARE, token);
    int is_open = !is_letter_or_digit(l->of.bytes[offsets[token + 1] - 1]);
    return 2 * (next < 0 ? SPACED : next) + is_open;
}

void words_plan(const listed_words *w, const int32_t *heard, int n, int32_t *places) {
    int32_t place = w->place;
    for (int i = 0; w->list && i < n; i++) {
        if (i > 0) place = after(w->list, place, heard[i]);
        places[i] = place;
    }
}

void words_learn(listed_words *w, const int32_t *said, int n) {
    for (int i = 0; w->list && i < n; i++) w->place = after(w->list, w->place, said[i]);
}

/* ---- leaning -------------------------------------------------------------------------------- */

typedef struct {
    const float *logits;
    float largest;
    int32_t token;
} choice;

static void lean_to_children(const word_list *l, int32_t parent, choice *c) {
    for (int32_t i = l->nodes[parent].first; i >= 0; i = l->nodes[i].next) {
        int32_t token = l->nodes[i].token;
        float logit = c->logits[token] + l->bonus;
        if (logit > c->largest || (logit == c->largest && token < c->token))
            c->largest = logit, c->token = token;
    }
}

int32_t words_lean(const word_list *list, int32_t place, const float *logits, float largest,
                   int32_t best) {
    choice c = {logits, largest, best};
    int32_t at = place / 2;
    int may_begin = at <= BARE || list->nodes[at].is_whole;
    for (; at > BARE; at = list->nodes[at].shorter) lean_to_children(list, at, &c);
    if (may_begin) lean_to_children(list, SPACED, &c);
    if (may_begin && place % 2) lean_to_children(list, BARE, &c);
    return c.token;
}
