/* batch.c - see batch.h. */
#include "batch.h"

#include <stdatomic.h>
#include <stdlib.h>

/* One call of batch_run, which ends when none of its requests is left. */
typedef struct batch_waiter {
    platform_event event;
    int n_left;
} batch_waiter;

/* Passes run in lanes, one after another in each, and at the same time in several. */
typedef struct {
    engine *engine;            /* NULL until the first pass; only the leader looks into it */
    batch_waiter *leader;      /* who runs passes; NULL: nobody */
    int is_waiting;            /* the leader waits for those it has just served */
    int n_expected;            /* of these, how many may come back at once */
    int64_t pass_ns;           /* of the last pass */
    float n_members;           /* streams in a pass of the decoder, a running mean */
    atomic_uint_fast64_t last; /* number of the last pass */
    atomic_int_fast64_t n_bytes;
} lane;

struct batch {
    const vox_model *m;
    atomic_int process;   /* whose threads are below; negative while that changes */
    platform_mutex mutex; /* of all that follows, but for the atomic numbers and the engines */
    pass_request *first;  /* of those that wait, in the order in which they came */
    uint64_t n_passes;
    _Atomic float price;
    lane *lanes; /* [n_lanes] */
    int n_lanes;
};

/* Of a pass: how long its leader waits for others that would be in the next one. */
static const int WAIT_SHARE = 16;
static const float MEMBERS_RATE = 1.0f / 8;

batch *batch_new(const vox_model *m, int n_lanes) {
    batch *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->m = m;
    b->n_lanes = n_lanes;
    b->lanes = calloc((size_t)n_lanes, sizeof *b->lanes);
    if (!b->lanes) {
        free(b);
        return NULL;
    }
    for (int i = 0; i < n_lanes; i++) b->lanes[i].n_members = 1;
    atomic_init(&b->process, platform_process());
    platform_mutex_init(&b->mutex);
    return b;
}

/* A process that was forked has the queue, but none of the threads that wait in it or run a pass.
 * An engine at work is lost with them: what it holds is in no order in which it could be freed. */
static void disown(batch *b) {
    platform_mutex_init(&b->mutex);
    b->first = NULL;
    for (lane *l = b->lanes; l < b->lanes + b->n_lanes; l++) {
        if (l->leader) l->engine = NULL;
        l->leader = NULL;
        l->is_waiting = l->n_expected = 0;
    }
}

static void lock(batch *b) {
    int me = platform_process(), owner;
    while ((owner = atomic_load(&b->process)) != me)
        if (owner != -me && atomic_compare_exchange_strong(&b->process, &owner, -me)) {
            disown(b);
            atomic_store(&b->process, me);
        }
    platform_mutex_lock(&b->mutex);
}

void batch_free(batch *b) {
    if (!b) return;
    lock(b);
    platform_mutex_unlock(&b->mutex);
    for (int i = 0; i < b->n_lanes; i++) engine_close(b->lanes[i].engine);
    platform_mutex_free(&b->mutex);
    free(b->lanes);
    free(b);
}

float batch_price(const batch *b) {
    return atomic_load(&b->price);
}

int64_t batch_bytes(const batch *b) {
    int64_t n = 0;
    for (int i = 0; i < b->n_lanes; i++) n += atomic_load(&b->lanes[i].n_bytes);
    return n;
}

/* ---- who is in the next pass ---------------------------------------------------------------- */

static pass_request *oldest(const batch *b) {
    for (pass_request *r = b->first; r; r = r->after)
        if (!r->is_background) return r;
    return b->first;
}

/* Columns that a request needs at least: positions that hear a guess are a wish. */
static int columns_needed(const pass_request *r) {
    if (r->kind == PASS_ENCODE) return r->enc.w;
    return r->dec.w - r->dec.n + (r->dec.n > 0);
}

/* Members of the next pass, taken off the queue; how many. */
static int select_members(batch *b, pass_request **members) {
    pass_kind kind = oldest(b)->kind;
    int n = 0, left = kind == PASS_ENCODE ? ENCODER_WIDTH : DECODER_COLUMNS;
    for (int background = 0; background < 2; background++)
        for (pass_request **at = &b->first, *r; (r = *at);) {
            if (r->kind != kind || r->is_background != background || columns_needed(r) > left ||
                (kind <= PASS_ADOPT && n > 0)) {
                at = &r->after;
                continue;
            }
            left -= columns_needed(r);
            members[n++] = r;
            *at = r->after;
        }
    if (kind != PASS_DECODE) return n;
    /* What is left of the columns goes to guesses, the likeliest of each stream first. */
    int n_wanted[DECODER_COLUMNS];
    for (int i = 0; i < n; i++) {
        n_wanted[i] = members[i]->dec.n;
        members[i]->dec.w -= members[i]->dec.n;
        members[i]->dec.n = n_wanted[i] > 0;
    }
    for (int guess = 1; guess < DECODER_WIDTH; guess++)
        for (int i = 0; i < n && left > 0; i++)
            if (guess < n_wanted[i]) {
                members[i]->dec.n++;
                left--;
            }
    for (int i = 0; i < n; i++) members[i]->dec.w += members[i]->dec.n;
    return n;
}

