/* A program that generated code calls back, where a debugger stops. */
#include "check.h"

/* x86-64: a frame, and a call of the address in rdi with one argument less.
 * push rbp; mov rbp, rsp; mov rax, rdi; mov rdi, rsi; mov rsi, rdx; call rax; pop rbp; ret */
static const uint8_t through[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7,
                                  0x48, 0x89, 0xd6, 0xff, 0xd0, 0x5d, 0xc3};

__attribute__((noinline)) int64_t stop_here(int64_t number) {
    __asm__ volatile("" ::: "memory");
    return number + 1;
}

__attribute__((noinline)) void gone(void) { __asm__ volatile("" ::: "memory"); }

int main(void) {
    CHECK(smf_gdb_enable());
    RuntimeValue *code = smf_bytes_new(through, sizeof through);
    int64_t block = rt_alloc_exec_memory(4096);
    CHECK(rt_write_exec_memory(block, code, 0) == sizeof through);
    CHECK(rt_write_exec_memory(block, code, 256) == sizeof through);
    CHECK(smf_name_code(block, sizeof through, "generated_outer"));
    CHECK(smf_name_code(block + 256, sizeof through, "generated_inner"));
    /* outer calls inner calls stop_here. */
    CHECK(rt_call_function_3(block, block + 256, ADDRESS(stop_here), 41) == 42);
    CHECK(rt_free_exec_memory(block, 4096));
    gone();
    puts("ok");
    return 0;
}
