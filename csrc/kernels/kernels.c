/* kernels.c - see kernels.h: which tables this processor can run. */
#include "kernels.h"

#include <stddef.h>

#include "platform.h"

const kernels *kernels_at(int i) {
    const kernels *list[5] = {&kernels_portable};
    int n = 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c"))
        list[n++] = &kernels_avx2;
#if defined(VOXTRAL_AVX_VNNI) /* not every compiler knows of it */
    if (__builtin_cpu_supports("avxvnni")) list[n++] = &kernels_avx_vnni;
#endif
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        list[n++] = &kernels_avx512;
#if defined(VOXTRAL_AMX)
    if (list[n - 1] == &kernels_avx512 && __builtin_cpu_supports("amx-tile") &&
        __builtin_cpu_supports("amx-int8") && platform_may_use_tiles())
        list[n++] = &kernels_amx;
#endif
#elif defined(__aarch64__)
    int features = platform_arm_features();
    list[n++] = &kernels_neon;
    if (features & ARM_DOTPROD) list[n++] = &kernels_neon_dotprod;
    if (features & ARM_DOTPROD && features & ARM_I8MM) list[n++] = &kernels_neon_i8mm;
#endif
    return i >= 0 && i < n ? list[i] : NULL;
}

const kernels *kernels_best(void) {
    const kernels *best = &kernels_portable;
    for (int i = 1; kernels_at(i); i++) best = kernels_at(i);
    return best;
}
