/* platform_macos.c - what macOS alone has of platform.h: how many fast processors there are. */
#include <sys/sysctl.h>
#include <sys/types.h>

#include "platform.h"

static int number(const char *name) {
    int n = 0;
    size_t size = sizeof n;
    return sysctlbyname(name, &n, &size, NULL, 0) == 0 ? n : 0;
}

/* Threads meet after every operation, so that one on an efficient processor would slow down all. */
int platform_n_processors(double *quota) {
    int n = number("hw.perflevel0.logicalcpu");
    if (n < 1) n = number("hw.logicalcpu");
    if (quota) *quota = 0;
    return n < 1 ? 1 : n;
}

#if defined(__aarch64__)
int platform_arm_features(void) {
    return (number("hw.optional.arm.FEAT_DotProd") ? ARM_DOTPROD : 0) |
           (number("hw.optional.arm.FEAT_I8MM") ? ARM_I8MM : 0);
}
#endif