/* ---- passes --------------------------------------------------------------------------------- */

/* Only the lane's leader comes here, without the mutex. */
static void run_pass(batch *b, lane *l, pass_request *const *members, int n) {
    if (!l->engine && engine_open(&l->engine, b->m, NULL) != VOX_OK) {
        for (int i = 0; i < n; i++) members[i]->status = VOX_ERR_MEMORY;
        return;
    }
    engine_run(l->engine, members, n);
    if (members[0]->kind != PASS_ENCODE)
        atomic_store(&l->n_bytes, (int64_t)engine_bytes(l->engine));
    const pass_cost *c = &l->engine->cost;
    if (members[0]->kind != PASS_DECODE) return;
    l->n_members += MEMBERS_RATE * ((float)n - l->n_members);
    if (c->first <= 0) return;
    /* A stream pays for its first column, and shares with the others what a pass costs before that.
     */
    float shared = c->first > c->more ? c->first - c->more : 0;
    atomic_store(&b->price, c->more / (shared / l->n_members + c->more));
}

/* Those who were in the last pass often come back at once, and one pass for all of them costs
 * little more than one for whoever is first. */
static void wait_for_members(batch *b, lane *l) {
    int64_t end = platform_clock_ns() + l->pass_ns / WAIT_SHARE;
    l->is_waiting = 1;
    while (l->n_expected > 0) {
        int64_t left = end - platform_clock_ns();
        if (left <= 0) break;
        platform_event_wait(&l->leader->event, &b->mutex, left);
    }
    l->is_waiting = 0;
}

/* One pass, if anybody waits for one; with the mutex held. */
static void lead(batch *b, lane *l) {
    pass_request *members[DECODER_COLUMNS];
    if (l->n_expected > 0) wait_for_members(b, l);
    if (!b->first) return; /* another lane has them */
    int n = select_members(b, members);
    platform_mutex_unlock(&b->mutex);
    int64_t begin = platform_clock_ns();
    run_pass(b, l, members, n);
    int64_t ns = platform_clock_ns() - begin;
    platform_mutex_lock(&b->mutex);
    l->pass_ns = ns;
    l->n_expected = n > 1 || b->first ? n : 0;
    uint64_t served = ++b->n_passes;
    atomic_store(&l->last, served);
    for (int i = 0; i < n; i++) {
        batch_waiter *waiter = members[i]->waiter;
        members[i]->served = served;
        if (--waiter->n_left == 0 && waiter != l->leader) platform_event_wake(&waiter->event);
    }
}

/* The lane in whose last pass a request was, or NULL. */
static lane *lane_of(const batch *b, const pass_request *r) {
    for (int i = 0; r->served != 0 && i < b->n_lanes; i++)
        if (r->served == atomic_load(&b->lanes[i].last)) return &b->lanes[i];
    return NULL;
}

static void come_back(const batch *b, const pass_request *r) {
    lane *l = lane_of(b, r);
    if (!l || l->n_expected == 0) return;
    l->n_expected--;
    if (l->is_waiting) platform_event_wake(&l->leader->event);
}

void batch_leave(batch *b, const pass_request *r) {
    if (!lane_of(b, r)) return;
    lock(b);
    come_back(b, r);
    platform_mutex_unlock(&b->mutex);
}

static lane *free_lane(const batch *b) {
    for (int i = 0; i < b->n_lanes; i++)
        if (!b->lanes[i].leader) return &b->lanes[i];
    return NULL;
}

void batch_run(batch *b, pass_request *first) {
    batch_waiter me = {.n_left = 0};
    platform_event_init(&me.event);
    lock(b);
    pass_request **end = &b->first;
    while (*end) end = &(*end)->after;
    for (pass_request *r = first; r; r = r->peer, me.n_left++) {
        come_back(b, r);
        r->waiter = &me;
        r->after = NULL;
        *end = r;
        end = &r->after;
    }
    while (me.n_left > 0) {
        lane *l = free_lane(b);
        if (!l || !b->first) {
            platform_event_wait(&me.event, &b->mutex, -1);
            continue;
        }
        l->leader = &me;
        while (me.n_left > 0 && b->first) lead(b, l);
        l->leader = NULL;
    }
    if (b->first && free_lane(b)) platform_event_wake(&b->first->waiter->event);
    platform_mutex_unlock(&b->mutex);
    platform_event_free(&me.event);
}
