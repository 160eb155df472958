/* Mapped files: every mode, invalid arguments, and another process that changes the files. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ = SMF_PROT_READ, WRITE = SMF_PROT_WRITE, EXEC = SMF_PROT_EXEC };
enum { SHARED = SMF_MAP_SHARED, PRIVATE = SMF_MAP_PRIVATE, FIXED = SMF_MAP_FIXED, ANON = SMF_MAP_ANONYMOUS };

static char directory[64] = "/tmp/smf-mmap-XXXXXX";

static const char *named(const char *name) {
    static _Thread_local char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t length) {
    FILE *file = fopen(named(name), "w");
    CHECK(file && fwrite(bytes, 1, length, file) == length && fclose(file) == 0);
}

#define FAILED(mapping) ((mapping).address == 0 && (mapping).size == 0)

/* Checks that the bytes are readable and have these values. */
static void reads(int64_t address, int64_t offset, const void *bytes, int64_t length) {
    RuntimeValue *value = rt_mmap_read_bytes(address, offset, length);
    CHECK(value && smf_bytes_length(value) == length);
    CHECK(!memcmp(smf_bytes_data(value), bytes, (size_t)length) && smf_value_free(value));
}

static void says(int64_t address, int64_t offset, int64_t most, const char *expected) {
    RuntimeValue *text = rt_mmap_read_string(address, offset, most);
    CHECK(text && smf_text_length(text) == (int64_t)strlen(expected));
    CHECK(!memcmp(smf_text_data(text), expected, strlen(expected)) && smf_value_free(text));
}

static uint8_t pattern[3 * PAGE + 100];

static void every_mode(void) {
    const struct { int32_t prot, flags, kernel; } modes[] = {
        {READ, PRIVATE, 1}, {READ | WRITE, PRIVATE, 3}, {WRITE, PRIVATE, 3},
        {READ, SHARED, 1},  {READ | WRITE, SHARED, 3},  {WRITE, SHARED, 3},
    };
    const int64_t size = sizeof pattern;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        for (int64_t offset = 0; offset < size; offset += PAGE) {
            const int64_t lengths[] = {0, 1, 100, size - offset};
            for (int j = 0; j < 4; j++) {
                SmfMapping m = rt_mmap_file(named("pattern"), modes[i].prot, modes[i].flags, offset, lengths[j]);
                int64_t expected = lengths[j] ? lengths[j] : size - offset;
                CHECK(m.address && m.address % PAGE == 0 && m.size == expected);
                CHECK(rt_get_protection(m.address) == modes[i].kernel);
                reads(m.address, 0, pattern + offset, m.size);
                reads(m.address, m.size, "", 0);
                reads(m.address + m.size - 1, 0, pattern + offset + m.size - 1, 1);
                CHECK(!memcmp((void *)(intptr_t)m.address, pattern + offset, (size_t)m.size));
                CHECK(smf_mmap_unmap(m.address, m.size));
                REFUSED(!smf_mmap_unmap(m.address, m.size), SMF_ERROR_UNKNOWN_ADDRESS);
                REFUSED(rt_mmap_read_bytes(m.address, 0, 1) == NULL, SMF_ERROR_UNKNOWN_ADDRESS);
                REFUSED(rt_mmap_read_string(m.address, 0, 1) == NULL, SMF_ERROR_UNKNOWN_ADDRESS);
            }
        }
    }
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        SmfMapping none = rt_mmap_file(named("pattern"), SMF_PROT_NONE, shared, 0, 0);
        CHECK(none.address && rt_get_protection(none.address) == 0);
        REFUSED(rt_mmap_read_bytes(none.address, 0, 1) == NULL, SMF_ERROR_ACCESS);
        REFUSED(rt_mmap_read_string(none.address, 0, 0) == NULL, SMF_ERROR_ACCESS);
        CHECK(smf_mmap_unmap(none.address, none.size));
    }
}

