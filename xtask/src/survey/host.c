/* Loads a module, in a program that mentions stderr: a copy relocation where the compiler's default is no -fPIC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

#include "smf.h"

int main(int count, char **arguments) {
    static const char *const libraries[] = {
        "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "libgomp.so.1", "libgfortran.so.5",
        "libquadmath.so.0", "libcrypt.so.1", "libresolv.so.2",
    };
    for (unsigned i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        dlopen(libraries[i], RTLD_NOW | RTLD_GLOBAL);
    }
    SmfLoaderOptions options = {sizeof options, 0, 0, SMF_LOADER_PROCESS_SYMBOLS, 0};
    uint64_t loader = smf_loader_open(&options);
    if (count != 2 || !smf_loader_load(loader, arguments[1])) {
        fprintf(stderr, "%s\n", smf_last_error().text);
        return 1;
    }
    return !smf_loader_close(loader);
}
