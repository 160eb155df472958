/* Threads call a function of a module in every way while the main thread replaces that module in a loop. No thread may
 * execute code of an unmapped version.
 *
 * Arguments: a directory with versions.smf, versions2.smf and importer.smf; how often to reload in each mode;
 * "shared", "one-core" or "busy", for all cores, one core, or all cores beside two busy threads; the modes to
 * run, or none for all.
 *
 * Without counting calls by address (compiled with WITHOUT_COLLECT), the modes stable-address, version-address, import,
 * direct and direct-import end by SIGSEGV. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS = 8 };

/* How the threads call the function. */
enum mode {
    BY_STABLE_ADDRESS,  /* rt_call_function_0 of the address from smf_loader_resolve */
    BY_VERSION_ADDRESS, /* rt_call_function_0 of the address from smf_loader_symbol, looked up again when refused */
    BY_NAME,            /* smf_loader_call */
    HELD,               /* a hold, the address in that version, the release */
    BY_IMPORT,          /* rt_call_function_0 of a function of another module, which imports it */
    DIRECT,             /* the stable address as a function pointer */
    DIRECT_IMPORT,      /* the function of the other module as a function pointer */
    MODES
};

static const char *const mode_names[MODES] = {
    "stable-address", "version-address", "name", "hold", "import", "direct", "direct-import",
};

/* Threads in these modes enter module code without the library. */
static bool is_direct(enum mode mode) { return mode >= DIRECT; }

struct shared {
    uint64_t loader, module;
    int64_t stable, importer;
    enum mode mode;
    atomic_bool stop;
    atomic_long calls;
    /* Set by the main thread: direct callers stay outside of module code while it is true. */
    atomic_bool pause;
    atomic_int paused;
};

static int64_t call_version(struct shared *shared) {
    int64_t result = 0;
    switch (shared->mode) {
    case BY_STABLE_ADDRESS:
        return rt_call_function_0(shared->stable);
    case BY_IMPORT:
        return rt_call_function_0(shared->importer);
    case BY_VERSION_ADDRESS: {
        int64_t address = smf_loader_symbol(shared->loader, shared->module, "version", NULL);
        while ((result = rt_call_function_0(address)) == 0) {
            CHECK(smf_last_error().code == SMF_ERROR_NOT_EXECUTABLE);
            CHECK((address = smf_loader_symbol(shared->loader, shared->module, "version", NULL)));
        }
        return result;
    }
    case BY_NAME:
        CHECK(smf_loader_call(shared->loader, shared->module, "version", NULL, 0, &result));
        return result;
    case HELD: {
        uint64_t hold = smf_loader_hold(shared->loader, shared->module);
        int64_t address = smf_loader_symbol(shared->loader, hold, "version", NULL);
        CHECK(hold && address && (result = rt_call_function_0(address)));
        CHECK(smf_loader_release(shared->loader, hold));
        return result;
    }
    case DIRECT:
        return ((int64_t (*)(void))(intptr_t)shared->stable)();
    case DIRECT_IMPORT:
        return ((int64_t (*)(void))(intptr_t)shared->importer)();
    default:
        abort();
    }
}

static void *caller(void *argument) {
    struct shared *shared = argument;
    while (!shared->stop) {
        if (shared->pause) {
            shared->paused++;
            while (shared->pause) {
                usleep(100);
            }
            shared->paused--;
        }
        int64_t version = call_version(shared);
        CHECK(version == 1 || version == 2);
        shared->calls++;
    }
    return NULL;
}

static SmfLoaderStatistics statistics(uint64_t loader) {
    SmfLoaderStatistics s = {.size = sizeof s};
    CHECK(smf_loader_statistics(loader, &s));
    return s;
}

