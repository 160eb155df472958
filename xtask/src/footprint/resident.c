/* Prints the resident memory of a process in KiB: with LOAD, of one that has loaded a module. */
#include <stdio.h>
#include <string.h>
#ifdef LOAD
#include <smf.h>
#endif

int main(int count, char **arguments) {
    (void)count;
    (void)arguments;
#ifdef LOAD
    uint64_t loader = smf_loader_open(NULL);
    if (!smf_loader_load(loader, arguments[1]) || !smf_loader_resolve(loader, "answer", NULL))
        return 1;
#endif
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "VmRSS:", 6))
            fputs(line + 6, stdout);
    return 0;
}
