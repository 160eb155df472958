/* Calls a function in three ways, for a debugger that counts instructions between the two markers. */
#include "check.h"

#define MARKER __attribute__((noinline, used))

MARKER void begin(const char *way) { __asm__ volatile("" ::"r"(way) : "memory"); }
MARKER void end(void) { __asm__ volatile("" ::: "memory"); }

/* lea rax, [rdi + 1]; ret */
static const uint8_t CODE[] = {0x48, 0x8d, 0x47, 0x01, 0xc3};

/* Not through a stub of the dynamic linker. */
static int64_t (*volatile direct)(int64_t);
static int64_t (*volatile function)(int64_t, int64_t) = rt_call_function_1;
static int64_t (*volatile pointer)(int64_t, int64_t) = rt_call_ptr_1;

int main(void) {
    int64_t address = rt_alloc_exec_memory(4096);
    RuntimeValue *code = smf_bytes_new(CODE, sizeof CODE);
    CHECK(rt_write_exec_memory(address, code, 0) == sizeof CODE && smf_value_free(code));
    direct = (int64_t (*)(int64_t))(intptr_t)address;
    /* The first calls of a thread take longer. */
    CHECK(direct(1) == 2 && function(address, 1) == 2 && pointer(address, 1) == 2);
    int64_t (*call)(int64_t) = direct;
    begin("direct");
    int64_t result = call(41);
    end();
    CHECK(result == 42);
    int64_t (*by_address)(int64_t, int64_t) = function;
    begin("function");
    result = by_address(address, 41);
    end();
    CHECK(result == 42);
    begin("function returning 0");
    result = by_address(address, -1);
    end();
    CHECK(result == 0);
    by_address = pointer;
    begin("pointer");
    result = by_address(address, 41);
    end();
    CHECK(result == 42);
    puts("ok");
    return 0;
}
