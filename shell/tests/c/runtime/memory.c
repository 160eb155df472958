/* Raw memory and calls of the runtime: strong definitions, which abort on an invalid address. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

int runtime_memory_calls;

static void *place(int64_t address, int64_t offset) {
    runtime_memory_calls++;
    if (address <= 0 || offset < 0) {
        abort();
    }
    return (void *)(intptr_t)(address + offset);
}

int64_t rt_ptr_read_u8(int64_t address, int64_t offset) { return *(uint8_t *)place(address, offset); }
void rt_ptr_write_u8(int64_t address, int64_t offset, int64_t value) { *(uint8_t *)place(address, offset) = (uint8_t)value; }
void rt_ptr_write_i32(int64_t address, int64_t offset, int32_t value) { memcpy(place(address, offset), &value, 4); }
void rt_ptr_write_i64(int64_t address, int64_t offset, int64_t value) { memcpy(place(address, offset), &value, 8); }

int64_t rt_ptr_write_bytes_raw(int64_t address, int64_t offset, int64_t source, int64_t length) {
    if (length != 0) {
        memcpy(place(address, offset), place(source, 0), (size_t)length);
    }
    return length;
}

int64_t rt_call_ptr_0(int64_t address) { return ((int64_t(*)(void))place(address, 0))(); }
int64_t rt_call_ptr_1(int64_t address, int64_t a) { return ((int64_t(*)(int64_t))place(address, 0))(a); }
int64_t rt_call_ptr_2(int64_t address, int64_t a, int64_t b) {
    return ((int64_t(*)(int64_t, int64_t))place(address, 0))(a, b);
}
int64_t rt_call_ptr_3(int64_t address, int64_t a, int64_t b, int64_t c) {
    return ((int64_t(*)(int64_t, int64_t, int64_t))place(address, 0))(a, b, c);
}
