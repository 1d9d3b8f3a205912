/* build.c - what this build is made of. */
#include <ggml.h>
#include <stdio.h>

#include "voxtral.h"

int vox_ggml_version(char *version, size_t n_version) {
    if (!version) return VOX_ERR_ARGUMENT;
    snprintf(version, n_version, "%s (%s)", ggml_version(), VOXTRAL_GGML_SOURCE);
    return VOX_OK;
}
