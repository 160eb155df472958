/* What works, and what is told, where the C library has no memory. */
#include "check.h"

#define SAMPLES "../tests/samples/"

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static int is_exhausted;

void *malloc(size_t size) {
    return is_exhausted ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return is_exhausted ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    return is_exhausted ? NULL : __libc_realloc(old, size);
}

int main(void) {
    uint64_t empty = smf_loader_open(NULL), loader = smf_loader_open(NULL);
    CHECK(empty && loader && smf_loader_load(loader, SAMPLES "packed.smf"));

    is_exhausted = 1;
    bool closed = smf_loader_close(empty) && smf_loader_close(loader);
    /* The first error of the thread. */
    bool found = smf_loader_close(loader);
    SmfError error = smf_last_error();
    is_exhausted = 0;

    CHECK(closed && !found);
    CHECK(error.code == SMF_ERROR_HANDLE && strstr(error.text, "no memory"));
    CHECK(!smf_loader_close(loader) && strstr(smf_last_error().text, "is not an open loader"));
    puts("ok");
    return 0;
}
