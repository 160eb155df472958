/* A program that spends its time in generated code: two functions in one block, and the first once more in a data
 * block that was made executable. */
#include "check.h"

#include <time.h>
#include <unistd.h>

/* x86-64: `1: dec rdi; jnz 1b; mov eax, 1; ret`. */
static const uint8_t loop[] = {0x48, 0xff, 0xcf, 0x75, 0xfb, 0xb8, 1, 0, 0, 0, 0xc3};

int main(int count, char **arguments) {
    CHECK(count < 2 || smf_jitdump_enable(arguments[1]));
    RuntimeValue *code = smf_bytes_new(loop, sizeof loop);
    int64_t block = rt_alloc_exec_memory(4096), data = rt_alloc_rw_memory(64);
    CHECK(rt_write_exec_memory(block, code, 64) == sizeof loop);
    CHECK(rt_write_exec_memory(block, code, 512) == sizeof loop);
    memcpy((void *)(intptr_t)data, loop, sizeof loop);
    CHECK(rt_make_executable(data, 64));
    CHECK(smf_name_code(block + 64, sizeof loop, "generated_first"));
    CHECK(smf_name_code(block + 512, sizeof loop, "generated_second"));
    CHECK(smf_name_code(data, sizeof loop, "generated_in_data"));
    for (clock_t end = clock() + CLOCKS_PER_SEC * 3 / 4; clock() < end;) {
        CHECK(rt_call_function_1(block + 64, 1000000) == 1);
        CHECK(rt_call_function_1(block + 512, 1000000) == 1);
        CHECK(rt_call_function_1(data, 1000000) == 1);
    }
    printf("ok\nprocess %d\n", (int)getpid());
    return 0;
}
