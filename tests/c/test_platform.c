/* test_platform.c - what the core asks of an operating system, on the one at hand: files, whatever
 * their names, threads that wait for each other, and clocks. */
#include "platform.h"

#include <errno.h>
#include <string.h>

#include "check.h"

static const char NAME[] = "m\xc3\xb6"
                           "del \xe6\xa8\xa1.bin"; /* UTF-8 */

static FILE *create(void) {
#if defined(_WIN32)
    return _wfopen(L"m\u00f6del \u6a21.bin", L"wb");
#else
    return fopen(NAME, "wb");
#endif
}

static void discard(void) {
#if defined(_WIN32)
    CHECK(_wremove(L"m\u00f6del \u6a21.bin") == 0);
#else
    CHECK(remove(NAME) == 0);
#endif
}

static void test_files(void) {
    enum { N = 300000 };
    file_map map;
    CHECK(platform_map(NAME, &map) == ENOENT && !map.data);
    CHECK(platform_map("\xff", &map) == ENOENT); /* no UTF-8 */
    CHECK(platform_map(".", &map) == EISDIR);
    FILE *f = create();
    CHECK(f && fclose(f) == 0);
    CHECK(platform_map(NAME, &map) == 0 && !map.data && map.size == 0);
    f = create();
    for (int i = 0; i < N; i++) CHECK(f && fputc(i % 251 * 7 % 251, f) >= 0);
    CHECK(fclose(f) == 0);
    CHECK(platform_map(NAME, &map) == 0 && map.size == N);
    platform_forget(map.data, map.size); /* it is read again when it is needed */
    for (int i = 0; i < N; i++) CHECK(map.data[i] == i % 251 * 7 % 251);
    platform_unmap(&map);
    CHECK(!map.data);
    discard();
}

static void test_memory(void) {
    for (size_t size = 1; size < (size_t)1 << 24; size *= 7) {
        unsigned char *data = platform_alloc_large(size);
        CHECK(data && (uintptr_t)data % 64 == 0);
        memset(data, 1, size);
        platform_free_large(data);
    }
    platform_free_large(NULL);
}

typedef struct {
    platform_mutex mutex;
    platform_event called, all_called;
    int n_here, n_calls;
} meeting;

static void *meet(void *user) {
    meeting *m = user;
    platform_mutex_lock(&m->mutex);
    m->n_here++;
    platform_event_wake(&m->called);
    while (m->n_calls == 0) platform_event_wait(&m->all_called, &m->mutex, -1);
    m->n_here--;
    platform_mutex_unlock(&m->mutex);
    return NULL;
}

static void test_threads(void) {
    enum { N = 5, LONG_NS = 100000000 };
    meeting m = {.n_here = 0};
    platform_thread threads[N];
    platform_mutex_init(&m.mutex);
    platform_event_init(&m.called);
    platform_event_init(&m.all_called);
    for (int i = 0; i < N; i++) CHECK(platform_thread_start(&threads[i], meet, &m) == 0);
    platform_mutex_lock(&m.mutex);
    while (m.n_here < N) platform_event_wait(&m.called, &m.mutex, -1);
    int64_t begin = platform_clock_ns();
    while (platform_clock_ns() - begin < LONG_NS) /* nobody calls: time alone ends it */
        platform_event_wait(&m.called, &m.mutex, LONG_NS - (platform_clock_ns() - begin));
    CHECK(m.n_here == N);
    m.n_calls = 1;
    platform_event_wake_all(&m.all_called);
    platform_mutex_unlock(&m.mutex);
    for (int i = 0; i < N; i++) platform_thread_join(&threads[i]);
    CHECK(m.n_here == 0);
    platform_event_free(&m.called);
    platform_event_free(&m.all_called);
    platform_mutex_free(&m.mutex);
}

int main(void) {
    test_files();
    test_memory();
    test_threads();
    double quota;
    int n = platform_n_processors(&quota);
    CHECK(n >= 1 && (quota == 0 || n <= quota || n == 1) && n == platform_n_processors(NULL));
    CHECK(platform_process() > 0);
    platform_yield();
    return 0;
}
