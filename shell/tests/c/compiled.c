/* A module that `smf compile` wrote: loaded, called with the types of its functions, and trapped. */
#define _GNU_SOURCE
#include "check.h"

int main(int count, char **arguments) {
    CHECK(count == 2);
    SmfLoaderOptions options = {.size = sizeof options};
    uint64_t loader = smf_loader_open(&options);
    CHECK(loader);
    uint64_t module = smf_loader_load(loader, arguments[1]);
    CHECK(module);
    int64_t result = -1, integers[2] = {40, 2};
    CHECK(smf_loader_call(loader, module, "add", integers, 2, &result) && result == 42);
    CHECK(smf_loader_call(loader, module, "fib", integers + 1, 1, &result) && result == 1);
    integers[0] = 30;
    CHECK(smf_loader_call(loader, module, "fib", integers, 1, &result) && result == 832040);
    integers[1] = 0;
    CHECK(!smf_loader_call(loader, module, "div", integers, 2, &result));
    CHECK(strstr(smf_last_error().text, "division by zero"));
    CHECK(smf_loader_close(loader));
    puts("ok");
    return 0;
}