static void strings(void) {
    static const char bytes[] = "first\0\0second \xff\xc3\xa4 \xe2\x82\0tail without";
    write_file("text", bytes, sizeof bytes - 1);
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        SmfMapping m = rt_mmap_file(named("text"), READ, shared, 0, 0);
        CHECK(m.size == sizeof bytes - 1);
        says(m.address, 0, 0, "first");
        says(m.address, 0, 3, "fir");
        says(m.address, 0, INT64_MAX, "first");
        says(m.address, 5, 0, "");
        says(m.address + 2, 1, 0, "st");
        says(m.address, 7, 0, "second \xef\xbf\xbd\xc3\xa4 \xef\xbf\xbd");
        says(m.address, 7, 9, "second \xef\xbf\xbd\xef\xbf\xbd");
        says(m.address, 21, 0, "tail without");
        says(m.address, m.size, 0, "");
        REFUSED(rt_mmap_read_string(m.address, 0, -1) == NULL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_string(m.address, m.size + 1, 0) == NULL, SMF_ERROR_OUT_OF_RANGE);
        CHECK(smf_mmap_unmap(m.address, m.size));
    }
}

static void writing(void) {
    SmfMapping shared = rt_mmap_file(named("pattern"), READ | WRITE, SHARED, PAGE, 0);
    SmfMapping mine = rt_mmap_file(named("pattern"), READ | WRITE, PRIVATE, PAGE, 0);
    SmfMapping other = rt_mmap_file(named("pattern"), READ, SHARED, 0, 0);
    memcpy((char *)(intptr_t)mine.address + 10, "mine", 4);
    reads(mine.address, 10, "mine", 4);
    reads(other.address, PAGE + 10, pattern + PAGE + 10, 4);
    CHECK(smf_mmap_sync(mine.address, mine.size, false) && smf_mmap_sync(mine.address, 1, true));
    memcpy((char *)(intptr_t)shared.address + 10, "ours", 4);
    reads(shared.address, 10, "ours", 4);
    reads(other.address, PAGE + 10, "ours", 4);
    reads(mine.address, 10, "mine", 4);
    CHECK(smf_mmap_sync(shared.address, shared.size, false) && smf_mmap_sync(shared.address, shared.size, true));
    int file = open(named("pattern"), O_RDONLY);
    char found[4];
    CHECK(pread(file, found, 4, PAGE + 10) == 4 && !memcmp(found, "ours", 4) && close(file) == 0);
    memcpy((char *)(intptr_t)shared.address + 10, pattern + PAGE + 10, 4);
    CHECK(smf_mmap_unmap(shared.address, shared.size) && smf_mmap_unmap(mine.address, mine.size));
    CHECK(smf_mmap_unmap(other.address, other.size));
}

static void anonymous(void) {
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        SmfMapping m = rt_mmap_file(NULL, READ | WRITE, shared | ANON, 0, PAGE + 1);
        CHECK(m.address && m.size == PAGE + 1);
        static const uint8_t zeros[PAGE + 1];
        reads(m.address, 0, zeros, PAGE + 1);
        memset((void *)(intptr_t)m.address, 7, PAGE + 1);
        CHECK(smf_mmap_sync(m.address, m.size, false));
        for (int advice = 0; advice <= 3; advice++) {
            CHECK(smf_mmap_advise(m.address, m.size, advice));
        }
        reads(m.address, PAGE, "\7", 1);
        CHECK(smf_mmap_advise(m.address, m.size, 4));
        reads(m.address, PAGE, shared == SHARED ? "\7" : "\0", 1);
        CHECK(smf_mmap_unmap(m.address, m.size));
        m = rt_mmap_file("", READ, shared | ANON, 0, 1);
        reads(m.address, 0, zeros, 1);
        CHECK(smf_mmap_unmap(m.address, 1));
    }
    REFUSED(FAILED(rt_mmap_file(NULL, READ, PRIVATE | ANON, 0, 0)), SMF_ERROR_ARGUMENT);
    REFUSED(FAILED(rt_mmap_file(NULL, READ, PRIVATE | ANON, 0, -1)), SMF_ERROR_ARGUMENT);
    REFUSED(FAILED(rt_mmap_file(NULL, READ, PRIVATE | ANON, PAGE, 1)), SMF_ERROR_ARGUMENT);
    REFUSED(FAILED(rt_mmap_file(named("pattern"), READ, PRIVATE | ANON, 0, 1)), SMF_ERROR_ARGUMENT);
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        const int64_t enormous[] = {INT64_MAX, INT64_MAX - PAGE, (int64_t)1 << 47, INT64_C(0x7ffffffff000)};
        for (int i = 0; i < 4; i++) {
            REFUSED(FAILED(rt_mmap_file(NULL, READ, shared | ANON, 0, enormous[i])), SMF_ERROR_NO_MEMORY);
        }
    }
}

