/* A program that generated code calls back, and that a debugger stops there. */
#include "check.h"

/* x86-64: a frame, and a call of the address in rdi with one argument less.
 * push rbp; mov rbp, rsp; mov rax, rdi; mov rdi, rsi; mov rsi, rdx; call rax; pop rbp; ret */
static const uint8_t through[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7,
                                  0x48, 0x89, 0xd6, 0xff, 0xd0, 0x5d, 0xc3};

/* The same without a frame pointer, with one argument less:
 * push rbx; sub rsp, 32; mov rax, rdi; mov rdi, rsi; call rax; add rsp, 32; pop rbx; ret */
static const uint8_t frameless[] = {0x53, 0x48, 0x83, 0xec, 0x20, 0x48, 0x89, 0xf8, 0x48, 0x89,
                                    0xf7, 0xff, 0xd0, 0x48, 0x83, 0xc4, 0x20, 0x5b, 0xc3};

__attribute__((noinline)) int64_t stop_here(int64_t number) {
    __asm__ volatile("" ::: "memory");
    return number + 1;
}

__attribute__((noinline)) void gone(void) { __asm__ volatile("" ::: "memory"); }

int main(void) {
    CHECK(smf_gdb_enable());
    RuntimeValue *framed = smf_bytes_new(through, sizeof through);
    RuntimeValue *bare = smf_bytes_new(frameless, sizeof frameless);
    int64_t block = rt_alloc_exec_memory(4096);
    CHECK(rt_write_exec_memory(block, framed, 0) == sizeof through);
    CHECK(rt_write_exec_memory(block, bare, 512) == sizeof frameless);
    CHECK(smf_name_code(block, sizeof through, "generated_outer"));
    CHECK(smf_name_code(block + 512, sizeof frameless, "generated_inner"));
    /* outer calls inner, which calls stop_here. */
    CHECK(rt_call_function_3(block, block + 512, ADDRESS(stop_here), 41) == 42);
    CHECK(rt_free_exec_memory(block, 4096));
    gone();
    puts("ok");
    return 0;
}
