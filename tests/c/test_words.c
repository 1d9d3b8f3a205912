/* test_words.c MODEL SPELLINGS - words as tokens, against what the original tokenizer gives for the
 * model's vocabulary (tests/oracle/write_spellings.py); and where in them a stream is, and which
 * token it says there, against a search through all words.
 */
#include "words.h"

#include <string.h>

#include "check.h"
#include "model.h"

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- spelling ------------------------------------------------------------------------------- */

static void test_spellings(const vox_model *m, const char *path) {
    speller s;
    vocabulary v = {m->token_bytes, m->token_offsets, m->info.n_special, m->info.n_vocab};
    CHECK(speller_init(&s, &v) == 0);
    FILE *f = fopen(path, "rb");
    CHECK(f);
    char line[2048];
    int n_lines = 0;
    for (; fgets(line, sizeof line, f); n_lines++) {
        char *tab = strchr(line, '\t'), *at = tab + 1;
        CHECK(tab);
        int32_t tokens[SPELL_MAX];
        int n = spell(&s, line, (size_t)(tab - line), tokens);
        for (int i = 0; i < n; i++) CHECK(strtol(at, &at, 10) == tokens[i]);
        CHECK(n > 0 && *at == '\n');
    }
    CHECK(n_lines > 300);
    fclose(f);

    const char *broken[] = {"a\x80", "\xC0\xAF", "\xE2\x82", "\xED\xA0\x80", "\xF4\x90\x80\x80"};
    int32_t tokens[SPELL_MAX];
    for (int i = 0; i < 5; i++) CHECK(spell(&s, broken[i], strlen(broken[i]), tokens) == -1);
    CHECK(spell(&s, "", 0, tokens) == 0);
    speller_free(&s);
}

/* ---- a small tokenizer ----------------------------------------------------------------------- */

enum { PAD = 0, WORD = 1, N_SPECIAL = 2, FIRST_BYTE = N_SPECIAL, N_MERGED = 6 };
static uint8_t bytes[256 + 2 * N_MERGED];
static uint32_t offsets[N_SPECIAL + 256 + N_MERGED + 1];
static const vocabulary SMALL = {bytes, offsets, N_SPECIAL, N_SPECIAL + 256 + N_MERGED};
/* Ids of the tokens after the bytes. */
enum { SPACE_A = N_SPECIAL + 256, SPACE_B, AB, BA, SPACE_C, CC };

static void make_small(void) {
    static const char *const merged[N_MERGED] = {" a", " b", "ab", "ba", " c", "cc"};
    uint32_t n = 0;
    int32_t t = N_SPECIAL;
    for (int i = 0; i < 256; i++) bytes[n] = (uint8_t)i, offsets[t++] = n++;
    for (int i = 0; i < N_MERGED; i++, n += 2) {
        memcpy(bytes + n, merged[i], 2);
        offsets[t++] = n;
    }
    offsets[t] = n;
}

static int32_t letter(char c) {
    return FIRST_BYTE + (uint8_t)c;
}

static listed_words list(const char *text, float bonus) {
    listed_words w = {.place = words_start()};
    const char *fault;
    CHECK(words_new(&w.list, &SMALL, text, strlen(text), bonus, &fault) == VOX_OK);
    return w;
}

/* Whether a listed word may have this token next: then, a little below the best, it is said. */
static int may_be_next(const listed_words *w, int32_t token) {
    float logits[300] = {[PAD] = 1, [WORD] = -1};
    logits[token] = 0.5f;
    int32_t said = words_lean(w->list, w->place, logits, 1, PAD);
    CHECK(said == PAD || said == token);
    return said == token;
}

static void say(listed_words *w, int32_t token) {
    words_learn(w, &token, 1);
}

