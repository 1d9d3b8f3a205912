/* weights.h - where the kernels find the matrices: in the file as it is mapped, or packed.
 *
 * In: a model whose tensors point into the map. Out: every quantised matrix has its packed_matrix.
 * A file of format version 2 holds them as the kernels read them and is used where it lies, so that
 * it is open at once and all processes share one copy; the rows of version 1 are packed in memory.
 */
#ifndef VOXTRAL_WEIGHTS_H
#define VOXTRAL_WEIGHTS_H

#include "model.h"

/* VOX_OK, or VOX_ERR_MEMORY; *size is the memory that the weights need besides the map. */
int weights_place(vox_model *model, size_t *size);
void weights_free(vox_model *model);
/* A hash of the first bytes of every weight, going on from h: that of both versions of a file. */
uint64_t weights_hash(const vox_model *model, uint64_t h);

#endif
