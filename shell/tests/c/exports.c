/* Every export, with valid and invalid arguments. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t write_bytes(int64_t address, const uint8_t *bytes, int64_t length, int64_t offset) {
    RuntimeValue *code = smf_bytes_new(bytes, length);
    CHECK(code);
    int64_t written = rt_write_exec_memory(address, code, offset);
    CHECK(smf_value_free(code));
    return written;
}

static int64_t returning(int number) {
    const uint8_t code[] = RETURNS(number);
    int64_t address = rt_alloc_exec_memory(sizeof code);
    CHECK(address && write_bytes(address, code, sizeof code, 0) == sizeof code);
    return address;
}

static void values(void) {
    RuntimeValue *text = smf_text_new((const uint8_t *)"hello", 5);
    CHECK(text && smf_text_length(text) == 5 && !strcmp((const char *)smf_text_data(text), "hello"));
    RuntimeValue *bytes = smf_bytes_new(NULL, 3);
    CHECK(bytes && smf_bytes_length(bytes) == 3 && !memcmp(smf_bytes_data(bytes), "\0\0\0", 3));
    memcpy(smf_bytes_data(bytes), "xyz", 3);
    CHECK(!memcmp(smf_bytes_data(bytes), "xyz", 3));
    RuntimeValue *pair = smf_pair_new(INT64_MIN, -2);
    CHECK(pair && smf_pair_first(pair) == INT64_MIN && smf_pair_second(pair) == -2);
    RuntimeValue *empty = smf_text_new(NULL, 0);
    CHECK(empty && smf_text_length(empty) == 0 && smf_text_data(empty));

    REFUSED(smf_text_length(bytes) == -1, SMF_ERROR_VALUE);
    REFUSED(smf_text_data(pair) == NULL, SMF_ERROR_VALUE);
    REFUSED(smf_bytes_data(text) == NULL, SMF_ERROR_VALUE);
    REFUSED(smf_bytes_length(pair) == -1, SMF_ERROR_VALUE);
    REFUSED(smf_pair_first(text) == 0, SMF_ERROR_VALUE);
    REFUSED(smf_pair_second(bytes) == 0, SMF_ERROR_VALUE);
    REFUSED(smf_text_new(NULL, 1) == NULL, SMF_ERROR_ARGUMENT);
    REFUSED(smf_text_new((const uint8_t *)"", -1) == NULL, SMF_ERROR_ARGUMENT);
    REFUSED(smf_bytes_new(NULL, -1) == NULL, SMF_ERROR_ARGUMENT);
    REFUSED(smf_bytes_new(NULL, INT64_MAX) == NULL, SMF_ERROR_NO_MEMORY);
    REFUSED(smf_bytes_new(NULL, INT64_MAX / 4) == NULL, SMF_ERROR_NO_MEMORY);
    REFUSED(smf_bytes_data(NULL) == NULL, SMF_ERROR_ARGUMENT);
    REFUSED(smf_bytes_length(NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_text_data(NULL) == NULL, SMF_ERROR_ARGUMENT);
    REFUSED(smf_text_length(NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_pair_first(NULL) == 0, SMF_ERROR_ARGUMENT);
    REFUSED(smf_pair_second(NULL) == 0, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_value_free(NULL), SMF_ERROR_ARGUMENT);
    /* Invalid tokens, and pointers to other memory. */
    int64_t local = 0;
    void *const wrong[] = {&local, (void *)1, (void *)-1, (void *)values, (char *)bytes + 1};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        REFUSED(smf_bytes_data(wrong[i]) == NULL, SMF_ERROR_VALUE);
        REFUSED(!smf_value_free(wrong[i]), SMF_ERROR_VALUE);
    }

    CHECK(smf_value_free(text) && smf_value_free(bytes) && smf_value_free(pair) && smf_value_free(empty));
    REFUSED(!smf_value_free(bytes), SMF_ERROR_VALUE);
    REFUSED(smf_bytes_data(bytes) == NULL, SMF_ERROR_VALUE);
    /* The first value selects the built-in set for good. */
    SmfValueHooks hooks = {.size = sizeof hooks};
    REFUSED(!smf_set_value_hooks(NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_set_value_hooks(&hooks), SMF_ERROR_ARGUMENT);
    hooks.size = 8;
    REFUSED(!smf_set_value_hooks(&hooks), SMF_ERROR_ARGUMENT);
    hooks.size = -1;
    REFUSED(!smf_set_value_hooks(&hooks), SMF_ERROR_ARGUMENT);
}

