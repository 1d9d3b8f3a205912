/* ggml_lock.c - the lock around ggml's tables, which its own source has in C++. */
#include <ggml-threading.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void ggml_critical_section_start(void) {
    pthread_mutex_lock(&lock);
}

void ggml_critical_section_end(void) {
    pthread_mutex_unlock(&lock);
}