static void test_places(void) {
    listed_words w = list("  ab\t c\r\n\n(a)\ncc", 0.75f); /* " ab" is " a" and "b" */
    size_t n;
    CHECK(strncmp(words_text(w.list, &n), "  ab", 4) == 0 && n == 16);
    int32_t firsts[] = {SPACE_A, SPACE_C, letter(' ')}, bare[] = {AB, CC, letter('(')};
    for (int i = 0; i < 3; i++) CHECK(may_be_next(&w, firsts[i]) && may_be_next(&w, bare[i]));
    CHECK(!may_be_next(&w, SPACE_B) && !may_be_next(&w, letter('b')));
    say(&w, PAD);
    say(&w, SPACE_A);
    say(&w, PAD);
    say(&w, WORD); /* whatever lies between */
    CHECK(may_be_next(&w, letter('b')) && !may_be_next(&w, SPACE_A) && !may_be_next(&w, AB));
    say(&w, letter('b'));
    CHECK(may_be_next(&w, SPACE_C) && !may_be_next(&w, letter('b')));
    say(&w, SPACE_C); /* " ab c" is over; " cc" may have begun with its end */
    CHECK(may_be_next(&w, letter('c')) && may_be_next(&w, SPACE_A));
    say(&w, SPACE_B); /* no listed word goes on so */
    for (int i = 0; i < 3; i++) CHECK(may_be_next(&w, firsts[i]) && !may_be_next(&w, bare[i]));
    say(&w, letter('-')); /* a sign, after which a word needs no space */
    for (int i = 0; i < 3; i++) CHECK(may_be_next(&w, firsts[i]) && may_be_next(&w, bare[i]));
    say(&w, CC);
    CHECK(!may_be_next(&w, CC));
    float logits[300] = {[SPACE_A] = 1, [SPACE_C] = 1, [PAD] = 1.75f}; /* ties: the lowest id */
    CHECK(words_lean(w.list, w.place, logits, 1.75f, PAD) == PAD);
    CHECK(words_lean(w.list, w.place, logits, 1.5f, CC) == SPACE_A);
    words_release(w.list);

    w = list(" \n\t\n", 1);
    CHECK(!w.list);
    say(&w, SPACE_A);
    CHECK(w.place == words_start() && words_is_place(NULL, w.place) && !words_is_place(NULL, 0));
    w = list("ab", 1);
    CHECK(words_retain(w.list) == w.list && !words_retain(NULL));
    words_release(w.list);
    CHECK(words_is_place(w.list, 0) && !words_is_place(w.list, -1));
    CHECK(!words_is_place(w.list, 1 << 20));
    words_release(w.list);
    words_release(NULL);
}

static void test_faults(void) {
    static char text[70000];
    memset(text, 'a', sizeof text);
    word_list *l;
    const char *fault;
    /* Where there are no words, no table of the vocabulary is made, which takes a while. */
    const vocabulary unread = {NULL, NULL, 0, INT32_MAX};
    CHECK(words_new(&l, &unread, "", 0, 1, &fault) == VOX_OK && !l);
    CHECK(words_new(&l, &SMALL, text, 65537, 1, &fault) == VOX_ERR_ARGUMENT && !l);
    CHECK(words_new(&l, &SMALL, text, 256, 1, &fault) == VOX_ERR_ARGUMENT && !l);
    CHECK(strstr(fault, "longer than 255"));
    CHECK(words_new(&l, &SMALL, "b\na\xFF", 4, 1, &fault) == VOX_ERR_ARGUMENT && !l);
    CHECK(strstr(fault, "UTF-8"));
    for (int i = 255; i < 65536; i += 256) text[i] = '\n';
    CHECK(words_new(&l, &SMALL, text, 65536, 1, &fault) == VOX_OK && l);
    words_release(l);
    vocabulary none = {bytes, offsets, N_SPECIAL, N_SPECIAL + 'a'}; /* no "a" */
    CHECK(words_new(&l, &none, "ab", 2, 1, &fault) == VOX_ERR_ARGUMENT && !l);
    CHECK(strstr(fault, "cannot spell"));
}

/* ---- against all words ----------------------------------------------------------------------- */

enum { N_WORDS = 12, MAX_TOKENS = 8, N_SAID = 400 };

typedef struct {
    int32_t tokens[MAX_TOKENS];
    int n;
} spelling;

