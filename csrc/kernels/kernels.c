/* kernels.c - see kernels.h: which tables this processor can run. */
#include "kernels.h"

#include <stddef.h>

#include "platform.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Sets of instructions: what CPUID says of the processor (the register is EAX, EBX, ECX or EDX, the
 * bits of it that must be set), and the registers that the system must keep for it, as bits of
 * XCR0. Compilers have a function for this, but not all of them fill in what it reads. */
typedef struct {
    unsigned leaf, subleaf, eax, ebx, ecx, edx, kept;
} feature;

enum { VECTORS = 6, WIDE_VECTORS = 0xe6, TILES = 0x60000 };
#define BIT(n) (1u << (n))

static int has(const feature *f) {
    unsigned a, b, c, d, kept, none;
    if (f->kept) {
        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27))) return 0; /* XGETBV */
        __asm__ volatile("xgetbv" : "=a"(kept), "=d"(none) : "c"(0));
        if ((kept & f->kept) != f->kept) return 0;
    }
    return __get_cpuid_count(f->leaf, f->subleaf, &a, &b, &c, &d) && (a & f->eax) == f->eax &&
           (b & f->ebx) == f->ebx && (c & f->ecx) == f->ecx && (d & f->edx) == f->edx;
}

static const feature SSSE3_SSE41 = {1, 0, .ecx = BIT(9) | BIT(19)};
static const feature FMA_F16C = {1, 0, .ecx = BIT(12) | BIT(28) | BIT(29), .kept = VECTORS};
static const feature AVX2 = {7, 0, .ebx = BIT(5), .kept = VECTORS};
#if defined(VOXTRAL_AVX_VNNI) /* not every compiler knows of it */
static const feature AVX_VNNI = {7, 1, .eax = BIT(4), .kept = VECTORS};
#endif
static const feature AVX512_BW_VL_VNNI = {7, 0, .ebx = BIT(16) | BIT(30) | BIT(31), .ecx = BIT(11),
                                          .kept = WIDE_VECTORS};
#if defined(VOXTRAL_AMX)
static const feature AMX_INT8 = {7, 0, .edx = BIT(24) | BIT(25), .kept = WIDE_VECTORS | TILES};
#endif
#endif

const kernels *kernels_at(int i) {
    const kernels *list[6] = {&kernels_portable};
    int n = 1;
#if defined(__x86_64__)
    if (has(&SSSE3_SSE41)) list[n++] = &kernels_sse41;
    if (has(&FMA_F16C) && has(&AVX2)) {
        list[n++] = &kernels_avx2;
#if defined(VOXTRAL_AVX_VNNI)
        if (has(&AVX_VNNI)) list[n++] = &kernels_avx_vnni;
#endif
        if (has(&AVX512_BW_VL_VNNI)) {
            list[n++] = &kernels_avx512;
#if defined(VOXTRAL_AMX)
            if (has(&AMX_INT8) && platform_may_use_tiles()) list[n++] = &kernels_amx;
#endif
        }
    }
#elif defined(__aarch64__)
    int features = platform_arm_features();
    list[n++] = &kernels_neon;
    if (features & ARM_DOTPROD) list[n++] = &kernels_neon_dotprod;
    if (features & ARM_DOTPROD && features & ARM_I8MM) list[n++] = &kernels_neon_i8mm;
#elif defined(__wasm__)
    list[n++] = &kernels_wasm;
#if defined(VOXTRAL_WASM_RELAXED) /* a module that not every engine takes */
    if (kernels_wasm_is_fused()) list[n++] = &kernels_wasm_relaxed;
#endif
#endif
    return i >= 0 && i < n ? list[i] : NULL;
}

const kernels *kernels_best(void) {
    const kernels *best = &kernels_portable;
    for (int i = 1; kernels_at(i); i++) best = kernels_at(i);
    return best;
}
