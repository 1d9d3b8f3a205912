/* platform_linux.c - what Linux alone has of platform.h: processors that a process may run on, the
 * quotas of its control groups, and what it says of sets of instructions. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform.h"

/* The start of a file of the system as text, empty if it cannot be read. */
static const char *read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* What a control group of either version allows, 0: all. */
static double group_quota(const char *folder) {
    char path[PATH_MAX + 32], text[64];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (sscanf(read_text(path, text, sizeof text), "%lf %lf", &quota, &period) != 2) {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        if (sscanf(read_text(path, text, sizeof text), "%lf", &quota) != 1) return 0;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        if (sscanf(read_text(path, text, sizeof text), "%lf", &period) != 1) return 0;
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

double platform_cpu_quota(const char *proc, const char *groups) {
    char text[1 << 14], folder[PATH_MAX], *next;
    double least = 0;
    snprintf(folder, sizeof folder, "%s/self/cgroup", proc);
    read_text(folder, text, sizeof text);
    for (char *line = text; *line; line = next) { /* number:controllers:path */
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *names++ = *path++ = 0;
        int is_v2 = !*names, has_cpu = is_v2;
        for (char *name = names; *name; name += strcspn(name, ",") + (strchr(name, ',') != NULL))
            has_cpu |= strcspn(name, ",") == 3 && strncmp(name, "cpu", 3) == 0;
        if (!has_cpu) continue;
        size_t n_root = strlen(groups) + (is_v2 ? 0 : 1 + strlen(names));
        snprintf(folder, sizeof folder, "%s%s%s%s", groups, is_v2 ? "" : "/", names, path);
        /* From the process's own group upwards. Inside a container, the path may be the one that
           its host sees: then the root is its own. */
        for (char *slash;; *slash = 0) {
            double quota = group_quota(folder);
            if (quota > 0 && (least == 0 || quota < least)) least = quota;
            if (strlen(folder) < n_root || !(slash = strrchr(folder + n_root, '/'))) break;
        }
    }
    return least;
}

int platform_n_processors(double *quota) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    if (n < 1) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1) n = 1;
    double allowed = platform_cpu_quota("/proc", "/sys/fs/cgroup");
    if (quota) *quota = allowed;
    if (allowed == 0 || allowed >= n) return n;
    return allowed < 1 ? 1 : (int)allowed;
}

#if defined(__x86_64__)
int platform_may_use_tiles(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* arch_prctl(ARCH_REQ_XCOMP_PERM, a state) */
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#elif defined(__aarch64__)
int platform_arm_features(void) {
    enum { HAS_DOTPROD = 1 << 20, HAS_I8MM = 1 << 13 }; /* of the kernel's words of features */
    return (getauxval(AT_HWCAP) & HAS_DOTPROD ? ARM_DOTPROD : 0) |
           (getauxval(AT_HWCAP2) & HAS_I8MM ? ARM_I8MM : 0);
}
#endif
