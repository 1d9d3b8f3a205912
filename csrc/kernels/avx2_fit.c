/* avx2_fit.c - see fit.h: eight lanes; compiled for AVX2 and run only where the processor has it.
 */
#include "fit.h"

#include <immintrin.h>

enum { LANES = 8 };
typedef __m256 vec;

#define INLINE static inline __attribute__((always_inline))
INLINE vec vec_all(float x) {
    return _mm256_set1_ps(x);
}
INLINE vec vec_load(const float *x) {
    return _mm256_loadu_ps(x);
}
INLINE void vec_store(float *to, vec x) {
    _mm256_storeu_ps(to, x);
}
INLINE vec vec_add(vec x, vec y) {
    return _mm256_add_ps(x, y);
}
INLINE vec vec_sub(vec x, vec y) {
    return _mm256_sub_ps(x, y);
}
INLINE vec vec_mul(vec x, vec y) {
    return _mm256_mul_ps(x, y);
}
INLINE vec vec_div(vec x, vec y) {
    return _mm256_div_ps(x, y);
}
INLINE vec vec_min(vec x, vec y) {
    return _mm256_min_ps(x, y);
}
INLINE vec vec_max(vec x, vec y) {
    return _mm256_max_ps(x, y);
}
INLINE vec vec_if_less(vec x, vec y, vec yes, vec no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
}

#define FIT fit_avx2
#include "search.h"
