/* avx2.c - the kernels for AVX2, FMA and F16C; compiled with these options and run only where the
 * processor has them. */
#include "avx2.h"

INLINE ivec bytes_flipped(ivec x) {
    return _mm256_xor_si256(x, _mm256_set1_epi8((char)0x80));
}
INLINE ivec bytes_size(ivec x) {
    return _mm256_abs_epi8(x);
}
INLINE ivec bytes_signed(ivec x, ivec by) {
    return _mm256_sign_epi8(x, by);
}
INLINE ivec pairs_of_bytes(ivec x, ivec y) {
    return _mm256_maddubs_epi16(x, y);
}
INLINE ivec pairs_add(ivec x, ivec y) {
    return _mm256_add_epi16(x, y);
}
INLINE ivec pairs_sum(ivec x) {
    return _mm256_madd_epi16(x, _mm256_set1_epi16(1));
}

#include "pairs.h"
#include "product.h"
#include "wide.h"

const kernels kernels_avx2 = {"avx2", attend, narrow, quantise, wide_product, float_product, LOOPS};
