/* The exports in a destructor of a thread, where the thread-local variables of the library are gone. */
#include "check.h"

#include <pthread.h>

static pthread_key_t key;
static uint64_t manager, loader;
static int64_t simple;
static int is_done;

static void late(void *unused) {
    (void)unused;
    CHECK(smf_exec_compile(manager, "late", "fn two(): 2\n", 12));
    CHECK(!smf_exec_compile(manager, "late", "fn three(): nothere\n", 20));
    CHECK(smf_last_error().code == SMF_ERROR_COMPILE);

    /* An empty text is a success. */
    CHECK(*rt_exec_manager_compile_source(simple, "fn four(): nothere\n") != 0);
    CHECK(*rt_exec_manager_compile_source(simple, "fn four(): 4\n") == 0);
    CHECK(rt_exec_manager_has_function(simple, "four"));

    CHECK(smf_loader_resolve(loader, "no_such_name", NULL) == 0);
    CHECK(smf_last_error().code == SMF_ERROR_NOT_FOUND);
    CHECK(strstr(smf_last_error().text, "no_such_name"));
    is_done = 1;
}

static void *work(void *unused) {
    CHECK(pthread_setspecific(key, &key) == 0);
    CHECK(smf_exec_compile(manager, "early", "fn one(): 1\n", 12));
    CHECK(*rt_exec_manager_compile_source(simple, "fn one(): 1\n") == 0);
    CHECK(smf_loader_resolve(loader, "no_such_name", NULL) == 0);
    return unused;
}

int main(void) {
    pthread_t thread;
    uint64_t jit = smf_jit_open(NULL);
    CHECK((manager = smf_exec_open(NULL)) && (simple = rt_exec_manager_create("auto")));
    CHECK(jit && (loader = smf_loader_open(NULL)) && smf_loader_set_jit(loader, jit));
    CHECK(pthread_key_create(&key, late) == 0);
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(is_done);
    puts("ok");
    return 0;
}