/* What words_lean should say after the text tokens said [n]. */
static int32_t expected(const spelling *words, const int32_t *text, int n, const float *logits,
                        float bonus) {
    float with[300];
    memcpy(with, logits, sizeof with);
    int longest = 0, is_whole = 1; /* no word begins within one */
    for (int w = 0; w < N_WORDS; w++)
        for (int k = 1; k <= words[w].n && k <= n; k++) {
            if (memcmp(words[w].tokens, text + n - k, (size_t)k * sizeof *text) != 0) continue;
            if (k > longest) longest = k, is_whole = 0;
            if (k == longest && k == words[w].n) is_whole = 1;
        }
    for (int w = 0; w < N_WORDS; w++)
        for (int k = is_whole ? 0 : 1; k < words[w].n; k++) {
            if (k > n || memcmp(words[w].tokens, text + n - k, (size_t)k * sizeof *text) != 0)
                continue;
            int32_t t = words[w].tokens[k];
            with[t] = logits[t] + bonus;
        }
    int32_t best = 0;
    for (int32_t t = 1; t < SMALL.n_vocab; t++)
        if (with[t] > with[best]) best = t;
    return best;
}

/* Words of a few letters, so that they overlap, and what is said at random, mostly as they go on;
 * with every width of a pass. */
static void test_search(uint32_t seed) {
    char text[N_WORDS * 2 * MAX_TOKENS] = "";
    spelling words[N_WORDS];
    speller s;
    CHECK(speller_init(&s, &SMALL) == 0);
    for (int w = 0; w < N_WORDS; w++) {
        char word[MAX_TOKENS + 2] = " ";
        size_t n = 1 + next(&seed) % (MAX_TOKENS - 1);
        for (size_t i = 0; i < n; i++)
            word[1 + i] = i > 0 && i + 1 < n && word[i] != ' ' && next(&seed) % 3 == 0
                              ? ' '
                              : (char)('a' + next(&seed) % 2);
        words[w].n = spell(&s, word, n + 1, words[w].tokens);
        CHECK(words[w].n > 0 && words[w].n <= MAX_TOKENS);
        strcat(strcat(text, word), "\n");
    }
    speller_free(&s);
    float bonus = 0.5f * (float)(1 + next(&seed) % 6);
    listed_words w = list(text, bonus);

    static int32_t tokens[N_SAID], places[N_SAID], texts[N_SAID];
    int n_texts = 0;
    for (int i = 0; i < N_SAID; i++) {
        float logits[300];
        for (int k = 0; k < 300; k++) logits[k] = 0.25f * (float)(next(&seed) % 9);
        int32_t best = 0;
        for (int32_t t = 1; t < SMALL.n_vocab; t++)
            if (logits[t] > logits[best]) best = t;
        places[i] = w.place;
        int32_t leant = words_lean(w.list, w.place, logits, logits[best], best);
        if (i > 0) CHECK(leant == expected(words, texts, n_texts, logits, bonus));
        static const int32_t any[] = {PAD, WORD, SPACE_A, SPACE_B, AB, BA};
        tokens[i] = i == 0 ? SPACE_B : next(&seed) % 3 ? leant : any[next(&seed) % 6];
        if (i > 0 && tokens[i] == letter(' ')) tokens[i] = PAD; /* words could begin bare then */
        if (tokens[i] >= N_SPECIAL && tokens[i] < SPACE_A && tokens[i] != letter('a') &&
            tokens[i] != letter('b'))
            tokens[i] = WORD;
        if (tokens[i] >= N_SPECIAL) texts[n_texts++] = tokens[i];
        say(&w, tokens[i]);
    }
    for (int width = 1; width <= 16; width++) {
        int32_t planned[16];
        w.place = places[1];
        for (int i = 1; i + width < N_SAID; i += width) {
            words_plan(&w, &tokens[i - 1], width, planned);
            CHECK(memcmp(planned, &places[i], (size_t)width * sizeof *planned) == 0);
            words_learn(&w, &tokens[i], width);
        }
    }
    words_release(w.list);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    vox_model *m;
    CHECK(vox_model_open(argv[1], NULL, &m, NULL, 0) == VOX_OK);
    test_spellings(m, argv[2]);
    vox_model_close(m);
    make_small();
    test_places();
    test_faults();
    for (uint32_t seed = 1; seed <= 60; seed++) test_search(seed);
    return 0;
}
