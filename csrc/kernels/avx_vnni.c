/* avx_vnni.c - the kernels for AVX2 with the integer products of AVX-VNNI, as processors without
 * AVX-512 may have them; compiled with these options and run only where the processor has them. */
#include "avx2.h"

/* start + the products of n vectors of numbers with 4 n inputs; -128 q for numbers of 8 bits is 16
 * times what start holds. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    ivec sum = most == 255 ? ivec_shift_left(start, 4) : start;
    for (int j = 0; j < n; j++) {
        int32_t four;
        memcpy(&four, q + 4 * j, sizeof four);
        sum = _mm256_dpbusd_avx_epi32(sum, v[j], ivec_all(four));
    }
    return sum;
}

#include "product.h"
#include "wide.h"

const kernels kernels_avx_vnni = {"avx-vnni",   attend,        narrow, quantise,
                                  wide_product, float_product, LOOPS};