static void refused(const char *path, int32_t prot, int32_t flags, int64_t offset, int64_t length, int32_t why,
                    const char *named_in_text) {
    REFUSED(FAILED(rt_mmap_file(path, prot, flags, offset, length)), why);
    CHECK(strstr(smf_last_error().text, named_in_text));
}

static void refusals(void) {
    const char *file = named("pattern");
    refused(NULL, READ, PRIVATE, 0, 0, SMF_ERROR_ARGUMENT, "path is null");
    refused(file, 8, PRIVATE, 0, 0, SMF_ERROR_ARGUMENT, "8 is not a valid protection");
    refused(file, -1, PRIVATE, 0, 0, SMF_ERROR_ARGUMENT, "-1 is not a valid protection");
    refused(file, WRITE | EXEC, PRIVATE, 0, 0, SMF_ERROR_WRITE_AND_EXECUTE, "executable");
    refused(file, READ | WRITE | EXEC, SHARED, 0, 0, SMF_ERROR_WRITE_AND_EXECUTE, "executable");
    refused(file, READ, 0, 0, 0, SMF_ERROR_ARGUMENT, "SHARED or PRIVATE is required");
    refused(file, READ, ANON, 0, 0, SMF_ERROR_ARGUMENT, "SHARED or PRIVATE is required");
    refused(file, READ, SHARED | PRIVATE, 0, 0, SMF_ERROR_ARGUMENT, "SHARED and PRIVATE exclude");
    refused(file, READ, PRIVATE | FIXED, 0, 0, SMF_ERROR_ARGUMENT, "FIXED");
    refused(NULL, READ, PRIVATE | ANON | FIXED, 0, PAGE, SMF_ERROR_ARGUMENT, "FIXED");
    const int32_t unknown[] = {4, 8, 0x40, 0x100, 0x100000, INT32_MIN, -1};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        refused(file, READ, PRIVATE | unknown[i], 0, 0, SMF_ERROR_ARGUMENT, "is not a valid set of flags");
    }
    const int64_t misaligned[] = {1, PAGE - 1, PAGE + 1, INT64_MAX};
    for (int i = 0; i < 4; i++) {
        refused(file, READ, PRIVATE, misaligned[i], 0, SMF_ERROR_ARGUMENT, "not a multiple of the page size");
        refused(file, READ, SHARED, misaligned[i], 0, SMF_ERROR_ARGUMENT, "not a multiple of the page size");
    }
    refused(file, READ, PRIVATE, -PAGE, 0, SMF_ERROR_ARGUMENT, "the offset is negative");
    refused(file, READ, PRIVATE, 0, -1, SMF_ERROR_ARGUMENT, "the length is negative");
    refused(file, READ, PRIVATE, INT64_MIN, INT64_MIN, SMF_ERROR_ARGUMENT, "negative");
    write_file("empty", "", 0);
    mkfifo(named("fifo"), 0600);
    char endless[5001];
    memset(endless, 'x', 5000);
    endless[5000] = '\0';
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        file = named("pattern");
        const int64_t size = sizeof pattern, high = INT64_MAX - (PAGE - 1);
        refused(file, READ, shared, 0, size + 1, SMF_ERROR_OUT_OF_RANGE, "do not lie inside");
        refused(file, READ, shared, 0, INT64_MAX, SMF_ERROR_OUT_OF_RANGE, "do not lie inside");
        refused(file, READ, shared, 3 * PAGE, 101, SMF_ERROR_OUT_OF_RANGE, "do not lie inside");
        refused(file, READ, shared, 4 * PAGE, 0, SMF_ERROR_OUT_OF_RANGE, "do not lie inside");
        refused(file, READ, shared, high, INT64_MAX, SMF_ERROR_OUT_OF_RANGE, "do not lie inside");
        refused(named("empty"), READ, shared, 0, 0, SMF_ERROR_OUT_OF_RANGE, "no bytes");
        refused(named("absent"), READ, shared, 0, 0, SMF_ERROR_FILE, "no such file");
        refused("", READ, shared, 0, 0, SMF_ERROR_FILE, "no such file");
        refused(directory, READ, shared, 0, 0, SMF_ERROR_FILE, "directory");
        refused(named("fifo"), READ, shared, 0, 0, SMF_ERROR_FILE, "named pipe");
        refused("/dev/zero", READ, shared, 0, PAGE, SMF_ERROR_FILE, "device");
        refused(endless, READ, shared, 0, 0, SMF_ERROR_FILE, "5000 bytes long");
    }
    const struct { const char *path; int64_t size; } sizes[] = {
        {"empty", 0}, {"pattern", sizeof pattern}, {"absent", -1}, {"fifo", -1}, {"", -1},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        smf_clear_error();
        CHECK(rt_file_size_for_mmap(named(sizes[i].path)) == sizes[i].size);
        CHECK(smf_last_error().code == (sizes[i].size < 0 ? SMF_ERROR_FILE : SMF_OK));
    }
    REFUSED(rt_file_size_for_mmap(NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_file_size_for_mmap(endless) == -1, SMF_ERROR_FILE);
    REFUSED(rt_file_size_for_mmap("") == -1, SMF_ERROR_FILE);
    CHECK(rt_get_page_size() == sysconf(_SC_PAGESIZE));
    if (geteuid() != 0) {
        chmod(named("empty"), 0400);
        refused(named("empty"), READ | WRITE, SHARED, 0, 0, SMF_ERROR_ACCESS, "permission denied");
    }
}

