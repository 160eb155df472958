/* Thread-local storage of modules: threads made before and after loading, unloading while threads live, reloading. */
#include "check.h"

#include <pthread.h>
#include <semaphore.h>

static sem_t go, done;
static int64_t (*volatile check)(void);
static int64_t result;

static void *older(void *unused) {
    (void)unused;
    for (;;) {
        sem_wait(&go);
        if (!check) return NULL;
        result = check();
        sem_post(&done);
    }
}

static void *newer(void *unused) {
    (void)unused;
    return (void *)check();
}

static int64_t call(uint64_t loader, uint64_t module, const char *name) {
    int64_t value = -1;
    CHECK(smf_loader_call(loader, module, name, NULL, 0, &value));
    return value;
}

int main(int count, char **arguments) {
    char path[4096];
    pthread_t first, second;
    SmfLoaderOptions options = {.size = sizeof(options), .flags = SMF_LOADER_PROCESS_SYMBOLS};
    uint64_t loader = smf_loader_open(&options);
    CHECK(count == 2 && loader);
    snprintf(path, sizeof(path), "%s/storage.smf", arguments[1]);
    CHECK(sem_init(&go, 0, 0) == 0 && sem_init(&done, 0, 0) == 0);
    CHECK(pthread_create(&first, NULL, older, NULL) == 0);
    for (int round = 0; round < 100; round++) {
        uint64_t module = smf_loader_load(loader, path);
        CHECK(module);
        SmfSymbol symbol = {.size = sizeof(symbol)};
        *(int64_t *)&check = smf_loader_symbol(loader, module, "check", &symbol);
        CHECK(check);
        sem_post(&go);
        sem_wait(&done);
        CHECK(result == 0);
        void *second_result = NULL;
        CHECK(pthread_create(&second, NULL, newer, NULL) == 0 && pthread_join(second, &second_result) == 0);
        CHECK(second_result == NULL);
        CHECK(call(loader, module, "bump") == 4 && call(loader, module, "bump") == 5);
#ifndef NO_RELOAD
        /* Another version has storage of its own. */
        CHECK(smf_loader_reload(loader, module, path, false, NULL));
        CHECK(call(loader, module, "bump") == 4);
#endif
        CHECK(smf_loader_unload(loader, module));
        CHECK(smf_loader_collect(loader));
    }
#ifndef NO_RELOAD
    /* A symbol that nothing defines is one of the unresolved imports. */
    snprintf(path, sizeof(path), "%s/lacking.smf", arguments[1]);
    CHECK(!smf_loader_load(loader, path) && smf_last_error().code == SMF_ERROR_MISSING);
    CHECK(smf_loader_missing_count() == 1 && !strcmp(smf_loader_missing(0).symbol, "absent"));
    /* Storage needs none of the symbols of the process. */
    snprintf(path, sizeof(path), "%s/alone.smf", arguments[1]);
    uint64_t plain = smf_loader_open(NULL), alone = smf_loader_load(plain, path);
    CHECK(alone && call(plain, alone, "f") == 4 && call(plain, alone, "f") == 5 && smf_loader_close(plain));
#endif
    check = NULL;
    sem_post(&go);
    CHECK(pthread_join(first, NULL) == 0 && smf_loader_close(loader));
    puts("ok");
    return 0;
}
