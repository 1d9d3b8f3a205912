/* ggml_rest.c - what ggml.c wants of its other files: the lock around its tables, which its own
 * source has in C++, and functions of its backends that nothing we use ever calls, though linkers
 * ask for them. */
#include <ggml-backend.h>
#include <ggml-threading.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_flag is_locked = ATOMIC_FLAG_INIT;

/* Tables are made once, in less than a millisecond: whoever comes meanwhile waits on his feet. */
void ggml_critical_section_start(void) {
    while (atomic_flag_test_and_set_explicit(&is_locked, memory_order_acquire)) continue;
}

void ggml_critical_section_end(void) {
    atomic_flag_clear_explicit(&is_locked, memory_order_release);
}

enum ggml_backend_buffer_usage ggml_backend_buffer_get_usage(ggml_backend_buffer_t buffer) {
    (void)buffer;
    abort();
}

void ggml_backend_tensor_set(struct ggml_tensor *tensor, const void *data, size_t offset,
                             size_t size) {
    (void)tensor, (void)data, (void)offset, (void)size;
    abort();
}

void ggml_backend_tensor_memset(struct ggml_tensor *tensor, uint8_t value, size_t offset,
                                size_t size) {
    (void)tensor, (void)value, (void)offset, (void)size;
    abort();
}
