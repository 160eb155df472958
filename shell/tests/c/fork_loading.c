/* Children of a process one of whose threads is inside of the system's loader, for modules with thread-local storage and
 * modules that need libraries. Each child loads such a module. If a fork does not wait for the thread, a tenth of the
 * children is ended by the system's loader or hangs. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char **modules;
static atomic_bool done;

static bool load_all(void) {
    bool loaded = true;
    for (char **module = modules; *module; module++) {
        SmfLoaderOptions options = {.size = sizeof options, .flags = SMF_LOADER_PROCESS_SYMBOLS};
        uint64_t loader = smf_loader_open(&options);
        loaded = loaded && smf_loader_load(loader, *module);
        if (!loaded) {
            fprintf(stderr, "%d: %s\n", getpid(), smf_last_error().text);
        }
        loaded = smf_loader_close(loader) && loaded;
    }
    return loaded;
}

static void *keep_loading(void *unused) {
    while (!done) {
        if (!load_all()) {
            _exit(1);
        }
    }
    return unused;
}

int main(int count, char **arguments) {
    CHECK(count > 2);
    int forks = atoi(arguments[1]);
    modules = arguments + 2;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, keep_loading, NULL) == 0);
    for (int number = 0; number < forks; number++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(20);
            _exit(load_all() ? 7 : 1);
        }
        int status = 0;
        CHECK(waitpid(child, &status, 0) == child);
        if (status != 7 << 8) {
            fprintf(stderr, "child %d: status %x\n", number, (unsigned)status);
            return 1;
        }
    }
    done = true;
    pthread_join(thread, NULL);
    puts("ok");
    return 0;
}
