/* fit.h - floats become blocks of few bits, with the scales that a search found to have the least
 * squared error: less than ggml's quantisers leave, in the same blocks, and several times as fast.
 *
 * Plain C, which defines every bit, and vector code that gives the same ones: numbers that share a
 * scale lie in one lane, so that no sum depends on the width of a vector, and nothing is fused.
 */
#ifndef VOXTRAL_FIT_H
#define VOXTRAL_FIT_H

#include <stddef.h>

/* n values to blocks of ggml's type q4_k, q5_k or q6_k, n a multiple of 256; all finite, and no
 * larger than a half can be. */
typedef void fitter(int type, const float *x, size_t n, unsigned char *blocks);

fitter fit_plain;
#if defined(__x86_64__)
fitter fit_avx2;
#endif
/* The fastest of them on this processor. */
fitter *fit_best(void);

#endif
