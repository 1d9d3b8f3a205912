/* relax.h - included before all of ggml-cpu.c (see ggml.cmake): waiting threads yield now and then.
 *
 * ggml's workers meet after every operation and wait there spinning. When another process holds the
 * processor that the last of them needs, the others would burn whole time slices: on a busy
 * two-core machine two threads were fifty times slower than one. Yielding on every 128th pause
 * costs nothing when all run.
 */
#if !defined(__cplusplus) && defined(__x86_64__)
#include <immintrin.h>
#include <sched.h>
static inline void relax(void) {
    static _Thread_local unsigned n;
    if (++n % 128 == 0) sched_yield();
    else _mm_pause();
}
#define _mm_pause relax
#endif