/* Stops the direct callers, and states that no thread is inside code that it entered without the library. */
static void collect(struct shared *shared) {
#ifndef WITHOUT_COLLECT
    if (is_direct(shared->mode)) {
        shared->pause = true;
        while (shared->paused != THREADS) {
            usleep(100);
        }
    }
    CHECK(smf_loader_collect(shared->loader));
    if (is_direct(shared->mode)) {
        CHECK(statistics(shared->loader).retired == 0);
        shared->pause = false;
        while (shared->paused != 0) {
            usleep(100);
        }
    }
#else
    (void)shared;
#endif
}

static uint8_t *file(const char *directory, const char *name, int64_t *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.smf", directory, name);
    FILE *file = fopen(path, "r");
    CHECK(file && fseek(file, 0, SEEK_END) == 0 && (*length = ftell(file)) > 0);
    uint8_t *bytes = malloc((size_t)*length);
    rewind(file);
    CHECK(bytes && fread(bytes, 1, (size_t)*length, file) == (size_t)*length && fclose(file) == 0);
    return bytes;
}

static void run(const char *directory, enum mode mode, long reloads) {
    struct shared shared = {.mode = mode};
    int64_t lengths[2], length;
    uint8_t *versions[2] = {file(directory, "versions", &lengths[0]), file(directory, "versions2", &lengths[1])};
    uint8_t *importer = file(directory, "importer", &length);
    CHECK((shared.loader = smf_loader_open(NULL)));
    CHECK((shared.module = smf_loader_load_bytes(shared.loader, "versions", versions[0], lengths[0])));
    if (mode == BY_IMPORT || mode == DIRECT_IMPORT) {
        CHECK(smf_loader_load_bytes(shared.loader, "importer", importer, length));
        CHECK((shared.importer = smf_loader_resolve(shared.loader, "imported", NULL)));
    }
    if (mode == BY_STABLE_ADDRESS || mode == DIRECT) {
        CHECK((shared.stable = smf_loader_resolve(shared.loader, "version", NULL)));
    }
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, caller, &shared) == 0);
    }
    long done = 0;
    for (; done < reloads || shared.calls < 1000; done++) {
        int next = (done + 1) % 2;
        if (!smf_loader_reload_bytes(shared.loader, shared.module, versions[next], lengths[next], true, NULL)) {
            /* Replaced code has reached the limit of the loader. */
            CHECK(smf_last_error().code == SMF_ERROR_CEILING && strstr(smf_last_error().text, "smf_loader_collect"));
            collect(&shared);
            done--;
        } else if (done % 1000 == 999) {
            collect(&shared);
        }
    }
    shared.stop = true;
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    printf("%s: %ld reloads, %ld calls\n", mode_names[mode], done, shared.calls);
    fflush(stdout);
#ifndef WITHOUT_COLLECT
    CHECK(smf_loader_collect(shared.loader) && statistics(shared.loader).retired == 0);
#endif
    CHECK(smf_loader_close(shared.loader));
    free(versions[0]);
    free(versions[1]);
    free(importer);
}

static void *busy(void *argument) {
    for (volatile long round = 0;; round++) {
    }
    return argument;
}

static void set_condition(const char *condition) {
    if (!strcmp(condition, "one-core")) {
        cpu_set_t all, one;
        CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
        int core = 0;
        while (!CPU_ISSET(core, &all)) {
            core++;
        }
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    } else if (!strcmp(condition, "busy")) {
        for (int i = 0; i < 2; i++) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, busy, NULL) == 0);
        }
    } else {
        CHECK(!strcmp(condition, "shared"));
    }
}

int main(int count, char **arguments) {
    CHECK(count >= 4);
    set_condition(arguments[3]);
    for (enum mode mode = 0; mode < MODES; mode++) {
        bool is_chosen = count == 4;
        for (int i = 4; i < count; i++) {
            is_chosen |= strcmp(arguments[i], mode_names[mode]) == 0;
        }
        if (is_chosen) {
            run(arguments[1], mode, atol(arguments[2]));
        }
    }
    puts("ok");
    return 0;
}
