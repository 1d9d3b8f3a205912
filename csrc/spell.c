/* spell.c - see spell.h. The pattern is that of tekken.json:
 *
 *     [^\r\n L N]? [U T LETTER MARK]* [l LETTER MARK]+      a word, by the case of its letters
 *   | [^\r\n L N]? [U T LETTER MARK]+ [l LETTER MARK]*
 *   | N                                                    one digit
 *   | ' '? [^\s L N]+ [\r\n/]*                             signs
 *   | \s* [\r\n]+ | \s+(?!\S) | \s+                        white space
 */
#include "spell.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "letters.h"
#include "utf8.h"

/* ---- characters ----------------------------------------------------------------------------- */

int32_t spell_character(const char *text, size_t n, size_t *n_bytes) {
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low, high;
    int n_more = utf8_follow(at[0], &low, &high);
    if (n_more < 0 || (size_t)n_more >= n) return -1;
    int32_t character = n_more == 0 ? at[0] : at[0] & (0x3F >> n_more);
    for (int i = 1; i <= n_more; i++, low = 0x80, high = 0xBF) {
        if (at[i] < low || at[i] > high) return -1;
        character = character << 6 | (at[i] & 0x3F);
    }
    *n_bytes = (size_t)n_more + 1;
    return character;
}

static int kind_of(int32_t character) {
    size_t low = 0, high = sizeof LETTERS / sizeof *LETTERS;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if ((int32_t)(LETTERS[middle] >> 4) <= character) low = middle;
        else high = middle;
    }
    int kind = (int)(LETTERS[low] & 15), is_odd = (character - (int32_t)(LETTERS[low] >> 4)) & 1;
    if (kind == UPPER_LOWER) return is_odd ? LOWER : UPPER;
    if (kind == LOWER_UPPER) return is_odd ? UPPER : LOWER;
    return kind;
}

int spell_is_space(int32_t character) {
    return kind_of(character) == SPACE;
}

/* ---- parts ---------------------------------------------------------------------------------- */

/* Sets of kinds, a bit each. */
enum {
    LETTERS_AND_NUMBERS = 1 << UPPER | 1 << LOWER | 1 << LETTER | 1 << NUMBER,
    HEADS = 1 << UPPER | 1 << LETTER | 1 << MARK,
    TAILS = 1 << LOWER | 1 << LETTER | 1 << MARK,
    SIGNS = 1 << OTHER | 1 << MARK,
};

/* The characters of a text, and one behind them that is of no kind. */
typedef struct {
    int32_t character[SPELL_MAX];
    size_t first_byte[SPELL_MAX + 1];
    int set[SPELL_MAX + 1]; /* the bit of its kind */
    int n;
} line;

static int run(const line *l, int i, int kinds) {
    while (l->set[i] & kinds) i++;
    return i;
}

static int is_end_of_line(const line *l, int i) {
    return i < l->n && (l->character[i] == '\r' || l->character[i] == '\n');
}

/* The end of a word whose letters begin at i, or 0: in the first way of the pattern, which wants a
 * tail; if none is left after the heads, the last of them that may be one begins it. */
static int tailed(const line *l, int i) {
    int heads = run(l, i, HEADS);
    for (int tail = heads; tail >= i; tail--)
        if (l->set[tail] & TAILS) return run(l, tail, TAILS);
    return 0;
}

/* In the second way. */
static int headed(const line *l, int i) {
    int heads = run(l, i, HEADS);
    return heads > i ? run(l, heads, TAILS) : 0;
}

static int space_end(const line *l, int i) {
    int end = run(l, i, 1 << SPACE), last_line = end;
    while (last_line > i && !is_end_of_line(l, last_line - 1)) last_line--;
    if (last_line > i) return last_line;
    return end < l->n && end > i + 1 ? end - 1 : end; /* the last one is the next part's */
}

