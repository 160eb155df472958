/* After dlclose no fork handlers of the library are left. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);              \
            exit(1);                                                                             \
        }                                                                                        \
    } while (0)

static int64_t (*allocate)(int64_t);

/* Whether a child exits successfully, with or without the library. */
static int forks(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(allocate && !allocate(10));
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Thread-local state of the library is destroyed with the thread, before the library is unloaded. */
static void *use(void *path) {
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library);
    *(void **)&allocate = dlsym(library, "rt_alloc_exec_memory");
    CHECK(allocate && allocate(10) && forks());
    allocate = NULL;
    CHECK(dlclose(library) == 0);
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, use, arguments[1]) == 0 && pthread_join(thread, NULL) == 0);
        CHECK(!dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) && forks());
    }
    puts("ok");
    return 0;
}
