/* Under a policy that memory which was writable never becomes executable: PR_SET_MDWE, Linux 6.3. */
#include "check.h"

#include <sys/prctl.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

int main(void) {
    if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0) {
        puts("ok, but this kernel has no PR_SET_MDWE");
        return 0;
    }
    const uint8_t seven[] = RETURNS(7);
    RuntimeValue *code = smf_bytes_new(seven, sizeof seven);
    /* Code is mapped twice, so that no mapping gains execute permission. */
    int64_t block = rt_alloc_exec_memory(6), data = rt_alloc_rw_memory(6);
    CHECK(rt_write_exec_memory(block, code, 0) == 6 && rt_call_function_0(block) == 7);
    CHECK(rt_write_exec_memory(data, code, 0) == 6);
    /* Making data executable would add it. */
    REFUSED(!rt_make_executable(data, 6), SMF_ERROR_POLICY);
    CHECK(strstr(smf_last_error().text, "PR_SET_MDWE") && rt_get_protection(data) == 3);
    REFUSED(rt_call_function_0(data) == 0, SMF_ERROR_NOT_EXECUTABLE);
    /* As would making writable code executable again. */
    CHECK(rt_make_writable(block, 6));
    REFUSED(!rt_make_executable(block, 6), SMF_ERROR_POLICY);
    CHECK(rt_free_exec_memory(data, 6));
    CHECK(rt_exec_memory_count() == 1 && watch() > 0);
    puts("ok");
    return 0;
}
