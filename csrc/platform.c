/* platform.c - the POSIX side of platform.h. */
#define _GNU_SOURCE
#include "platform.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

int platform_map(const char *path, file_map *map) {
    *map = (file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe has nobody to wait for */
    if (fd < 0) return errno;
    struct stat st;
    int error = 0;
    if (fstat(fd, &st) != 0) {
        error = errno;
    } else if (S_ISDIR(st.st_mode)) {
        error = EISDIR;
    } else if (!S_ISREG(st.st_mode)) {
        error = EINVAL;
    } else if ((uint64_t)st.st_size > SIZE_MAX) {
        error = EFBIG;
    } else if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) error = errno;
        else *map = (file_map){data, (size_t)st.st_size};
    }
    close(fd);
    return error;
}

void platform_unmap(file_map *map) {
    if (map->data) munmap((void *)map->data, map->size);
    *map = (file_map){0};
}

void platform_forget(const void *data, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data;
    uintptr_t first = (begin + page - 1) / page * page, last = (begin + size) / page * page;
    if (first < last) madvise((void *)first, last - first, MADV_DONTNEED); /* a wish */
}

void *platform_alloc_large(size_t size) {
    enum { LINE = 64, HUGE = 2 << 20 }; /* bytes; huge pages of x86-64 */
    void *data;
    if (posix_memalign(&data, size < HUGE ? LINE : HUGE, size) != 0) return NULL;
    /* A wish: where it is not granted, small pages do. The last, partly used page stays small. */
    if (size >= HUGE) madvise(data, size, MADV_HUGEPAGE);
    return data;
}

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

int platform_process(void) {
    return (int)getpid();
}

int64_t platform_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static_assert(sizeof(pthread_mutex_t) <= sizeof(platform_mutex), "room for a mutex");
static_assert(sizeof(pthread_cond_t) <= sizeof(platform_event), "room for a condition");

static pthread_mutex_t *mutex_of(platform_mutex *mutex) {
    return (pthread_mutex_t *)(void *)mutex->opaque;
}

static pthread_cond_t *condition_of(platform_event *event) {
    return (pthread_cond_t *)(void *)event->opaque;
}

void platform_mutex_init(platform_mutex *mutex) {
    pthread_mutex_init(mutex_of(mutex), NULL);
}

void platform_mutex_free(platform_mutex *mutex) {
    pthread_mutex_destroy(mutex_of(mutex));
}

void platform_mutex_lock(platform_mutex *mutex) {
    pthread_mutex_lock(mutex_of(mutex));
}

void platform_mutex_unlock(platform_mutex *mutex) {
    pthread_mutex_unlock(mutex_of(mutex));
}

void platform_event_init(platform_event *event) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition_of(event), &attributes);
    pthread_condattr_destroy(&attributes);
}

void platform_event_free(platform_event *event) {
    pthread_cond_destroy(condition_of(event));
}

void platform_event_wait(platform_event *event, platform_mutex *mutex, int64_t ns) {
    if (ns < 0) {
        pthread_cond_wait(condition_of(event), mutex_of(mutex));
        return;
    }
    int64_t end = platform_clock_ns() + ns;
    struct timespec at = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    pthread_cond_timedwait(condition_of(event), mutex_of(mutex), &at);
}

void platform_event_wake(platform_event *event) {
    pthread_cond_signal(condition_of(event));
}

int platform_may_use_tiles(void) {
#if defined(__x86_64__) && defined(__linux__)
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* arch_prctl(ARCH_REQ_XCOMP_PERM, a state) */
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return 0;
#endif
}

int platform_arm_features(void) {
#if defined(__aarch64__) && defined(__linux__)
    enum { HAS_DOTPROD = 1 << 20, HAS_I8MM = 1 << 13 }; /* of the kernel's words of features */
    return (getauxval(AT_HWCAP) & HAS_DOTPROD ? ARM_DOTPROD : 0) |
           (getauxval(AT_HWCAP2) & HAS_I8MM ? ARM_I8MM : 0);
#elif defined(__aarch64__) && defined(__APPLE__)
    static const struct {
        const char *name;
        int feature;
    } names[] = {{"hw.optional.arm.FEAT_DotProd", ARM_DOTPROD},
                 {"hw.optional.arm.FEAT_I8MM", ARM_I8MM}};
    int features = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int has = 0;
        size_t size = sizeof has;
        if (sysctlbyname(names[i].name, &has, &size, NULL, 0) == 0 && has)
            features |= names[i].feature;
    }
    return features;
#else
    return 0;
#endif
}

const char *platform_missing_feature(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return "AVX2";
    if (!__builtin_cpu_supports("fma")) return "FMA";
    if (!__builtin_cpu_supports("bmi2")) return "BMI2";
    if (!__builtin_cpu_supports("f16c")) return "F16C";
#endif
    return NULL;
}