/* Every function with a range argument refuses one that is not in one live mapping. */
static void refuse_range(int64_t address, int64_t size, int32_t why) {
    REFUSED(!smf_mmap_sync(address, size, false), why);
    REFUSED(!smf_mmap_sync(address, size, true), why);
    REFUSED(!smf_mmap_lock(address, size), why);
    REFUSED(!smf_mmap_unlock(address, size), why);
    for (int32_t advice = 0; advice <= 4; advice++) {
        REFUSED(!smf_mmap_advise(address, size, advice), why);
    }
}

static void refuse_address(int64_t address, int32_t why) {
    REFUSED(!smf_mmap_unmap(address, PAGE), why);
    REFUSED(rt_mmap_read_bytes(address, 0, 1) == NULL, why);
    REFUSED(rt_mmap_read_bytes(address, 0, 0) == NULL, why);
    REFUSED(rt_mmap_read_string(address, 0, 0) == NULL, why);
}

static void ranges(void) {
    int local = 0;
    void *heap = aligned_alloc(PAGE, PAGE);
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        SmfMapping m = rt_mmap_file(named("pattern"), READ, shared, 0, 0);
        SmfMapping block = {rt_alloc_rw_memory(PAGE), PAGE};
        const int64_t none[] = {0, -1, INT64_MIN, -PAGE};
        for (int i = 0; i < 4; i++) {
            refuse_address(none[i], SMF_ERROR_ARGUMENT);
            refuse_range(none[i], PAGE, SMF_ERROR_ARGUMENT);
            refuse_range(m.address, none[i], SMF_ERROR_ARGUMENT);
            REFUSED(!smf_mmap_unmap(m.address, none[i]), SMF_ERROR_ARGUMENT);
        }
        const int64_t foreign[] = {
            ADDRESS(&local), ADDRESS(heap), ADDRESS(ranges), 1, PAGE, INT64_MAX, INT64_MAX - (PAGE - 1),
            block.address, m.address + m.size, m.address - 1,
        };
        for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
            refuse_address(foreign[i], SMF_ERROR_UNKNOWN_ADDRESS);
            if (foreign[i] % PAGE == 0) {
                refuse_range(foreign[i], PAGE, SMF_ERROR_UNKNOWN_ADDRESS);
            } else {
                refuse_range(foreign[i], 1, SMF_ERROR_ARGUMENT);
            }
        }
        const int64_t sizes[] = {1, PAGE, sizeof pattern - 1, sizeof pattern + 1, 4 * PAGE, INT64_MAX};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            REFUSED(!smf_mmap_unmap(m.address, sizes[i]), SMF_ERROR_OTHER_SIZE);
        }
        REFUSED(!smf_mmap_unmap(m.address + PAGE, m.size - PAGE), SMF_ERROR_UNKNOWN_ADDRESS);
        const struct { int64_t offset, length; } outside[] = {
            {0, m.size + 1}, {m.size, 1}, {m.size + 1, 0}, {1, m.size}, {INT64_MAX, 1}, {1, INT64_MAX}, {INT64_MAX, INT64_MAX},
        };
        for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
            REFUSED(rt_mmap_read_bytes(m.address, outside[i].offset, outside[i].length) == NULL, SMF_ERROR_OUT_OF_RANGE);
        }
        REFUSED(rt_mmap_read_bytes(m.address, -1, 1) == NULL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_bytes(m.address, 0, -1) == NULL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_bytes(m.address + 1, -1, 1) == NULL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_bytes(m.address, INT64_MIN, INT64_MIN) == NULL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_string(m.address, -1, 0) == NULL, SMF_ERROR_ARGUMENT);
        refuse_range(m.address, m.size + 1, SMF_ERROR_OUT_OF_RANGE);
        refuse_range(m.address + PAGE, m.size, SMF_ERROR_OUT_OF_RANGE);
        refuse_range(m.address, INT64_MAX, SMF_ERROR_OUT_OF_RANGE);
        REFUSED(!smf_mmap_advise(m.address, PAGE, 5), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_mmap_advise(m.address, PAGE, -1), SMF_ERROR_ARGUMENT);
        CHECK(smf_mmap_lock(m.address + PAGE, 1) && smf_mmap_unlock(m.address + PAGE, PAGE) && smf_mmap_lock(m.address, m.size));
        CHECK(smf_mmap_unlock(m.address, m.size));
        for (int32_t advice = 0; advice <= 4; advice++) {
            CHECK(smf_mmap_advise(m.address + PAGE, m.size - PAGE, advice) && smf_mmap_advise(m.address, 1, advice));
        }
        reads(m.address, 0, pattern, m.size);
        /* Mappings are not blocks, and blocks are not mappings. */
        REFUSED(!rt_free_exec_memory(m.address, m.size), SMF_ERROR_UNKNOWN_ADDRESS);
        REFUSED(!rt_set_protection(m.address, m.size, WRITE), SMF_ERROR_UNKNOWN_ADDRESS);
        REFUSED(rt_call_function_0(m.address) == 0, SMF_ERROR_NOT_EXECUTABLE);
        CHECK(smf_mmap_unmap(m.address, m.size) && rt_free_exec_memory(block.address, PAGE));
        refuse_range(m.address, m.size, SMF_ERROR_UNKNOWN_ADDRESS);
    }
    free(heap);
}

