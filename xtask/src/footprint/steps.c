/* steps LIBRARY PROGRAM [ARGUMENT...]: runs the program one instruction at a time, and prints where in the
 * library it was, as the addresses that the library's own tables have. What the program prints is mixed
 * with that, and is no hexadecimal number. */
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT = 64 << 20 };

/* Where the code of one mapping is, and where the file that it is of begins. */
struct code {
    unsigned long start, end, base;
    int of_library;
};

/* The mapping of the process that an address lies in. */
static struct code code_at(pid_t process, unsigned long address, const char *library) {
    char path[64], line[4096], file[4096] = "";
    struct code code = {0};
    snprintf(path, sizeof path, "/proc/%d/maps", process);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long offset;
        char name[4096] = "";
        if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4095s", &code.start, &code.end, &offset, name) < 3)
            break;
        if (strcmp(name, file)) {
            strcpy(file, name);
            code.base = code.start - offset;
        }
        if (address >= code.start && address < code.end)
            break;
    }
    if (maps)
        fclose(maps);
    code.of_library = !strcmp(file, library);
    return code;
}

int main(int count, char **arguments) {
    static char seen[LIMIT];
    if (count < 3)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execv(arguments[2], arguments + 2);
        _exit(127);
    }
    struct code now = {0};
    int status;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        struct user_regs_struct registers;
        if (ptrace(PTRACE_GETREGS, child, NULL, &registers))
            return 1;
        unsigned long at = registers.rip;
        if (at < now.start || at >= now.end)
            now = code_at(child, at, arguments[1]);
        if (now.of_library && at - now.base < LIMIT)
            seen[at - now.base] = 1;
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL))
            return 1;
    }
    for (long at = 0; at < LIMIT; at++)
        if (seen[at])
            printf("%lx\n", at);
    return !WIFEXITED(status) || WEXITSTATUS(status);
}
