/* avx512.c - the kernels for AVX-512 with VNNI; compiled with these options and run only where the
 * processor has them. */
#include "avx512.h"

const kernels kernels_avx512 = {"avx512",       attend,        narrow, quantise,
                                matrix_product, float_product, LOOPS};
