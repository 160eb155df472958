/* Two copies of the static library in one process, as in a host whose plugin contains it too: modules of one copy have
 * their own thread-local storage and code, whatever the other copy has loaded. With PLUGIN defined, the plugin. */
#include "check.h"

#include <dlfcn.h>

int64_t load_and_call(const char *path);

int64_t load_and_call(const char *path) {
    SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_PROCESS_SYMBOLS};
    uint64_t loader = smf_loader_open(&options), module = smf_loader_load(loader, path);
    int64_t result = -1;
    if (!module || !smf_loader_call(loader, module, "count", NULL, 0, &result)) {
        fprintf(stderr, "%s\n", smf_last_error().text);
    }
    /* The loader stays open. */
    return result;
}

#ifndef PLUGIN
int main(int count, char **arguments) {
    CHECK(count == 4);
    void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(plugin);
    int64_t (*in_plugin)(const char *) = (int64_t (*)(const char *))(intptr_t)dlsym(plugin, "load_and_call");
    CHECK(in_plugin && in_plugin != load_and_call);
    for (int64_t round = 1; round < 4; round++) {
        CHECK(load_and_call(arguments[2]) == 11);
        CHECK(in_plugin(arguments[3]) == 21);
    }
    puts("ok");
    return 0;
}
#endif
