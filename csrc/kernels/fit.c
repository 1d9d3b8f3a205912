/* fit.c - see fit.h: plain C, one lane after the other, and the choice. */
#include "fit.h"

enum { LANES = 1 };
typedef float vec;

#define INLINE static inline
INLINE vec vec_all(float x) {
    return x;
}
INLINE vec vec_load(const float *x) {
    return *x;
}
INLINE void vec_store(float *to, vec x) {
    *to = x;
}
INLINE vec vec_add(vec x, vec y) {
    return x + y;
}
INLINE vec vec_sub(vec x, vec y) {
    return x - y;
}
INLINE vec vec_mul(vec x, vec y) {
    return x * y;
}
INLINE vec vec_div(vec x, vec y) {
    return x / y;
}
INLINE vec vec_min(vec x, vec y) {
    return x < y ? x : y;
}
INLINE vec vec_max(vec x, vec y) {
    return x > y ? x : y;
}
INLINE vec vec_if_less(vec x, vec y, vec yes, vec no) {
    return x < y ? yes : no;
}

#define FIT fit_plain
#include "search.h"

fitter *fit_best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) return fit_avx2;
#endif
    return fit_plain;
}
