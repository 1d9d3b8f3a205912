/* rounding.h - floats are rounded as C does by default, whatever the caller of the library has set:
 * nearest, with denormals, without traps. Threads inherit it from the one that starts them. */
#ifndef VOXTRAL_ROUNDING_H
#define VOXTRAL_ROUNDING_H

#include <fenv.h>
#if defined(_WIN32) && defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* What the caller has set, which fesetenv() gives back. */
static inline fenv_t rounding_default(void) {
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
#if defined(_WIN32) && defined(__x86_64__)
    _mm_setcsr(0x1f80); /* which that leaves alone here: nearest, with denormals, without traps */
#endif
    return callers;
}

#endif