static void running(void) {
    const uint8_t seven[] = RETURNS(7);
    write_file("code", seven, sizeof seven);
    refused(named("code"), READ | EXEC, PRIVATE, 0, 0, SMF_ERROR_POLICY, "smf_mmap_allow_exec");
    refused(named("code"), EXEC, PRIVATE, 0, 0, SMF_ERROR_POLICY, "smf_mmap_allow_exec");
    CHECK(!smf_mmap_allow_exec(true) && smf_mmap_allow_exec(true));
    refused(named("code"), READ | EXEC, SHARED, 0, 0, SMF_ERROR_ARGUMENT, "EXEC with SHARED");
    refused(NULL, READ | EXEC, PRIVATE | ANON, 0, PAGE, SMF_ERROR_ARGUMENT, "EXEC with ANONYMOUS");
    refused(named("code"), WRITE | EXEC, PRIVATE, 0, 0, SMF_ERROR_WRITE_AND_EXECUTE, "executable");
    SmfMapping m = rt_mmap_file(named("code"), READ | EXEC, PRIVATE, 0, 0);
    CHECK(m.size == sizeof seven && rt_is_executable(m.address) && watch() == 0);
    CHECK(rt_call_function_0(m.address) == 7 && rt_get_function_pointer(m.address) == m.address);
    /* A later change of the file does not affect the mapped code. */
    truncate(named("code"), 0);
    CHECK(rt_call_function_0(m.address) == 7);
    reads(m.address, 0, seven, sizeof seven);
    REFUSED(rt_get_function_pointer(m.address + m.size) == 0, SMF_ERROR_UNKNOWN_ADDRESS);
    CHECK(smf_mmap_unmap(m.address, m.size));
    REFUSED(rt_call_function_0(m.address) == 0, SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(rt_get_function_pointer(m.address) == 0, SMF_ERROR_UNKNOWN_ADDRESS);
    CHECK(smf_mmap_allow_exec(false) && !smf_mmap_allow_exec(false));
    refused(named("code"), READ | EXEC, PRIVATE, 0, 0, SMF_ERROR_POLICY, "smf_mmap_allow_exec");
}

static void cut_off(void) {
    static uint8_t bytes[4 * PAGE];
    memset(bytes, 'x', sizeof bytes);
    write_file("cut", bytes, sizeof bytes);
    SmfMapping shared = rt_mmap_file(named("cut"), READ | WRITE, SHARED, 0, 0);
    SmfMapping mine = rt_mmap_file(named("cut"), READ, PRIVATE, 0, 0);
    CHECK(truncate(named("cut"), PAGE + 10) == 0);
    reads(shared.address, 0, bytes, PAGE + 10);
    REFUSED(rt_mmap_read_bytes(shared.address, 0, shared.size) == NULL, SMF_ERROR_FILE);
    CHECK(strstr(smf_last_error().text, "truncated"));
    REFUSED(rt_mmap_read_bytes(shared.address, 3 * PAGE, 1) == NULL, SMF_ERROR_FILE);
    REFUSED(rt_mmap_read_string(shared.address, PAGE, 0) == NULL, SMF_ERROR_FILE);
    says(shared.address, PAGE, 10, "xxxxxxxxxx");
    CHECK(smf_mmap_sync(shared.address, shared.size, false) && smf_mmap_advise(shared.address, shared.size, 3));
    CHECK(!smf_mmap_lock(shared.address, shared.size) && smf_mmap_unlock(shared.address, shared.size));
    reads(mine.address, 0, bytes, mine.size);
    CHECK(!memcmp((void *)(intptr_t)mine.address, bytes, sizeof bytes));
    CHECK(unlink(named("cut")) == 0);
    reads(shared.address, 0, bytes, PAGE + 10);
    CHECK(smf_mmap_unmap(shared.address, shared.size) && smf_mmap_unmap(mine.address, mine.size));
}

/* Another process changes two files in a loop: it truncates, extends and writes one, and also deletes and replaces the
 * other. */
static void vandal(void) {
    static char bytes[4 * PAGE];
    char cut[128], gone[128], other[128];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(cut, sizeof cut, "%s/cut", directory);
    snprintf(gone, sizeof gone, "%s/gone", directory);
    snprintf(other, sizeof other, "%s/other", directory);
    for (unsigned round = 0;; round++) {
        memset(bytes, 'a' + (int)(round % 26), sizeof bytes);
        int file = open(round % 2 ? cut : gone, O_RDWR | O_CREAT, 0600);
        switch (round / 2 % 5) {
        case 0: (void)!ftruncate(file, 0); break;
        case 1: (void)!pwrite(file, bytes, sizeof bytes, 0); break;
        case 2: (void)!ftruncate(file, PAGE + 1); break;
        case 3: (void)!ftruncate(file, 16 * PAGE); break;
        case 4:
            unlink(gone);
            int new = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
            (void)!write(new, bytes, sizeof bytes);
            close(new);
            rename(other, gone);
        }
        close(file);
    }
}

static void another_process(void) {
    static uint8_t bytes[16 * PAGE];
    memset(bytes, 'z', sizeof bytes);
    write_file("cut", bytes, sizeof bytes);
    write_file("gone", bytes, sizeof bytes);
    SmfMapping mine = rt_mmap_file(named("cut"), READ, PRIVATE, 0, 0);
    SmfMapping shared = rt_mmap_file(named("cut"), READ | WRITE, SHARED, 0, 0);
    CHECK(mine.address && shared.address);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        vandal();
    }
    int whole = 0, failed = 0;
    for (int round = 0; round < 1000 || !whole || !failed; round++) {
        RuntimeValue *value = rt_mmap_read_bytes(shared.address, round % 17 * 100, 8 * PAGE);
        RuntimeValue *text = rt_mmap_read_string(shared.address, round % 16 * PAGE, 0);
        whole += value != NULL;
        failed += value == NULL;
        CHECK(value || smf_last_error().code == SMF_ERROR_FILE);
        CHECK((!value || smf_value_free(value)) && (!text || smf_value_free(text)));
        SmfMapping now = rt_mmap_file(named("gone"), READ, round % 2 ? PRIVATE : SHARED, 0, 0);
        if (now.address) {
            value = rt_mmap_read_bytes(now.address, 0, now.size);
            CHECK(value || round % 2 == 0);
            CHECK((!value || smf_value_free(value)) && smf_mmap_unmap(now.address, now.size));
        }
        CHECK(!memcmp((void *)(intptr_t)mine.address, bytes, sizeof bytes));
        smf_mmap_lock(shared.address, shared.size);
        CHECK(smf_mmap_unlock(shared.address, shared.size) && smf_mmap_sync(shared.address, shared.size, true));
    }
    reads(mine.address, 0, bytes, mine.size);
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(smf_mmap_unmap(mine.address, mine.size) && smf_mmap_unmap(shared.address, shared.size));
}

