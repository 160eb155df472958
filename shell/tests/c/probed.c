/* A program that hits each probe once: it loads, replaces and unloads a module, and makes an instance of a template. The
 * test that runs this program copies the templates. */
#include "check.h"

#define MODULE "../tests/samples/packed.smf"

int main(int count, char **arguments) {
    CHECK(count == 2);
    SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_RELOAD_ALL};
    uint64_t loader = smf_loader_open(&options);
    uint64_t module = smf_loader_load(loader, MODULE);
    CHECK(module && smf_loader_reload(loader, module, MODULE, false, NULL) && smf_loader_unload(loader, module));
    CHECK(smf_loader_close(loader));
    SmfJitOptions jit_options = {sizeof jit_options, 50, SMF_JIT_SILENT, 0};
    uint64_t jit = smf_jit_open(&jit_options);
    CHECK(jit && smf_jit_load(jit, arguments[1]));
    CHECK(smf_jit_instantiate(jit, "max$i64", NULL) == SMF_JIT_SUCCESS);
    CHECK(smf_jit_close(jit));
    puts("ok");
    return 0;
}
