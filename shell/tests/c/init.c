/* Constructors and destructors of modules: at load, at unload, when a loader is closed, and at the exit of the process.
 * The test that runs this program creates the modules and compares the output. */
#include "check.h"

static void host_says(const char *what, long number) { printf("%s %ld\n", what, number); }

int main(int count, char **arguments) {
    CHECK(count == 5);
    SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_PROCESS_SYMBOLS};
    uint64_t loader = smf_loader_open(&options);
    CHECK(loader && smf_loader_define(loader, "host_says", (int64_t)host_says));
    uint64_t first = smf_loader_load(loader, arguments[1]);
    uint64_t second = smf_loader_load(loader, arguments[2]);
    CHECK(first && second);
    int64_t result = 0;
    CHECK(smf_loader_call(loader, first, "number_1", NULL, 0, &result) && result == 11);
    CHECK(smf_loader_unload(loader, first));
    puts("unloaded");
    CHECK(smf_loader_load(loader, arguments[1]));
    CHECK(smf_loader_close(loader));
    puts("closed");

    options.flags |= SMF_LOADER_REFUSE_CONSTRUCTORS;
    loader = smf_loader_open(&options);
    CHECK(loader && smf_loader_define(loader, "host_says", (int64_t)host_says));
    CHECK(!smf_loader_load(loader, arguments[1]) && smf_last_error().code == SMF_ERROR_LINK);
    CHECK(strstr(smf_last_error().text, "has constructors, destructors, exit handlers or indirect functions"));
    /* Opening a needed library or a dynlib would run initialisers. */
    for (int at = 3; at < 5; at++) {
        CHECK(!smf_loader_load(loader, arguments[at]) && smf_last_error().code == SMF_ERROR_LINK);
        CHECK(strstr(smf_last_error().text, arguments[at]));
        CHECK(strstr(smf_last_error().text, "initialisers would run, which the options of the loader refuse"));
    }
    CHECK(!smf_loader_provide(loader, arguments[4]) && smf_last_error().code == SMF_ERROR_LINK);

    options.flags = SMF_LOADER_PROCESS_SYMBOLS;
    loader = smf_loader_open(&options);
    CHECK(loader && smf_loader_define(loader, "host_says", (int64_t)host_says));
    CHECK(smf_loader_load(loader, arguments[1]) && smf_loader_load(loader, arguments[2]));
    puts("ok");
    return 0;
}
