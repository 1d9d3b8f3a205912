/* slots.c - see slots.h; the schedule is docs/streaming.md's. */
#include "slots.h"

void slots_reset(slot_counts *c) {
    c->n_pushed = c->n_encoded = c->n_decoded = c->n_skipped = c->n_out = 0;
    c->n_total = -1;
    c->n_said = c->n_given = c->gives_embeddings = 0;
}

void slots_end(slot_counts *c) {
    /* One slot less than is padded: the reference never uses its last embedding. */
    int64_t n_heard = (c->n_pushed + SAMPLES_PER_SLOT - 1) / SAMPLES_PER_SLOT;
    c->n_total = c->n_left_pad + n_heard + c->n_delay + c->n_right_extra - 1;
}

int64_t slots_begin(const slot_counts *c, int64_t slot) {
    return (slot - c->n_left_pad) * SAMPLES_PER_SLOT + LOOK_AHEAD;
}

int64_t slots_complete(const slot_counts *c) {
    if (c->n_total >= 0) return c->n_total;
    return (c->n_pushed - slots_begin(c, 0)) / SAMPLES_PER_SLOT;
}

int64_t slots_taken(const slot_counts *c) {
    return c->n_encoded + c->n_skipped;
}

int64_t slots_done(const slot_counts *c) {
    return c->n_decoded + c->n_skipped;
}

int64_t slots_silent(const slot_counts *c) {
    return c->n_left_pad + c->n_delay;
}

/* How many of the pushed samples lie at or behind one of them. */
static int64_t from_sample(const slot_counts *c, int64_t sample) {
    int64_t left = c->n_pushed - (sample > 0 ? sample : 0);
    return left > 0 ? left : 0;
}

size_t slots_samples_waiting(const slot_counts *c) {
    return (size_t)from_sample(c, slots_begin(c, slots_taken(c)));
}

int64_t slots_samples_pending(const slot_counts *c) {
    return from_sample(c, slots_begin(c, slots_done(c) - (c->n_said - c->n_given)));
}

int slots_hold(const slot_counts *c, int max_waiting, int max_said) {
    if (!is_between(c->n_pushed, 0, SLOTS_MAX * SAMPLES_PER_SLOT) ||
        !is_between(c->n_total, -1, 2 * SLOTS_MAX) || !is_between(c->n_encoded, 0, SLOTS_MAX) ||
        !is_between(c->n_decoded, 0, c->n_encoded) || !is_between(c->n_skipped, 0, SLOTS_MAX) ||
        !is_between(c->n_out, 0, 2 * SLOTS_MAX) || !is_between(c->n_said, 0, max_said) ||
        !is_between(c->n_given, 0, c->n_said))
        return 0;
    int64_t n_spoken = c->n_decoded - slots_silent(c);
    if (n_spoken < 0) n_spoken = 0;
    return c->n_encoded - c->n_decoded <= max_waiting && slots_taken(c) <= slots_complete(c) &&
           (c->gives_embeddings ? c->n_out == 0 && c->n_said == 0
                                : c->n_out + c->n_said - c->n_given == n_spoken + c->n_skipped);
}
