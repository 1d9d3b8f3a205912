/* neon_dotprod.c - the kernels for ARM with dot products of bytes; compiled with this option and
 * run only where the processor has them. */
#include "neon_dotprod.h"

#include "product.h"

const kernels kernels_neon_dotprod = {"neon-dotprod", attend,        narrow, quantise,
                                      matrix_product, float_product, LOOPS};
