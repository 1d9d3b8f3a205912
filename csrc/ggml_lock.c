/* ggml_lock.c - the lock around ggml's tables, which its own source has in C++. They are made once,
 * in less than a millisecond, so that whoever comes meanwhile waits on his feet. */
#include <ggml-threading.h>
#include <stdatomic.h>

static atomic_flag is_locked = ATOMIC_FLAG_INIT;

void ggml_critical_section_start(void) {
    while (atomic_flag_test_and_set_explicit(&is_locked, memory_order_acquire)) continue;
}

void ggml_critical_section_end(void) {
    atomic_flag_clear_explicit(&is_locked, memory_order_release);
}
