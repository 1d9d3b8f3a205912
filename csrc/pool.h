/* pool.h - threads that work on one thing together, and meet.
 *
 * The caller is one of them. Between two works the others sleep: a live stream mostly waits. A
 * child that a process forks has none of its threads; there the pool starts new ones with the next
 * work, as many as it gets, down to the caller alone. No ggml header.
 */
#ifndef VOXTRAL_POOL_H
#define VOXTRAL_POOL_H

typedef struct pool pool;

/* n threads, the caller counted. NULL: no memory, or so many cannot be started. */
pool *pool_open(int n);
void pool_close(pool *p); /* NULL is fine */
/* Threads in the last work. */
int pool_size(const pool *p);
/* work(0, n, user) .. work(n - 1, n, user) at once; returns when all have returned. Cannot fail. */
void pool_run(pool *p, void (*work)(int ith, int nth, void *user), void *user);
/* Called by each of them in its work: returns when all have called it. */
void pool_meet(pool *p);

#endif