/* The end of the part that begins at i. */
static int part_end(const line *l, int i) {
    int leads = !(l->set[i] & LETTERS_AND_NUMBERS) && !is_end_of_line(l, i), end = 0;
    if (leads) end = tailed(l, i + 1);
    if (!end) end = tailed(l, i);
    if (!end && leads) end = headed(l, i + 1);
    if (!end) end = headed(l, i);
    if (end) return end;
    if (l->set[i] & 1 << NUMBER) return i + 1;
    int sign = l->character[i] == ' ' ? i + 1 : i;
    end = run(l, sign, SIGNS);
    if (end == sign) return space_end(l, i);
    while (is_end_of_line(l, end)) end++;
    return end;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static uint32_t place_of(const speller *s, const void *bytes, size_t n) {
    return (uint32_t)(hash_bytes(0, bytes, n) >> 32) & s->mask;
}

/* The token of these bytes, or -1. */
static int32_t find(const speller *s, const void *bytes, size_t n) {
    const vocabulary *v = &s->of;
    for (uint32_t i = place_of(s, bytes, n); s->places[i] >= 0; i = (i + 1) & s->mask) {
        uint32_t from = v->offsets[s->places[i]], to = v->offsets[s->places[i] + 1];
        if (to - from == n && memcmp(v->bytes + from, bytes, n) == 0) return s->places[i];
    }
    return -1;
}

int speller_init(speller *s, const vocabulary *of) {
    *s = (speller){.of = *of, .mask = 1};
    while (s->mask < 2 * (uint32_t)of->n_vocab) s->mask = 2 * s->mask + 1;
    s->places = malloc(((size_t)s->mask + 1) * sizeof *s->places);
    if (!s->places) return 1;
    memset(s->places, -1, ((size_t)s->mask + 1) * sizeof *s->places);
    for (int32_t t = of->n_special; t < of->n_vocab; t++) {
        const uint8_t *bytes = of->bytes + of->offsets[t];
        size_t n = of->offsets[t + 1] - of->offsets[t];
        if (n == 0 || find(s, bytes, n) >= 0) continue;
        uint32_t i = place_of(s, bytes, n);
        while (s->places[i] >= 0) i = (i + 1) & s->mask;
        s->places[i] = t;
    }
    return 0;
}

void speller_free(speller *s) {
    free(s->places);
    *s = (speller){0};
}

/* Tokens of one part, [n] bytes; how many, or -2. */
static int merge(const speller *s, const char *part, size_t n, int32_t *tokens) {
    size_t start[SPELL_MAX + 1]; /* of the pieces, and the end */
    int n_pieces = (int)n;
    for (int i = 0; i <= n_pieces; i++) start[i] = (size_t)i;
    for (;;) {
        int32_t lowest = -1;
        int at = 0;
        for (int i = 0; i + 2 <= n_pieces; i++) {
            int32_t token = find(s, part + start[i], start[i + 2] - start[i]);
            if (token >= 0 && (lowest < 0 || token < lowest)) lowest = token, at = i;
        }
        if (lowest < 0) break;
        memmove(&start[at + 1], &start[at + 2], (size_t)(n_pieces - at - 1) * sizeof *start);
        n_pieces--;
    }
    for (int i = 0; i < n_pieces; i++)
        if ((tokens[i] = find(s, part + start[i], start[i + 1] - start[i])) < 0) return -2;
    return n_pieces;
}

int spell(const speller *s, const char *text, size_t n, int32_t *tokens) {
    line l = {.n = 0};
    for (size_t at = 0, n_bytes; at < n; at += n_bytes) {
        int32_t character = spell_character(text + at, n - at, &n_bytes);
        if (character < 0) return -1;
        l.first_byte[l.n] = at;
        l.set[l.n] = 1 << kind_of(character);
        l.character[l.n++] = character;
    }
    l.first_byte[l.n] = n;
    l.set[l.n] = 0;
    int n_tokens = 0;
    for (int i = 0, end; i < l.n; i = end) {
        end = part_end(&l, i);
        size_t from = l.first_byte[i], to = l.first_byte[end];
        int n_part = merge(s, text + from, to - from, tokens + n_tokens);
        if (n_part < 0) return n_part;
        n_tokens += n_part;
    }
    return n_tokens;
}
