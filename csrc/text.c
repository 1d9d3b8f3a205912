/* text.c - see text.h. */
#include "text.h"

#include <string.h>

#include "utf8.h"

static size_t put_replacement(char *out) {
    memcpy(out, "\xEF\xBF\xBD", 3); /* U+FFFD */
    return 3;
}

void text_reset(text_state *t) {
    memset(t, 0, sizeof *t);
}

size_t text_push(text_state *t, const char *bytes, size_t n, char *out) {
    char *start = out;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (t->n_missing > 0 && (c < t->low || c > t->high)) { /* broken: c begins anew */
            out += put_replacement(out);
            t->n_kept = t->n_missing = 0;
        }
        if (t->n_missing == 0) {
            t->n_missing = utf8_follow(c, &t->low, &t->high);
            if (t->n_missing < 0) {
                out += put_replacement(out);
                t->n_missing = 0;
                continue;
            }
        } else {
            t->n_missing--;
            t->low = 0x80, t->high = 0xBF;
        }
        t->kept[t->n_kept++] = c;
        if (t->n_missing == 0) {
            memcpy(out, t->kept, (size_t)t->n_kept);
            out += t->n_kept;
            t->n_kept = 0;
        }
    }
    return (size_t)(out - start);
}

size_t text_flush(text_state *t, char *out) {
    size_t n = t->n_kept > 0 ? put_replacement(out) : 0;
    text_reset(t);
    return n;
}
