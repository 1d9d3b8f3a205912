/* platform_other.c - what is left of platform.h on a system that has POSIX and nothing that the
 * core knows of beyond it. */
#include <unistd.h>

#include "platform.h"

int platform_n_processors(double *quota) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (quota) *quota = 0;
    return n < 1 ? 1 : (int)n;
}

#if defined(__aarch64__)
int platform_arm_features(void) {
    return 0;
}
#endif
