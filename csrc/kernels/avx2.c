/* avx2.c - the kernels for AVX2, FMA and F16C; compiled with these options and run only where the
 * processor has them. */
#include "avx2.h"

/* start + the products of n vectors of numbers, none above most, with 4 n inputs; for numbers of 8
 * bits start is not needed, as they are made signed. Pairs of products are 16 bits: as many pairs
 * are added before they are widened as cannot overflow. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    const ivec ones = _mm256_set1_epi16(1);
    const int few = most == 15 ? 8 : most == 31 ? 4 : most == 63 ? 2 : 1;
    ivec sum = most == 255 ? ivec_all(0) : start;
    for (int j = 0; j < n; j += few) {
        ivec pairs = ivec_all(0);
        for (int i = j; i < j + few && i < n; i++) {
            int32_t four;
            memcpy(&four, q + 4 * i, sizeof four);
            ivec a = ivec_all(four), w = v[i];
            if (most == 255) {
                ivec is = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
                w = _mm256_abs_epi8(is);
                a = _mm256_sign_epi8(a, is);
            }
            ivec two = _mm256_maddubs_epi16(w, a);
            pairs = i == j ? two : _mm256_add_epi16(pairs, two);
        }
        sum = ivec_add(sum, _mm256_madd_epi16(pairs, ones));
    }
    return sum;
}

#include "product.h"
#include "wide.h"

const kernels kernels_avx2 = {"avx2", attend, narrow, quantise, wide_product, float_product, LOOPS};
