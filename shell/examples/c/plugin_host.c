/*
 * A host that replaces its plugin while it runs.
 *
 *     cc -c -DSTEP=1 plugin.c -o one.o && smf pack --reloadable one.o -o one.smf
 *     cc -c -DSTEP=10 plugin.c -o two.o && smf pack --reloadable two.o -o two.smf
 *     cc plugin_host.c $(pkg-config --cflags --libs smf) -o host
 *     ./host one.smf two.smf
 */
#include <stdio.h>

#include <smf.h>

/* The function that plugins import. */
void host_log(const char *text, long number) {
    printf("plugin: %s %ld\n", text, number);
}

static int fail(const char *action) {
    fprintf(stderr, "%s: %s\n", action, smf_last_error().text);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: host OLD.smf NEW.smf\n");
        return 2;
    }
    uint64_t loader = smf_loader_open(NULL);
    if (!loader || !smf_loader_define(loader, "host_log", (int64_t)host_log))
        return fail("open");
    uint64_t plugin = smf_loader_load(loader, argv[1]);
    if (!plugin)
        return fail("load");
    /* This address calls the current version, also after a reload. */
    long (*step)(void) = (long (*)(void))smf_loader_stable(loader, plugin, "plugin_step");
    if (!step)
        return fail("plugin_step");
    step();
    SmfReloaded reloaded = {.size = sizeof reloaded};
    if (!smf_loader_reload(loader, plugin, argv[2], SMF_DATA_KEEP, &reloaded))
        return fail("reload");
    printf("reloaded, %d data symbols kept their values\n", (int)reloaded.symbols);
    step();
    /* No thread is inside of the plugin now. */
    smf_loader_collect(loader);
    return smf_loader_close(loader) ? 0 : fail("close");
}
