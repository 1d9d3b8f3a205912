/* bits.h - a fingerprint of what this build computes on this processor.
 *
 * Every operation of a pass has one defined result, so all builds and machines have the same
 * fingerprint, unless a compiler or an option of it broke the definition. A saved stream carries
 * it: where it differs, the stream would not go on as it began. No ggml header.
 */
#ifndef VOXTRAL_BITS_H
#define VOXTRAL_BITS_H

#include <stdint.h>

#include "kernels/kernels.h"

/* Of the functions of maths.h and of a table's operations, on fixed numbers. */
uint64_t bits_fingerprint(const kernels *table);

#endif
