/* Shared by the C tests: checks that print their location, and inspection of the process's mappings. */
#ifndef CHECK_H
#define CHECK_H

#include "smf.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            SmfError error_ = smf_last_error();                                                  \
            fprintf(stderr, "%s:%d: failed: %s (last error %d: %s)\n", __FILE__, __LINE__,      \
                    #condition, (int)error_.code, error_.text);                                 \
            exit(1);                                                                             \
        }                                                                                        \
    } while (0)

/* Checks that the expression (a comparison with the failure value) is true, that the last error has this code and a
 * message, and that the statistics of executable memory are unchanged. */
#define REFUSED(condition, code_)                                                                \
    do {                                                                                         \
        int64_t total_ = rt_exec_memory_total(), count_ = rt_exec_memory_count();                \
        smf_clear_error();                                                                       \
        CHECK(condition);                                                                        \
        SmfError error_ = smf_last_error();                                                      \
        CHECK(error_.code == (code_) && strlen(error_.text) > 8);                                \
        CHECK(rt_exec_memory_total() == total_ && rt_exec_memory_count() == count_);             \
        watch();                                                                                 \
    } while (0)

/* Fails if a mapping of the process is writable and executable. Returns the number of mappings for generated code. */
static int watch(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    int ours = 0;
    if (!maps) {
        perror("/proc/self/maps");
        exit(1);
    }
    while (fgets(line, sizeof line, maps)) {
        const char *rights = strchr(line, ' ');
        if (rights && rights[2] == 'w' && rights[3] == 'x') {
            fprintf(stderr, "writable and executable: %s", line);
            exit(1);
        }
        ours += strstr(line, "smf-code") != NULL;
    }
    fclose(maps);
    return ours;
}

/* All mappings except the heap and the stack, which grow at any time. To be freed. */
static inline char *mappings(void) {
    static char line[1024];
    size_t size = 1 << 16, used = 0;
    char *all = malloc(size);
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(all && maps);
    while (fgets(line, sizeof line, maps)) {
        if (strstr(line, "[heap]") || strstr(line, "[stack]")) {
            continue;
        }
        CHECK(used + strlen(line) < size);
        strcpy(all + used, line);
        used += strlen(line);
    }
    fclose(maps);
    return all;
}

/* x86-64: `mov eax, number; ret`. */
#define RETURNS(number) {0xb8, (number) & 0xff, (number) >> 8 & 0xff, 0, 0, 0xc3}

#ifdef __aarch64__
/* `ldr x16, .+8; br x16; .quad address` */
#define JUMP_SIZE 16
static inline void jump_to(uint8_t code[JUMP_SIZE], int64_t address) {
    const uint32_t instructions[] = {0x58000050, 0xd61f0200};
    memcpy(code, instructions, sizeof instructions);
    memcpy(code + 8, &address, 8);
}
#else
/* `mov rax, address; jmp rax` */
#define JUMP_SIZE 12
static inline void jump_to(uint8_t code[JUMP_SIZE], int64_t address) {
    code[0] = 0x48;
    code[1] = 0xb8;
    memcpy(code + 2, &address, 8);
    code[10] = 0xff;
    code[11] = 0xe0;
}
#endif

#define ADDRESS(pointer) ((int64_t)(intptr_t)(pointer))

/* The number of open descriptors, with the one that counts them. */
static int descriptors(void) {
    DIR *all = opendir("/proc/self/fd");
    int count = 0;
    CHECK(all);
    while (readdir(all)) {
        count++;
    }
    closedir(all);
    return count;
}

#endif
