/* A statically linked program: modules are loaded, called and replaced, bytecode and templates work, and what needs the
 * system's loader is refused with a reason that names it. Arguments: the samples, and a directory with made modules. */
#include "check.h"

static const char *directory;

static const char *in(const char *where, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", where, name);
    return path;
}

static int64_t call(uint64_t loader, uint64_t module, const char *name, int64_t a, int64_t b) {
    int64_t address = smf_loader_stable(loader, module, name);
    CHECK(address != 0);
    return rt_call_function_2(address, a, b);
}

static void modules(const char *samples) {
    uint64_t loader = smf_loader_open(NULL);
    uint64_t packed = smf_loader_load(loader, in(samples, "packed.smf"));
    CHECK(packed != 0);
    CHECK(call(loader, packed, "add", 40, 2) == 42);
    CHECK(smf_loader_provide(loader, in(samples, "lib.smf")));
    uint64_t app = smf_loader_load(loader, in(samples, "app.smf"));
    CHECK(app != 0 && call(loader, app, "direct", 14, 0) == 42);
    watch();

    uint64_t answer = smf_loader_load(loader, in(directory, "one.smf"));
    int64_t address = smf_loader_stable(loader, answer, "answer");
    CHECK(address != 0 && rt_call_function_0(address) == 1);
    CHECK(smf_loader_reload(loader, answer, in(directory, "two.smf"), true, NULL));
    CHECK(rt_call_function_0(address) == 2);
    CHECK(smf_loader_unload(loader, app) && smf_loader_close(loader));
}

static void templates(const char *samples) {
    SmfJitOptions options = {.size = sizeof options, .max_depth = 50, .flags = SMF_JIT_SILENT};
    uint64_t jit = smf_jit_open(&options);
    CHECK(smf_jit_load(jit, in(samples, "records.smf")));
    int64_t max = smf_jit_resolve(jit, "max$i64");
    CHECK(max != 0 && rt_call_function_2(max, 3, 4) == 4);
    CHECK(smf_jit_close(jit));

    int64_t manager = rt_exec_manager_create("auto");
    CHECK(*rt_exec_manager_compile_source(manager, "fn half(x): 84 / x\n") == 0);
    const int64_t two = 2, zero = 0;
    CHECK(rt_exec_manager_execute(manager, "half", &two, 1) == 42);
    CHECK(rt_exec_manager_execute(manager, "half", &zero, 1) == 0);
    CHECK(strstr(rt_exec_manager_get_last_error(manager), "division by zero"));
    rt_exec_manager_cleanup(manager);
}

/* Loading the file fails with an error that contains the text. */
static void refused(const char *where, const char *name, const char *text) {
    uint64_t loader = smf_loader_open(NULL);
    CHECK(smf_loader_load(loader, in(where, name)) == 0);
    SmfError error = smf_last_error();
    printf("%s\n", error.text);
    CHECK(strstr(error.text, text) && smf_loader_close(loader));
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    const char *samples = arguments[1];
    directory = arguments[2];
    modules(samples);
    templates(samples);

    SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_PROCESS_SYMBOLS};
    REFUSED(smf_loader_open(&options) == 0, SMF_ERROR_STATE);
    printf("%s\n", smf_last_error().text);
    CHECK(strstr(smf_last_error().text, "linked statically"));
    refused(samples, "needed.smf", "`libm.so.6`");
    refused(samples, "dynlib.smf", "system's loader");
    refused(directory, "storage.smf", "linked statically");
    refused(directory, "general.smf", "linked statically");
    refused(directory, "prints.smf", "`printf`");
    refused(directory, "atexit.smf", "`__cxa_thread_atexit_impl`");
    puts("ok");
    return 0;
}
