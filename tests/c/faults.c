/* faults.c - a disk that fails when it is told to: calls of the C library on what lies in one
 * folder.
 *
 * Loaded before a program (LD_PRELOAD) by tests/test_faults.py, whose program arms it: the n-th of
 * the calls of a kind then fails with an error, does only a part of its work, or is the last thing
 * that the process does, as if the power went.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, RENAME = 16, ROOM = 32 };
enum { PARTLY = -1, STOP = -2 }; /* in place of an error number */

static char folder[PATH_MAX];
static size_t n_folder;
static atomic_int kinds, left, what;
static atomic_int n_calls;
static atomic_int is_dirty, n_unsynced; /* written since the last fsync; renamed while so */

/* Calls of some kinds (the sum of their numbers) are counted from now on, and the n-th from now
 * fails, n from 0; a negative n: none does. */
void faults_arm(const char *in, int of, int n, int error) {
    snprintf(folder, sizeof folder, "%s/", in);
    n_folder = strlen(folder);
    atomic_store(&what, error);
    atomic_store(&n_calls, 0);
    atomic_store(&left, n);
    atomic_store(&kinds, of);
}

/* Calls since then; none is counted or fails any more. */
int faults_disarm(void) {
    atomic_store(&kinds, 0);
    return atomic_load(&n_calls);
}

/* Files that got their names before their bytes were on the disk, ever. */
int faults_unsynced(void) {
    return atomic_load(&n_unsynced);
}

static int is_inside(int fd, const char *path) {
    char link[32], found[PATH_MAX];
    if (path) return strncmp(path, folder, n_folder) == 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, found, sizeof found - 1);
    return n >= (ssize_t)n_folder && memcmp(found, folder, n_folder) == 0;
}

static void note(int kind, int fd, const char *path) {
    if (n_folder == 0 || !is_inside(fd, path)) return;
    if (kind & (WRITE | ROOM)) atomic_store(&is_dirty, 1);
    if (kind & RENAME) atomic_fetch_add(&n_unsynced, atomic_load(&is_dirty));
    if (kind & SYNC) atomic_store(&is_dirty, 0);
}

/* What happens to a call: 0 nothing, an error number, or PARTLY. */
static int fault(int kind, int fd, const char *path) {
    note(kind, fd, path);
    if (!(atomic_load(&kinds) & kind) || !is_inside(fd, path)) return 0;
    atomic_fetch_add(&n_calls, 1);
    if (atomic_fetch_sub(&left, 1) != 0) return 0;
    int error = atomic_load(&what);
    if (error == STOP) _exit(137);
    return error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(error) return errno = (error), -1

/* Both take the descriptor, the data and n, and perhaps where in the file that is. */
#define READ_AS(name, kind, type, at_in, at)                                                       \
    ssize_t name(int fd, type data, size_t n at_in) {                                              \
        int error = fault(kind, fd, NULL);                                                         \
        if (error > 0) FAIL(error);                                                                \
        return REAL(name)(fd, data, error == PARTLY && n > 1 ? n / 2 : n at);                      \
    }
#define AND , /* within an argument */
READ_AS(read, READ, void *, , )
READ_AS(pread, READ, void *, AND off_t at, AND at)
READ_AS(pread64, READ, void *, AND off64_t at, AND at)
READ_AS(write, WRITE, const void *, , )
READ_AS(pwrite, WRITE, const void *, AND off_t at, AND at)
READ_AS(pwrite64, WRITE, const void *, AND off64_t at, AND at)

#define OPEN_AS(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                   \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                    \
        va_end(more);                                                                              \
        int error = fault(OPEN, -1, path);                                                         \
        if (error > 0) FAIL(error);                                                                \
        return REAL(name)(path, flags, mode);                                                      \
    }
OPEN_AS(open)
OPEN_AS(open64)

int fsync(int fd) {
    int error = fault(SYNC, fd, NULL);
    if (error > 0) FAIL(error);
    return REAL(fsync)(fd);
}

int rename(const char *from, const char *to) {
    int error = fault(RENAME, -1, to);
    if (error > 0) FAIL(error);
    return REAL(rename)(from, to);
}

int posix_fallocate(int fd, off_t at, off_t n) {
    int error = fault(ROOM, fd, NULL);
    return error > 0 ? error : REAL(posix_fallocate)(fd, at, n);
}

int posix_fallocate64(int fd, off64_t at, off64_t n) {
    int error = fault(ROOM, fd, NULL);
    return error > 0 ? error : REAL(posix_fallocate64)(fd, at, n);
}