/* One thread maps and unmaps, others read at the address. Each file consists of one letter. */
static _Atomic int64_t shared_address;
static _Atomic bool stop;
static _Atomic int seen;

static void *reader(void *unused) {
    while (!stop) {
        int64_t address = shared_address;
        RuntimeValue *value = address ? rt_mmap_read_bytes(address, 0, 3 * PAGE) : NULL;
        if (value) {
            const uint8_t *bytes = smf_bytes_data(value);
            CHECK(bytes[0] >= 'a' && bytes[0] <= 'd' && !memcmp(bytes, bytes + 1, 3 * PAGE - 1));
            CHECK(smf_value_free(value));
            seen++;
        }
        RuntimeValue *text = address ? rt_mmap_read_string(address, PAGE, 100) : NULL;
        CHECK(!text || smf_value_free(text));
        if (address) {
            smf_mmap_lock(address, PAGE);
            smf_mmap_unlock(address, PAGE);
            smf_mmap_advise(address, 3 * PAGE, 3);
        }
        /* Any thread may unmap, but only one succeeds. */
        if (address && seen % 64 == 0) {
            smf_mmap_unmap(address, 3 * PAGE);
        }
    }
    return unused;
}

static void threads(void) {
    static uint8_t letters[3 * PAGE];
    for (int i = 0; i < 4; i++) {
        memset(letters, 'a' + i, sizeof letters);
        write_file((char[]){'a' + (char)i, 0}, letters, sizeof letters);
    }
    pthread_t thread[4];
    stop = false;
    seen = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread[i], &small, reader, NULL) == 0);
    }
    for (int round = 0; round < 4000 || seen < 1000; round++) {
        int flags = round / 4 % 2 ? SHARED : PRIVATE;
        SmfMapping m = rt_mmap_file(named((char[]){'a' + round % 4, 0}), READ, flags, 0, 0);
        CHECK(m.size == 3 * PAGE);
        shared_address = m.address;
        if (round % 7 == 0) {
            usleep(50);
        }
        /* A reader may have unmapped it first. */
        smf_mmap_unmap(m.address, m.size);
        /* The address may have been reused by now. */
    }
    stop = true;
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
    shared_address = 0;
}

