/* A loader is closed while a call is inside of a module of it, and while a thread has to run a destructor of one. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

static uint64_t loader;
static pthread_barrier_t both;

static int64_t closes(int64_t number) {
    CHECK(smf_loader_close(loader));
    CHECK(!smf_loader_close(loader));
    return number;
}

static uint64_t load(const char *path, const char *name, int64_t *function) {
    loader = smf_loader_open(NULL);
    CHECK(loader && smf_loader_define(loader, "closes", (int64_t)closes));
    uint64_t module = smf_loader_load(loader, path);
    CHECK(module && (*function = smf_loader_stable(loader, module, name)));
    return module;
}

static int count_mappings(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    int lines = 0;
    for (int c; (c = getc(maps)) != EOF;) lines += c == '\n';
    fclose(maps);
    return lines;
}

static void *registers(void *function) {
    CHECK(rt_call_function_0((int64_t)function) == 0);
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 3 && pthread_barrier_init(&both, NULL, 2) == 0);
    int before = 0;
    for (int round = 0; round < 60; round++) {
        int64_t calls, ends;
        load(arguments[1], "calls", &calls);
        CHECK(rt_call_function_1(calls, 41) == 42);

        load(arguments[2], "registers", &ends);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, registers, (void *)ends) == 0);
        pthread_barrier_wait(&both);
        CHECK(smf_loader_close(loader));
        pthread_barrier_wait(&both);
        CHECK(pthread_join(thread, NULL) == 0);
        if (round == 10) before = count_mappings();
    }
    /* The next loader that is opened or closed frees those before. */
    CHECK(count_mappings() <= before);
    puts("ok");
    return 0;
}
