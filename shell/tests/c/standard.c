/* Loads modules that need the standard libraries of C++ and Rust, from the last one to the first, and calls a function of
 * the first: standard FUNCTION ARGUMENT MODULE... */
#include "check.h"

#include <dlfcn.h>

int main(int count, char **arguments) {
    CHECK(count >= 4);
    /* Mentioned, so that a program that is not position-independent has its own copy of the variable. */
    CHECK(setvbuf(stderr, NULL, _IONBF, 0) == 0);
    CHECK(dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL));
    SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_PROCESS_SYMBOLS};
    uint64_t loader = smf_loader_open(&options), module = 0;
    CHECK(loader);
    for (int last = count - 1; last >= 3; last--) {
        module = smf_loader_load(loader, arguments[last]);
        CHECK(module);
    }
    int64_t argument = atoll(arguments[2]), result = 0;
    CHECK(smf_loader_call(loader, module, arguments[1], &argument, 1, &result));
    printf("%lld\n", (long long)result);
    CHECK(smf_loader_close(loader));
    puts("ok");
    return 0;
}