/* New code memory is zeros, becomes callable by a write, and is not writable at its address. */
static void code(void) {
    int64_t address = rt_alloc_exec_memory(100);
    CHECK(address && address % PAGE == 0);
    CHECK(rt_exec_memory_total() == 100 && rt_exec_memory_count() == 1);
    const uint8_t *bytes = (const uint8_t *)(intptr_t)address;
    for (int i = 0; i < PAGE; i++) {
        CHECK(bytes[i] == 0);
    }
    CHECK(rt_get_protection(address) == (SMF_PROT_READ | SMF_PROT_EXEC) && rt_is_executable(address));
    REFUSED(rt_call_function_0(address) == 0, SMF_ERROR_NOT_EXECUTABLE); /* never published */
    REFUSED(rt_get_function_pointer(address) == 0, SMF_ERROR_NOT_EXECUTABLE);

    const uint8_t one[] = RETURNS(1), two[] = RETURNS(2);
    CHECK(write_bytes(address, one, 0, 0) == 0);
    REFUSED(rt_call_function_0(address) == 0, SMF_ERROR_NOT_EXECUTABLE);
    CHECK(write_bytes(address, one, sizeof one, 0) == sizeof one);
    CHECK(rt_get_function_pointer(address) == address && rt_call_function_0(address) == 1);
    CHECK(((int64_t(*)(void))(intptr_t)address)() == 1);
    /* More code, up to the end of the pages. */
    int64_t last = PAGE - sizeof two;
    CHECK(write_bytes(address, two, sizeof two, last) == sizeof two);
    CHECK(rt_call_function_0(address) == 1 && rt_call_function_0(address + last) == 2);
    CHECK(rt_get_function_pointer(address + last) == address + last);
    CHECK(write_bytes(address, two, sizeof two, 0) == sizeof two && rt_call_function_0(address) == 2);
    smf_clear_error();
    rt_flush_icache(address, 100);
    rt_flush_icache(address + 16, PAGE - 16);
    CHECK(smf_last_error().code == SMF_OK);

    /* Writable and executable in turn. */
    CHECK(rt_make_writable(address, 100) && rt_get_protection(address) == (SMF_PROT_READ | SMF_PROT_WRITE));
    watch();
    CHECK(!rt_is_executable(address));
    REFUSED(rt_call_function_0(address) == 0, SMF_ERROR_NOT_EXECUTABLE);
    memcpy((void *)(intptr_t)address, one, sizeof one);
    CHECK(rt_make_executable(address, 100) && rt_is_executable(address));
    watch();
    CHECK(rt_call_function_0(address) == 1);
    const struct { int32_t asked, kernel; } rights[] = {
        {SMF_PROT_NONE, 0}, {SMF_PROT_READ, 1}, {SMF_PROT_READ | SMF_PROT_WRITE, 3},
        {SMF_PROT_READ | SMF_PROT_EXEC, 5}, {SMF_PROT_WRITE, 3}, {SMF_PROT_EXEC, 5},
    };
    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++) {
        CHECK(rt_set_protection(address, 100, rights[i].asked));
        CHECK(rt_get_protection(address) == rights[i].kernel);
        CHECK(rt_is_executable(address) == (rights[i].kernel == 5));
        watch();
        if (rights[i].kernel == 5) {
            CHECK(rt_call_function_0(address) == 1);
        } else {
            REFUSED(rt_call_function_0(address) == 0, SMF_ERROR_NOT_EXECUTABLE);
        }
    }
    REFUSED(!rt_set_protection(address, 100, SMF_PROT_WRITE | SMF_PROT_EXEC), SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(!rt_set_protection(address, 100, 7), SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(!rt_set_protection(address, 100, 8), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_set_protection(address, 100, -1), SMF_ERROR_ARGUMENT);
    CHECK(rt_set_protection(address, 100, SMF_PROT_NONE) && rt_free_exec_memory(address, 100));
    CHECK(rt_exec_memory_total() == 0 && rt_exec_memory_count() == 0);
}

/* Data may become code and data again, and is zeroed when it is reused. */
static void data(void) {
    int64_t address = rt_alloc_rw_memory(PAGE + 1);
    CHECK(address && rt_get_protection(address + PAGE) == (SMF_PROT_READ | SMF_PROT_WRITE));
    uint8_t *bytes = (uint8_t *)(intptr_t)address;
    for (int i = 0; i < 2 * PAGE; i++) {
        CHECK(bytes[i] == 0);
    }
    memset(bytes, 0xcc, 2 * PAGE);
    const uint8_t three[] = RETURNS(3), four[] = RETURNS(4);
    memcpy(bytes, three, sizeof three);
    REFUSED(rt_call_function_0(address) == 0, SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(rt_get_function_pointer(address) == 0, SMF_ERROR_NOT_EXECUTABLE);
    CHECK(rt_make_executable(address, PAGE + 1) && rt_call_function_0(address) == 3);
    CHECK(rt_get_protection(address + PAGE) == (SMF_PROT_READ | SMF_PROT_EXEC));
    CHECK(write_bytes(address, four, sizeof four, 0) == sizeof four && rt_call_function_0(address) == 4);
    CHECK(rt_make_writable(address, PAGE + 1));
    CHECK(write_bytes(address, three, sizeof three, 0) == sizeof three);
    REFUSED(rt_call_function_0(address) == 0, SMF_ERROR_NOT_EXECUTABLE);
    CHECK(bytes[0] == 0xb8 && bytes[1] == 3);
    CHECK(rt_free_exec_memory(address, PAGE + 1));
    int64_t again = rt_alloc_rw_memory(2 * PAGE);
    for (int i = 0; i < 2 * PAGE; i++) {
        CHECK(((uint8_t *)(intptr_t)again)[i] == 0);
    }
    CHECK(rt_free_exec_memory(again, 2 * PAGE));
}

static void sizes(void) {
    const int64_t none[] = {0, -1, INT64_MIN};
    const int64_t enormous[] = {INT64_MAX, INT64_MAX - PAGE, (int64_t)1 << 47, (int64_t)1 << 40, INT64_C(0x7ffffffff000)};
    for (int i = 0; i < 3; i++) {
        REFUSED(rt_alloc_exec_memory(none[i]) == 0, SMF_ERROR_ARGUMENT);
        REFUSED(rt_alloc_rw_memory(none[i]) == 0, SMF_ERROR_ARGUMENT);
    }
    for (int i = 0; i < 5; i++) {
        REFUSED(rt_alloc_exec_memory(enormous[i]) == 0, smf_last_error().code);
        CHECK(smf_last_error().code == SMF_ERROR_ARGUMENT || smf_last_error().code == SMF_ERROR_NO_MEMORY);
        REFUSED(rt_alloc_rw_memory(enormous[i]) == 0, smf_last_error().code);
    }
    int64_t a = returning(5), b = rt_alloc_rw_memory(3 * PAGE);
    const int64_t wrong[] = {5, 7, PAGE - 1, PAGE + 1, 2 * PAGE, (int64_t)1 << 40, INT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        REFUSED(!rt_free_exec_memory(a, wrong[i]), SMF_ERROR_OTHER_SIZE);
        REFUSED(!rt_free_exec_memory(b, wrong[i]), SMF_ERROR_OTHER_SIZE);
        REFUSED(!rt_make_writable(b, wrong[i]), SMF_ERROR_OTHER_SIZE);
        REFUSED(!rt_make_executable(b, wrong[i]), SMF_ERROR_OTHER_SIZE);
        REFUSED(!rt_set_protection(b, wrong[i], SMF_PROT_READ), SMF_ERROR_OTHER_SIZE);
    }
    for (int i = 0; i < 3; i++) {
        REFUSED(!rt_free_exec_memory(a, none[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!rt_make_writable(a, none[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!rt_make_executable(a, none[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!rt_set_protection(a, none[i], SMF_PROT_READ), SMF_ERROR_ARGUMENT);
        REFUSED((rt_flush_icache(a, none[i]), 1), SMF_ERROR_ARGUMENT);
    }
    REFUSED((rt_flush_icache(a, PAGE + 1), 1), SMF_ERROR_OUT_OF_RANGE);
    REFUSED((rt_flush_icache(a, INT64_MAX), 1), SMF_ERROR_OUT_OF_RANGE);
    CHECK(rt_get_protection(b) == 3 && rt_call_function_0(a) == 5);

    /* Writes beyond the end of the block. */
    static uint8_t bytes[2 * PAGE];
    memset(bytes, 0xcc, sizeof bytes);
    const struct { int64_t length, offset; } past[] = {
        {PAGE + 1, 0}, {2 * PAGE, 0}, {1, PAGE}, {2, PAGE - 1}, {1, INT64_MAX}, {PAGE, INT64_MAX - 1}, {0, PAGE + 1},
    };
    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        REFUSED(write_bytes(a, bytes, past[i].length, past[i].offset) == -1, SMF_ERROR_OUT_OF_RANGE);
    }
    REFUSED(write_bytes(a, bytes, 1, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(write_bytes(a, bytes, 1, INT64_MIN) == -1, SMF_ERROR_ARGUMENT);
    CHECK(rt_call_function_0(a) == 5);
    CHECK(rt_free_exec_memory(a, 6) && rt_free_exec_memory(b, 3 * PAGE));
}

/* Every function with a block argument refuses other addresses. */
static void refuse_block(int64_t address, int64_t size, int32_t why) {
    const uint8_t ret = 0xc3;
    REFUSED(!rt_free_exec_memory(address, size), why);
    REFUSED(!rt_make_executable(address, size), why);
    REFUSED(!rt_make_writable(address, size), why);
    REFUSED(!rt_set_protection(address, size, SMF_PROT_READ), why);
    REFUSED(write_bytes(address, &ret, 1, 0) == -1, why);
}

static void refuse_call(int64_t address, int32_t why) {
    REFUSED(rt_call_function_0(address) == 0, why);
    REFUSED(rt_call_function_1(address, 1) == 0, why);
    REFUSED(rt_call_function_2(address, 1, 2) == 0, why);
    REFUSED(rt_call_function_3(address, 1, 2, 3) == 0, why);
    REFUSED(rt_call_function_4(address, 1, 2, 3, 4) == 0, why);
    REFUSED(rt_call_function_5(address, 1, 2, 3, 4, 5) == 0, why);
    REFUSED(rt_call_function_6(address, 1, 2, 3, 4, 5, 6) == 0, why);
    REFUSED(rt_call_function_7(address, 1, 2, 3, 4, 5, 6, 7) == 0, why);
    REFUSED(rt_call_function_8(address, 1, 2, 3, 4, 5, 6, 7, 8) == 0, why);
}

static void addresses(void) {
    int64_t block = returning(6), freed = returning(7), rw = rt_alloc_rw_memory(6);
    CHECK(rt_free_exec_memory(freed, 6));
    int local = 0;
    void *heap = malloc(64);
    const int64_t impossible[] = {0, -1, INT64_MIN, -PAGE};
    const int64_t foreign[] = {
        ADDRESS(&local), ADDRESS(heap), ADDRESS(addresses), ADDRESS(printf), 1, PAGE, INT64_MAX,
        INT64_MAX - PAGE, freed, freed + 1, block - 1, block + PAGE, rw - 1, rw + PAGE,
    };
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++) {
        refuse_block(impossible[i], 6, SMF_ERROR_ARGUMENT);
        refuse_call(impossible[i], SMF_ERROR_ARGUMENT);
        REFUSED((rt_flush_icache(impossible[i], 6), 1), SMF_ERROR_ARGUMENT);
        REFUSED(rt_get_function_pointer(impossible[i]) == 0, SMF_ERROR_ARGUMENT);
        REFUSED(!rt_is_executable(impossible[i]), SMF_ERROR_ARGUMENT);
        REFUSED(rt_get_protection(impossible[i]) == -1, SMF_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        refuse_block(foreign[i], 6, SMF_ERROR_UNKNOWN_ADDRESS);
        refuse_call(foreign[i], SMF_ERROR_NOT_EXECUTABLE);
        REFUSED((rt_flush_icache(foreign[i], 6), 1), SMF_ERROR_UNKNOWN_ADDRESS);
        REFUSED(rt_get_function_pointer(foreign[i]) == 0, SMF_ERROR_UNKNOWN_ADDRESS);
    }
    /* Inside a block. */
    const int64_t inside[] = {1, 5, 6, 16, PAGE / 2, PAGE - 1};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        refuse_block(block + inside[i], 6, SMF_ERROR_UNKNOWN_ADDRESS);
        refuse_block(rw + inside[i], 6, SMF_ERROR_UNKNOWN_ADDRESS);
        refuse_call(rw + inside[i], SMF_ERROR_NOT_EXECUTABLE);
    }
    refuse_call(rw, SMF_ERROR_NOT_EXECUTABLE);
    REFUSED((rt_flush_icache(block + PAGE - 1, 2), 1), SMF_ERROR_OUT_OF_RANGE);

    /* Any address of the process. */
    CHECK(rt_is_executable(ADDRESS(addresses)) && rt_get_protection(ADDRESS(addresses)) == 5);
    CHECK(!rt_is_executable(ADDRESS(&local)) && rt_get_protection(ADDRESS(&local)) == 3);
    CHECK(rt_get_protection(ADDRESS("constant")) == 1);
    REFUSED(rt_get_protection(PAGE) == -1, SMF_ERROR_UNMAPPED);
    REFUSED(rt_get_protection(INT64_MAX) == -1, SMF_ERROR_UNMAPPED);
    REFUSED(!rt_is_executable(INT64_MAX), SMF_ERROR_UNMAPPED);

    /* Values of other kinds than byte arrays. */
    RuntimeValue *text = smf_text_new((const uint8_t *)"\xc3", 1), *gone = smf_bytes_new(NULL, 1);
    CHECK(smf_value_free(gone));
    REFUSED(rt_write_exec_memory(block, NULL, 0) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_write_exec_memory(block, text, 0) == -1, SMF_ERROR_VALUE);
    REFUSED(rt_write_exec_memory(block, gone, 0) == -1, SMF_ERROR_VALUE);
    REFUSED(rt_write_exec_memory(block, (SmfBytes)&local, 0) == -1, SMF_ERROR_VALUE);
    CHECK(smf_value_free(text));

    CHECK(rt_call_function_0(block) == 6 && rt_exec_memory_count() == 2);
    CHECK(rt_free_exec_memory(block, 6) && rt_free_exec_memory(rw, 6));
    /* Twice. */
    refuse_block(block, 6, SMF_ERROR_UNKNOWN_ADDRESS);
    refuse_block(rw, 6, SMF_ERROR_UNKNOWN_ADDRESS);
    refuse_call(block, SMF_ERROR_NOT_EXECUTABLE);
    free(heap);
}

static int64_t weigh(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h) {
    return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g + 10000000 * h;
}
static int64_t weigh_1(int64_t a) { return weigh(a, 0, 0, 0, 0, 0, 0, 0); }
static int64_t weigh_2(int64_t a, int64_t b) { return weigh(a, b, 0, 0, 0, 0, 0, 0); }
static int64_t weigh_3(int64_t a, int64_t b, int64_t c) { return weigh(a, b, c, 0, 0, 0, 0, 0); }
static int64_t weigh_4(int64_t a, int64_t b, int64_t c, int64_t d) { return weigh(a, b, c, d, 0, 0, 0, 0); }
static int64_t weigh_5(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e) {
    return weigh(a, b, c, d, e, 0, 0, 0);
}
static int64_t weigh_6(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f) {
    return weigh(a, b, c, d, e, f, 0, 0);
}
static int64_t weigh_7(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g) {
    return weigh(a, b, c, d, e, f, g, 0);
}
static int64_t zero(void) { return 0; }
static int64_t minimum(void) { return INT64_MIN; }

static int64_t to(int64_t block, int64_t function) {
    uint8_t code[12];
    jump_to(code, function);
    CHECK(write_bytes(block, code, sizeof code, 0) == sizeof code);
    return block;
}

static void calls(void) {
    int64_t f = rt_alloc_exec_memory(12);
    CHECK(rt_call_function_0(to(f, ADDRESS(minimum))) == INT64_MIN);
    CHECK(rt_call_function_1(to(f, ADDRESS(weigh_1)), 1) == 1);
    CHECK(rt_call_function_2(to(f, ADDRESS(weigh_2)), 1, 2) == 21);
    CHECK(rt_call_function_3(to(f, ADDRESS(weigh_3)), 1, 2, 3) == 321);
    CHECK(rt_call_function_4(to(f, ADDRESS(weigh_4)), 1, 2, 3, 4) == 4321);
    CHECK(rt_call_function_5(to(f, ADDRESS(weigh_5)), 1, 2, 3, 4, 5) == 54321);
    CHECK(rt_call_function_6(to(f, ADDRESS(weigh_6)), 1, 2, 3, 4, 5, 6) == 654321);
    CHECK(rt_call_function_7(to(f, ADDRESS(weigh_7)), 1, 2, 3, 4, 5, 6, 7) == 7654321);
    CHECK(rt_call_function_8(to(f, ADDRESS(weigh)), 1, 2, 3, 4, 5, 6, 7, -8) == 7654321 - 80000000);
    /* A result of 0 differs from a failure. */
    CHECK(rt_call_function_0(1) == 0 && smf_last_error().code == SMF_ERROR_NOT_EXECUTABLE);
    CHECK(rt_call_function_0(to(f, ADDRESS(zero))) == 0 && smf_last_error().code == SMF_OK);
    CHECK(smf_last_error().text[0] == '\0');
    CHECK(rt_free_exec_memory(f, 12));
}

/* The library's own definitions of the runtime's names, with invalid arguments. owners.c tests valid ones. */
static void raw(void) {
    int64_t word = 0x0102030405060708, at = ADDRESS(&word);
    const int64_t no_addresses[] = {0, -1, INT64_MIN};
    for (int i = 0; i < 3; i++) {
        int64_t bad = no_addresses[i];
        REFUSED((rt_ptr_write_u8(bad, 0, 1), 1), SMF_ERROR_ARGUMENT);
        REFUSED((rt_ptr_write_i32(bad, 0, 1), 1), SMF_ERROR_ARGUMENT);
        REFUSED((rt_ptr_write_i64(bad, 8, 1), 1), SMF_ERROR_ARGUMENT);
        REFUSED(rt_ptr_read_u8(bad, 0) == 0, SMF_ERROR_ARGUMENT);
        REFUSED(rt_ptr_write_bytes_raw(bad, 0, at, 1) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(rt_ptr_write_bytes_raw(at, 0, bad, 1) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(rt_call_ptr_0(bad) == 0 && rt_call_ptr_3(bad, 1, 2, 3) == 0, SMF_ERROR_ARGUMENT);
        REFUSED(rt_munmap_raw(bad, PAGE) == -1 && !rt_munmap((void *)(intptr_t)bad, PAGE), SMF_ERROR_ARGUMENT);
        REFUSED(rt_mprotect(bad, PAGE, 1) == -1 && rt_madvise_raw(bad, PAGE, 0) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(rt_msync_flags(bad, PAGE, 4) == -1 && rt_mlock(bad, 1) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_raw(0, bad, 1, 0x22, -1, 0) == -1, bad ? SMF_ERROR_ARGUMENT : SMF_ERROR_SYSTEM);
    }
    REFUSED((rt_ptr_write_u8(at, -1, 1), 1), SMF_ERROR_ARGUMENT);
    REFUSED(rt_ptr_read_u8(at, INT64_MIN) == 0, SMF_ERROR_ARGUMENT);
    REFUSED(rt_ptr_write_bytes_raw(at, 0, at, -1) == -1, SMF_ERROR_ARGUMENT);
    CHECK(rt_ptr_write_bytes_raw(0, 0, 0, 0) == 0 && word == 0x0102030405060708);
    REFUSED(rt_mprotect(at & -PAGE, PAGE, 6) == -1, SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(rt_mmap_raw(0, PAGE, 7, 0x22, -1, 0) == -1, SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(rt_mmap_raw(0, PAGE, INT64_MAX, 0x22, -1, 0) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_mmap_raw(0, PAGE, 1, 2, 999, 0) == -1 && rt_close_fd(999) == -1, SMF_ERROR_SYSTEM);
    REFUSED(rt_close_fd(-1) == -1, SMF_ERROR_SYSTEM);
    REFUSED(rt_open_fd(NULL, 0, 0) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_open_fd("/absent/file", 0, 0) == -1, SMF_ERROR_FILE);
    /* A mapping of this library is unmapped whole, or not at all. */
    SmfMapping mapping = rt_mmap_file(NULL, SMF_PROT_READ, SMF_MAP_PRIVATE | SMF_MAP_ANONYMOUS, 0, 3 * PAGE);
    REFUSED(rt_munmap_raw(mapping.address, PAGE) == -1, SMF_ERROR_OTHER_SIZE);
    REFUSED(rt_munmap_raw(mapping.address + PAGE, PAGE) == -1, SMF_ERROR_OTHER_SIZE);
    CHECK(rt_ptr_read_u8(mapping.address, 2 * PAGE) == 0 && rt_munmap_raw(mapping.address, 3 * PAGE - 1) == 0);
}

static void ceilings(void) {
    REFUSED(!smf_exec_limit(0, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_limit(1, -1), SMF_ERROR_ARGUMENT);
    CHECK(smf_exec_limit(2 * PAGE, 3));
    int64_t a = rt_alloc_exec_memory(PAGE);
    CHECK(a);
    REFUSED(!smf_exec_limit(INT64_MAX, INT64_MAX), SMF_ERROR_STATE);
    REFUSED(rt_alloc_exec_memory(PAGE + 1) == 0, SMF_ERROR_CEILING);
    REFUSED(rt_alloc_rw_memory(PAGE + 1) == 0, SMF_ERROR_CEILING);
    int64_t b = rt_alloc_rw_memory(10), c = rt_alloc_exec_memory(10);
    CHECK(b && c);
    REFUSED(rt_alloc_exec_memory(1) == 0, SMF_ERROR_CEILING);
    CHECK(rt_free_exec_memory(b, 10));
    b = rt_alloc_exec_memory(1);
    CHECK(b && rt_free_exec_memory(a, PAGE) && rt_free_exec_memory(b, 1) && rt_free_exec_memory(c, 10));
    CHECK(rt_exec_memory_count() == 0 && smf_exec_limit(INT64_MAX, INT64_MAX));
}

static bool perf_map;

/* A name is checked only if a tool is enabled. */
static void names(void) {
    int64_t block = returning(8);
    CHECK(smf_name_code(block, 6, "eight") && smf_name_code(-1, -1, NULL));
    REFUSED(!smf_jitdump_enable(NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jitdump_enable("/no/such/directory"), SMF_ERROR_SYSTEM);
    CHECK(smf_name_code(-1, -1, NULL));
    CHECK(smf_perf_map_enable() && smf_perf_map_enable() && smf_gdb_enable());
    perf_map = true;
    char path[64], line[128];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    CHECK(smf_name_code(block, 6, "eight") && smf_name_code(block + 1, 2, "in\nside"));
    FILE *map = fopen(path, "r");
    unsigned long start, size;
    CHECK(map && fgets(line, sizeof line, map) && sscanf(line, "%lx %lx eight\n", &start, &size) == 2);
    CHECK((int64_t)start == block && size == 6);
    CHECK(fgets(line, sizeof line, map) && strstr(line, " 2 in?side\n") && !fgets(line, sizeof line, map));
    fclose(map);
    unlink(path);
    int64_t unwritten = rt_alloc_exec_memory(6);
    REFUSED(!smf_name_code(block, 6, NULL), SMF_ERROR_ARGUMENT);
    const int64_t none[] = {0, -1, INT64_MIN};
    for (int i = 0; i < 3; i++) {
        REFUSED(!smf_name_code(none[i], 6, "x"), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_name_code(block, none[i], "x"), SMF_ERROR_ARGUMENT);
    }
    REFUSED(!smf_name_code(block, PAGE + 1, "x"), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_name_code(block + PAGE - 1, 2, "x"), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_name_code(block, INT64_MAX, "x"), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_name_code(unwritten, 6, "x"), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_name_code(ADDRESS(names), 6, "x"), SMF_ERROR_NOT_EXECUTABLE);
    CHECK(rt_free_exec_memory(block, 6) && rt_free_exec_memory(unwritten, 6));
    REFUSED(!smf_name_code(block, 6, "x"), SMF_ERROR_NOT_EXECUTABLE);
}

/* A child calls inherited code but cannot change it; its own blocks are separate. */
static void children(void) {
    CHECK(smf_exec_limit(2 * PAGE, 2));
    int64_t block = returning(9);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(rt_call_function_0(block) == 9);
        const uint8_t other[] = RETURNS(10);
        smf_clear_error();
        CHECK(write_bytes(block, other, sizeof other, 0) == -1 && smf_last_error().code == SMF_ERROR_FORKED);
        CHECK(!rt_make_writable(block, 6) && smf_last_error().code == SMF_ERROR_FORKED);
        CHECK(!rt_free_exec_memory(block, 6) && smf_last_error().code == SMF_ERROR_FORKED);
        int64_t own = returning(11);
        /* Under the same ceilings, without the parent's block. */
        CHECK(rt_alloc_rw_memory(2 * PAGE) == 0 && smf_last_error().code == SMF_ERROR_CEILING);
        CHECK(rt_call_function_0(own) == 11 && rt_call_function_0(block) == 9);
        CHECK(!rt_free_exec_memory(block, 6) && smf_last_error().code == SMF_ERROR_FORKED);
        /* Names go to the child's own map. */
        char path[64];
        snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
        CHECK(smf_name_code(own, 6, "the child's") && (unlink(path) == 0) == perf_map);
        int inherited = watch();
        CHECK(rt_exec_memory_count() == 1 && rt_free_exec_memory(own, 6) && rt_exec_memory_count() == 0);
        CHECK(watch() < inherited && rt_call_function_0(block) == 9);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(rt_call_function_0(block) == 9 && rt_exec_memory_count() == 1);
    CHECK(rt_free_exec_memory(block, 6) && smf_exec_limit(INT64_MAX, INT64_MAX));
}

enum { THREADS = 8, ROUNDS = 400, HELD = 16 };

static _Atomic int64_t shared[64], freed_shared, made_shared;
static _Atomic bool running;
static pthread_barrier_t barrier;

static void *watcher(void *unused) {
    while (running) {
        watch();
    }
    return unused;
}

/* Allocates, writes, calls and frees blocks of its own, and misuses the blocks of others. */
static void *worker(void *number) {
    unsigned seed = (unsigned)(intptr_t)number * 7919 + 1;
    struct { int64_t address, size; int result; } held[HELD] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        int at = rand_r(&seed) % HELD;
        if (held[at].address) {
            CHECK(rt_call_function_0(held[at].address) == held[at].result);
            CHECK(!rt_free_exec_memory(held[at].address, held[at].size + 1));
            CHECK(rt_free_exec_memory(held[at].address, held[at].size));
            held[at].address = 0;
        } else {
            held[at].result = rand_r(&seed) % 30000 + 1;
            held[at].size = 6 + rand_r(&seed) % (3 * PAGE);
            const uint8_t code[] = RETURNS(held[at].result);
            bool rw = rand_r(&seed) % 2;
            held[at].address = rw ? rt_alloc_rw_memory(held[at].size) : rt_alloc_exec_memory(held[at].size);
            CHECK(held[at].address);
            CHECK(rt_call_function_0(held[at].address) == 0);
            CHECK(write_bytes(held[at].address, code, sizeof code, 0) == sizeof code);
            CHECK(!rw || rt_make_executable(held[at].address, held[at].size));
            CHECK(smf_name_code(held[at].address, 6, "a thread's"));
            CHECK(rt_call_function_0(held[at].address) == held[at].result);
        }
        /* A block that any thread may free, once. */
        _Atomic int64_t *place = &shared[rand_r(&seed) % 64];
        int64_t theirs = *place;
        if (theirs == 0) {
            int64_t mine = rt_alloc_rw_memory(64), none = 0;
            if (atomic_compare_exchange_strong(place, &none, mine)) {
                made_shared++;
            } else {
                CHECK(rt_free_exec_memory(mine, 64));
            }
        } else {
            /* Other threads may free it at the same time, and the address may have been reused. */
            int64_t expected = theirs;
            if (atomic_compare_exchange_strong(place, &expected, 0)) {
                CHECK(rt_free_exec_memory(theirs, 64));
                freed_shared++;
            }
        }
        CHECK(rt_alloc_exec_memory(-round) == 0 && rt_alloc_rw_memory(INT64_MAX - round) == 0);
        CHECK(!rt_free_exec_memory(round * PAGE, PAGE) && rt_call_function_1(round, 1) == 0);
        CHECK(rt_write_exec_memory(ADDRESS(&seed), NULL, 0) == -1);
        CHECK(!rt_set_protection(ADDRESS(held), PAGE, 7) && rt_get_function_pointer(ADDRESS(held)) == 0);
        CHECK(rt_get_protection(ADDRESS(held)) == 3 && smf_last_error().code != SMF_OK);
    }
    /* All threads wait while one counts. */
    static _Atomic int64_t bytes, blocks;
    if (number == NULL) {
        bytes = blocks = 0;
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < HELD; i++) {
        if (held[i].address) {
            bytes += held[i].size;
            blocks++;
        }
    }
    pthread_barrier_wait(&barrier);
    int64_t left = made_shared - freed_shared;
    CHECK(rt_exec_memory_count() == blocks + left && rt_exec_memory_total() == bytes + 64 * left);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < HELD; i++) {
        CHECK(!held[i].address || rt_free_exec_memory(held[i].address, held[i].size));
    }
    return NULL;
}

/* All threads free the same blocks: each is freed once. */
static int64_t contested[256];
static _Atomic int won;

static void *contestant(void *unused) {
    for (int i = 0; i < 256; i++) {
        won += rt_free_exec_memory(contested[i], 1);
    }
    return unused;
}

static void start(pthread_t *thread, void *(*run)(void *), int number) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    CHECK(pthread_create(thread, &small, run, (void *)(intptr_t)number) == 0);
}

static void threads(void) {
    pthread_t thread[THREADS], watching;
    running = true;
    start(&watching, watcher, 0);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        start(&thread[i], worker, i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    for (int i = 0; i < 64; i++) {
        CHECK(!shared[i] || rt_free_exec_memory(shared[i], 64));
        shared[i] = 0;
    }
    made_shared = freed_shared = won = 0;
    CHECK(rt_exec_memory_count() == 0 && rt_exec_memory_total() == 0);
    for (int i = 0; i < 256; i++) {
        contested[i] = i % 2 ? rt_alloc_exec_memory(1) : rt_alloc_rw_memory(1);
    }
    for (int i = 0; i < THREADS; i++) {
        start(&thread[i], contestant, i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(won == 256 && rt_exec_memory_count() == 0 && rt_exec_memory_total() == 0);
    running = false;
    pthread_join(watching, NULL);
}

/* The audit log retains the latest events. */
static void audit(void) {
    SmfExecEvent e[8];
    int64_t lost = -7;
    CHECK(smf_exec_drain(e, 8, &lost) == 0 && lost == 0 && smf_exec_audit(4) == 0);
    int64_t block = rt_alloc_exec_memory(100);
    RuntimeValue *code = smf_bytes_new((const uint8_t[])RETURNS(7), 6);
    CHECK(block && rt_write_exec_memory(block, code, 0) == 6);
    CHECK(smf_value_free(code) && !rt_free_exec_memory(block, 99) && rt_free_exec_memory(block, 100));
    CHECK(smf_exec_drain(e, 1, &lost) == 1 && lost == 0);
    CHECK(e[0].action == SMF_EXEC_ALLOCATE && e[0].address == block && e[0].bytes == 100 && e[0].error == SMF_OK);
    int64_t first = e[0].sequence, time = e[0].nanoseconds;
    CHECK(time > 0 && smf_exec_drain(e, 8, NULL) == 3);
    const int32_t actions[] = {SMF_EXEC_PUBLISH, SMF_EXEC_REFUSE, SMF_EXEC_FREE};
    for (int i = 0; i < 3; i++) {
        CHECK(e[i].action == actions[i] && e[i].address == block && e[i].sequence == first + 1 + i);
        CHECK(e[i].nanoseconds >= time && (e[i].error == SMF_ERROR_OTHER_SIZE) == (i == 1));
        time = e[i].nanoseconds;
    }
    for (int i = 0; i < 10; i++) {
        CHECK(rt_free_exec_memory(rt_alloc_rw_memory(1), 1));
    }
    CHECK(smf_exec_drain(e, 8, &lost) == 4 && lost == 16 && e[3].action == SMF_EXEC_FREE);
    REFUSED(smf_exec_audit(-1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_exec_audit((1 << 20) + 1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_exec_drain(NULL, 1, &lost) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_exec_drain(e, -1, &lost) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_exec_drain((void *)((char *)e + 1), 1, &lost) == -1, SMF_ERROR_ARGUMENT);
    /* Events of the parent are not those of its child. */
    block = rt_alloc_rw_memory(1);
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0) {
        CHECK(smf_exec_drain(e, 8, &lost) == 0 && lost == 0 && rt_alloc_rw_memory(1));
        CHECK(smf_exec_drain(e, 8, &lost) == 1 && e[0].sequence == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(rt_free_exec_memory(block, 1) && smf_exec_audit(0) == 4);
    CHECK(smf_exec_drain(e, 8, &lost) == 0 && lost == 2);
}

/* The report has a line for each region. */
static void regions(void) {
    char text[8192] = "", expected[128];
    int64_t code = rt_alloc_exec_memory(5000), data = rt_alloc_rw_memory(10);
    FILE *file = tmpfile();
    int kept = dup(2);
    CHECK(code && data && file && kept >= 0 && dup2(fileno(file), 2) == 2);
    rt_exec_memory_dump_stats();
    CHECK(dup2(kept, 2) == 2 && close(kept) == 0);
    rewind(file);
    CHECK(fread(text, 1, sizeof text - 1, file) > 0 && fclose(file) == 0);
    CHECK(strstr(text, "executable memory: 5010 bytes in 2 blocks live") && strstr(text, "\n  arena 0x"));
    snprintf(expected, sizeof expected, "\n  block 0x%lx-0x%lx: 5000 bytes requested, not executable\n", (long)code,
             (long)code + 2 * PAGE);
    CHECK(strstr(text, expected));
    snprintf(expected, sizeof expected, "\n  block 0x%lx-0x%lx: 10 bytes requested, not executable\n", (long)data,
             (long)data + PAGE);
    CHECK(strstr(text, expected));
    CHECK(rt_free_exec_memory(code, 5000) && rt_free_exec_memory(data, 10));
}

int main(void) {
    /* So that the C library caches nothing for threads. */
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    CHECK(!strcmp(smf_version(), SMF_VERSION));
    CHECK(smf_last_error().code == SMF_OK && smf_last_error().text[0] == '\0');
    CHECK(rt_exec_memory_total() == 0 && rt_exec_memory_count() == 0 && watch() == 0);
    values();
    char *before = mappings();
    code();
    data();
    sizes();
    addresses();
    calls();
    raw();
    char *after = mappings();
    CHECK(watch() == 0 && !strcmp(before, after));
    free(before);
    free(after);
    ceilings();
    children();
    audit();
    regions();
    names();
    threads();
    rt_exec_memory_dump_stats();
    CHECK(smf_exec_trim() && watch() == 0);
    before = mappings();
    values();
    code();
    data();
    sizes();
    addresses();
    calls();
    raw();
    ceilings();
    children();
    audit();
    regions();
    threads();
    CHECK(smf_exec_trim() && watch() == 0);
    after = mappings();
    CHECK(!strcmp(before, after));
    free(before);
    free(after);
    /* Without a reader. */
    CHECK(fclose(stderr) == 0);
    rt_exec_memory_dump_stats();
    puts("ok");
    return 0;
}
