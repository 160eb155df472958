/* The mapping functions of the runtime, as in its platform layer: strong definitions. */
#define _GNU_SOURCE
#include "runtime.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int runtime_mapping_calls;

static void *pointer(int64_t address) { return (void *)(intptr_t)address; }
static int64_t status(int result) { return result == 0 ? 0 : -1; }

bool rt_munmap(void *address, int64_t size) {
    runtime_mapping_calls++;
    return address && size > 0 && munmap(address, (size_t)size) == 0;
}

bool rt_madvise(void *address, int64_t size, int64_t advice) {
    static const int known[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED};
    runtime_mapping_calls++;
    return address && size > 0 && advice >= 0 && advice <= 4 && madvise(address, (size_t)size, known[advice]) == 0;
}

bool rt_msync(void *address, int64_t size) {
    runtime_mapping_calls++;
    return address && size > 0 && msync(address, (size_t)size, MS_SYNC) == 0;
}

int64_t rt_mmap_raw(int64_t address, int64_t length, int64_t prot, int64_t flags, int64_t fd, int64_t offset) {
    runtime_mapping_calls++;
    if (length <= 0 || offset < 0 || ((prot & PROT_WRITE) && (prot & PROT_EXEC))) {
        return -1;
    }
    void *start = mmap(pointer(address), (size_t)length, (int)prot, (int)flags, (int)fd, offset);
    return start == MAP_FAILED ? -1 : (int64_t)(intptr_t)start;
}

int64_t rt_munmap_raw(int64_t address, int64_t length) {
    runtime_mapping_calls++;
    return status(munmap(pointer(address), (size_t)length));
}

int64_t rt_mprotect(int64_t address, int64_t length, int64_t prot) {
    runtime_mapping_calls++;
    if ((prot & PROT_WRITE) && (prot & PROT_EXEC)) {
        return -1;
    }
    if (mprotect(pointer(address), (size_t)length, (int)prot) != 0) {
        return -1;
    }
    if (prot & PROT_EXEC) {
        __builtin___clear_cache(pointer(address), (char *)pointer(address) + length);
    }
    return 0;
}

int64_t rt_madvise_raw(int64_t address, int64_t length, int64_t advice) {
    runtime_mapping_calls++;
    return status(madvise(pointer(address), (size_t)length, (int)advice));
}

int64_t rt_msync_flags(int64_t address, int64_t length, int64_t flags) {
    runtime_mapping_calls++;
    return status(msync(pointer(address), (size_t)length, (int)flags));
}

int64_t rt_mlock(int64_t address, int64_t length) {
    runtime_mapping_calls++;
    return status(mlock(pointer(address), (size_t)length));
}

int64_t rt_munlock(int64_t address, int64_t length) {
    runtime_mapping_calls++;
    return status(munlock(pointer(address), (size_t)length));
}

int64_t rt_open_fd(const char *path, int64_t flags, int64_t mode) {
    runtime_mapping_calls++;
    return open(path, (int)flags, (mode_t)mode);
}

int64_t rt_close_fd(int64_t fd) {
    runtime_mapping_calls++;
    return fd < 0 ? -1 : status(close((int)fd));
}

int64_t rt_page_size(void) {
    runtime_mapping_calls++;
    return sysconf(_SC_PAGESIZE);
}