static void children(void) {
    SmfMapping ours = rt_mmap_file(NULL, READ | WRITE, SHARED | ANON, 0, PAGE);
    SmfMapping copy = rt_mmap_file(named("pattern"), READ | WRITE, PRIVATE, 0, 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        memcpy((void *)(intptr_t)ours.address, "child", 6);
        memcpy((void *)(intptr_t)copy.address, "child", 6);
        says(ours.address, 0, 0, "child");
        says(copy.address, 0, 0, "child");
        CHECK(smf_mmap_unmap(ours.address, ours.size) && smf_mmap_unmap(copy.address, copy.size));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    says(ours.address, 0, 0, "child");
    reads(copy.address, 0, pattern, copy.size);
    CHECK(smf_mmap_unmap(ours.address, ours.size) && smf_mmap_unmap(copy.address, copy.size));
}

/* Without free descriptors both SHARED and PRIVATE fail, and nothing leaks. */
static void exhausted(void) {
    struct rlimit limit, none;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    smf_clear_error();
    for (int shared = SHARED; shared <= PRIVATE; shared++) {
        CHECK(FAILED(rt_mmap_file(named("pattern"), READ, shared, 0, 0)) && smf_last_error().code == SMF_ERROR_FILE);
        CHECK(strstr(smf_last_error().text, "too many open files"));
    }
    CHECK(FAILED(rt_mmap_file(NULL, READ, SHARED | ANON, 0, 1)));
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void everything(void) {
    every_mode();
    strings();
    writing();
    anonymous();
    refusals();
    ranges();
    running();
    cut_off();
    children();
    exhausted();
}

int main(void) {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    CHECK(mkdtemp(directory));
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (uint8_t)(i * 7 % 251 + 1);
    }
    write_file("pattern", pattern, sizeof pattern);
    everything();
    threads();
    CHECK(smf_exec_trim());
    char *before = mappings();
    int open_before = descriptors();
    everything();
    another_process();
    threads();
    CHECK(smf_exec_trim());
    char *after = mappings();
    if (strcmp(before, after)) {
        fprintf(stderr, "%s\n%s", before, after);
    }
    CHECK(!strcmp(before, after) && descriptors() == open_before);
    free(before);
    free(after);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", directory);
    CHECK(system(command) == 0);
    puts("ok");
    return 0;
}
