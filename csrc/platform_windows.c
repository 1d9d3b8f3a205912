/* platform_windows.c - platform.h for Windows. */
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <windows.h>

#include "platform.h"

/* ---- files and memory ----------------------------------------------------------------------- */

static int error_number(DWORD error) {
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_NO_UNICODE_TRANSLATION: return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION: return EACCES;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_OUTOFMEMORY: return ENOMEM;
    default: return EIO;
    }
}

/* The path, which is UTF-8, as the system has it; free() it. NULL: *error says why. */
static wchar_t *wide_path(const char *path, DWORD *error) {
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    *error = n > 0 ? ERROR_OUTOFMEMORY : GetLastError();
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof *wide) : NULL;
    if (wide) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, n);
    return wide;
}

static int map_file(HANDLE file, file_map *map) {
    LARGE_INTEGER size;
    if (GetFileType(file) != FILE_TYPE_DISK) return EINVAL;
    if (!GetFileSizeEx(file, &size)) return error_number(GetLastError());
    if ((uint64_t)size.QuadPart > SIZE_MAX) return EFBIG;
    if (size.QuadPart == 0) return 0;
    HANDLE section = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    if (!section) return error_number(GetLastError());
    const void *data = MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0);
    int error = data ? 0 : error_number(GetLastError());
    CloseHandle(section); /* the view keeps it */
    if (data) *map = (file_map){data, (size_t)size.QuadPart};
    return error;
}

int platform_map(const char *path, file_map *map) {
    *map = (file_map){0};
    DWORD failure;
    wchar_t *wide = wide_path(path, &failure);
    if (!wide) return error_number(failure);
    DWORD attributes = GetFileAttributesW(wide);
    if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY) {
        free(wide);
        return EISDIR;
    }
    /* Others may rename the file or put another in its place meanwhile, as elsewhere. */
    HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    failure = GetLastError();
    free(wide);
    if (file == INVALID_HANDLE_VALUE) return error_number(failure);
    int error = map_file(file, map);
    CloseHandle(file);
    return error;
}

void platform_unmap(file_map *map) {
    if (map->data) UnmapViewOfFile(map->data);
    *map = (file_map){0};
}

/* Pages that are not locked leave the working set by being unlocked: a wish. */
void platform_forget(const void *data, size_t size) {
    if (size > 0) VirtualUnlock((void *)data, size);
}

void *platform_alloc_large(size_t size) {
    enum { LINE = 64 }; /* large pages need a privilege that ordinary users lack */
    return _aligned_malloc(size, LINE);
}

void platform_free_large(void *data) {
    _aligned_free(data);
}

/* ---- processes, processors and time --------------------------------------------------------- */

int platform_process(void) {
    return (int)GetCurrentProcessId();
}

int platform_n_processors(double *quota) {
    DWORD_PTR mine, all;
    int n = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all))
        for (; mine; mine &= mine - 1) n++;
    if (quota) *quota = 0;
    return n < 1 ? 1 : n;
}

#if defined(__aarch64__)
int platform_arm_features(void) {
    return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) ? ARM_DOTPROD : 0;
}
#endif

int64_t platform_clock_ns(void) {
    LARGE_INTEGER frequency, t;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&t);
    int64_t second = frequency.QuadPart;
    return t.QuadPart / second * 1000000000 + t.QuadPart % second * 1000000000 / second;
}

/* ---- threads -------------------------------------------------------------------------------- */

typedef struct {
    HANDLE handle;
    void *(*run)(void *);
    void *user;
} thread_start;

static_assert(sizeof(thread_start) <= sizeof(platform_thread), "room for a thread");
static_assert(sizeof(SRWLOCK) <= sizeof(platform_mutex), "room for a mutex");
static_assert(sizeof(CONDITION_VARIABLE) <= sizeof(platform_event), "room for a condition");

static thread_start *thread_of(platform_thread *thread) {
    return (thread_start *)(void *)thread->opaque;
}

static SRWLOCK *mutex_of(platform_mutex *mutex) {
    return (SRWLOCK *)(void *)mutex->opaque;
}

static CONDITION_VARIABLE *condition_of(platform_event *event) {
    return (CONDITION_VARIABLE *)(void *)event->opaque;
}

static DWORD WINAPI run_thread(void *user) {
    const thread_start *start = user;
    start->run(start->user);
    return 0;
}

int platform_thread_start(platform_thread *thread, void *(*run)(void *), void *user) {
    thread_start *start = thread_of(thread);
    *start = (thread_start){.run = run, .user = user};
    start->handle = CreateThread(NULL, 0, run_thread, start, 0, NULL);
    return start->handle ? 0 : -1;
}

void platform_thread_join(platform_thread *thread) {
    WaitForSingleObject(thread_of(thread)->handle, INFINITE);
    CloseHandle(thread_of(thread)->handle);
}

void platform_yield(void) {
    SwitchToThread();
}

void platform_mutex_init(platform_mutex *mutex) {
    InitializeSRWLock(mutex_of(mutex));
}

void platform_mutex_free(platform_mutex *mutex) {
    (void)mutex; /* holds nothing */
}

void platform_mutex_lock(platform_mutex *mutex) {
    AcquireSRWLockExclusive(mutex_of(mutex));
}

void platform_mutex_unlock(platform_mutex *mutex) {
    ReleaseSRWLockExclusive(mutex_of(mutex));
}

void platform_event_init(platform_event *event) {
    InitializeConditionVariable(condition_of(event));
}

void platform_event_free(platform_event *event) {
    (void)event; /* holds nothing */
}

void platform_event_wait(platform_event *event, platform_mutex *mutex, int64_t ns) {
    DWORD ms =
        ns < 0 ? INFINITE : (DWORD)(ns / 1000000); /* rather early than late: its unit is long */
    SleepConditionVariableSRW(condition_of(event), mutex_of(mutex), ms, 0);
}

void platform_event_wake(platform_event *event) {
    WakeConditionVariable(condition_of(event));
}

void platform_event_wake_all(platform_event *event) {
    WakeAllConditionVariable(condition_of(event));
}
