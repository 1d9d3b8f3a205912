/* batch.h - streams that wait at the same time share passes: the queue of requests before a model's
 * engines.
 *
 * Passes run in lanes, each with an engine. Whoever finds a lane free runs passes there, for all
 * who wait, until its own requests are done, and then hands over to another one that waits; there
 * is no thread for it. A pass takes the kind of the request that has waited longest, live ones
 * before background work, and all others of that kind that fit, in the order in which they came;
 * guesses are left out where other streams need the columns. So a live stream waits for a pass at
 * work and for those that came before it, never for background work that is not running yet. What a
 * stream is given does not depend on who else is in its passes.
 */
#ifndef VOXTRAL_BATCH_H
#define VOXTRAL_BATCH_H

#include "engine.h"

typedef struct batch batch;

/* With room for so many passes at the same time, each with an engine and threads of its own. NULL
 * when out of memory. */
batch *batch_new(const vox_model *m, int n_lanes);
void batch_free(batch *b); /* NULL is fine */
/* Have requests run, linked by peer to the last, whose peer is NULL; each has its status then. */
void batch_run(batch *b, pass_request *first);
/* The stream of a request that was served will not come back at once: nobody need wait for it. */
void batch_leave(batch *b, const pass_request *r);
/* What a further position costs in a pass of the decoder, as a share of what each of the streams in
 * it pays for the pass; 0: not known. */
float batch_price(const batch *b);
/* Bytes in which passes compute. */
int64_t batch_bytes(const batch *b);

#endif
