/* A program for valgrind, which hides the vDSO: it loads a dynlib, and writes a jitdump into a directory. */
#include "check.h"

int main(int count, char **arguments) {
    CHECK(count == 3 && smf_jitdump_enable(arguments[1]));
    uint64_t loader = smf_loader_open(NULL);
    CHECK(smf_loader_load(loader, arguments[2]) && smf_loader_resolve(loader, "plugin", NULL));
    CHECK(smf_loader_close(loader));
    return 0;
}
