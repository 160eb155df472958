/* Modules compiled as gcc does by default address data of the host by 32-bit distances. This host mentions stderr, so
 * that a position-dependent host has its own copy of it, more than 2 GiB away from the libraries. */
#define _GNU_SOURCE
#include "check.h"

#include <unistd.h>

long host_datum = 40;
long host_array[3] = {10, 20, 30};
long host_function(long x) { return 3 * x; }
long (*host_functions[])(long) = {host_function};
static const char *directory;

static uint64_t load(uint64_t loader, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.smf", directory, name);
    return smf_loader_load(loader, path);
}

static int64_t call(uint64_t loader, uint64_t module, const char *name, int64_t argument) {
    int64_t result = -1;
    CHECK(smf_loader_call(loader, module, name, &argument, 1, &result));
    return result;
}

/* Whether memory for small objects still comes from the program break. */
static bool heap_grows(void) {
    char *end = sbrk(0);
    return sbrk(1 << 20) == end && sbrk(0) == end + (1 << 20);
}

/* The error names the module, the import and the remedy. */
static void check_refused(uint64_t loader, const char *name, const char *symbol) {
    CHECK(!load(loader, name));
    const char *text = smf_last_error().text;
    CHECK(strstr(text, name) && strstr(text, symbol) && strstr(text, "-fPIC"));
}

/* Code for an executable holds 32-bit addresses, which a host has if it is one without -pie (is_low). */
static void check_fixed(uint64_t loader, bool is_low) {
    CHECK(smf_loader_define(loader, "host_array", ADDRESS(host_array)));
    CHECK(smf_loader_define(loader, "host_function", ADDRESS(host_function)));
    CHECK(smf_loader_define(loader, "host_functions", ADDRESS(host_functions)));
    uint64_t moved = load(loader, "fixed-moved");
    CHECK(moved && call(loader, moved, "go_on", 2) == 3 * 34 && host_array[2] == 34);
    if (is_low) {
        uint64_t data = load(loader, "fixed-data");
        CHECK(data && call(loader, data, "go", 4) == 21 + 20 + 4);
        uint64_t function = load(loader, "fixed-function");
        CHECK(function && call(loader, function, "go_there", 0) == 16);
    } else {
        check_refused(loader, "fixed-data", "host_array");
        check_refused(loader, "fixed-function", "host_function");
    }
}

int main(int count, char **arguments) {
    CHECK(count == 4);
    directory = arguments[1];
    bool is_apart = strcmp(arguments[2], "apart") == 0;
    SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_PROCESS_SYMBOLS};
    uint64_t loader = smf_loader_open(&options);
    CHECK(loader && smf_loader_define(loader, "host_datum", ADDRESS(&host_datum)));
    uint64_t module = load(loader, "data");
    CHECK(module);
    CHECK(call(loader, module, "error_stream", 0) == ADDRESS(stderr));
    CHECK(call(loader, module, "output_stream", 0) == ADDRESS(*(FILE **)call(loader, module, "output_address", 0)));
    CHECK(call(loader, module, "environment", 0) == ADDRESS(*(char ***)call(loader, module, "environment_address", 0)));
    CHECK(call(loader, module, "add", 2) == 42 && host_datum == 42);
    CHECK(call(loader, module, "is_zero", 0) == 0);
    host_datum = 0;
    CHECK(call(loader, module, "is_zero", 0) == 1);
    /* Instructions that cannot be moved: the image is placed near what they address. */
    uint64_t near = load(loader, "near");
    CHECK(near && call(loader, near, "pushed_stream", 0) == ADDRESS(stderr));
    uint64_t host = load(loader, "near-host");
    CHECK(host && call(loader, host, "pushed_datum", 0) == host_datum);
    uint64_t large = load(loader, "near-large");
    CHECK(large && call(loader, large, "pushed_stream_too", 0) == ADDRESS(stderr));
    uint64_t both = load(loader, "both");
    if (is_apart) {
        const char *text = smf_last_error().text;
        CHECK(!both && strstr(text, "-fPIC") && strstr(text, "both"));
        CHECK(strstr(text, "stderr") || strstr(text, "stdout"));
    } else {
        CHECK(both && call(loader, both, "pushed_both", 0) == ADDRESS(stderr));
    }
    check_fixed(loader, strcmp(arguments[3], "low") == 0);
    CHECK(heap_grows());
    CHECK(smf_loader_close(loader));
    watch();
    fprintf(stderr, "ok\n");
    return 0;
}
