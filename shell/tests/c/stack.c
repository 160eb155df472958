/* Bytecode on stacks of every size: unlimited recursion is stopped before the end of the stack, and a function that
 * calls nothing runs. The test that runs this program creates the module. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <ucontext.h>

typedef int64_t (*Function)(int64_t);

static uint64_t loader, module;
static int64_t leaf, forever;

static bool says(const char *what) { return strstr(smf_last_error().text, what) != NULL; }

/* Why a call was stopped: by the end of the stack, or by the limit of activations. */
enum stopped { AT_STACK, AT_DEPTH };

static enum stopped stopped(void) {
    CHECK(smf_last_error().code == SMF_ERROR_TRAP);
    bool deep = says("calls inside each other");
    CHECK(deep || says("more values than the stack may hold"));
    return deep ? AT_DEPTH : AT_STACK;
}

/* Calls in every way, often enough for functions to be compiled where the stack suffices. */
static enum stopped calls(void) {
    enum stopped last = AT_DEPTH;
    for (int64_t n = 1; n <= 300; n++) {
        CHECK(rt_call_function_1(leaf, n) == n && ((Function)leaf)(n) == n);
        int64_t result = 0;
        CHECK(smf_loader_call(loader, module, "leaf", &n, 1, &result) && result == n);
        CHECK(rt_call_function_1(forever, n) == 0);
        last = stopped();
        CHECK(!smf_loader_call(loader, module, "forever", &n, 1, &result) && stopped() == last);
        /* Without an error, but the function returns. */
        CHECK(((Function)forever)(n) == 0);
    }
    return last;
}

static enum stopped found;

static void *thread(void *argument) {
    (void)argument;
    found = calls();
    return NULL;
}

static enum stopped on_thread(size_t bytes) {
    pthread_t number;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, bytes) == 0);
    CHECK(pthread_create(&number, &attributes, thread, NULL) == 0 && pthread_join(number, NULL) == 0);
    pthread_attr_destroy(&attributes);
    return found;
}

static ucontext_t caller, coroutine;

static void inside(void) { found = calls(); }

/* On a stack that is not that of the thread. */
static void *in_coroutine(void *stack) {
    CHECK(getcontext(&coroutine) == 0);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = 4 << 20;
    coroutine.uc_link = &caller;
    makecontext(&coroutine, inside, 0);
    CHECK(swapcontext(&caller, &coroutine) == 0);
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    SmfLoaderOptions options = {.size = sizeof options};
    loader = smf_loader_open(&options);
    module = smf_loader_load(loader, arguments[1]);
    CHECK(loader && module);
    leaf = smf_loader_symbol(loader, module, "leaf", NULL);
    forever = smf_loader_symbol(loader, module, "forever", NULL);
    CHECK(leaf && forever);
    /* Too small for compiling: interpreted activations do not use the stack of the thread. */
    CHECK(on_thread(64 << 10) == AT_DEPTH);
    CHECK(on_thread(256 << 10) == AT_STACK);
    /* Compiled functions are stopped on the smallest stack too. */
    CHECK(on_thread(64 << 10) == AT_STACK);
    CHECK(on_thread((2 << 20) + (64 << 10)) == AT_DEPTH && on_thread(16 << 20) == AT_DEPTH);
    CHECK(calls() == AT_DEPTH);
    void *stack = malloc(4 << 20);
    in_coroutine(stack);
    CHECK(found == AT_DEPTH);
    pthread_t number;
    found = AT_STACK;
    CHECK(pthread_create(&number, NULL, in_coroutine, stack) == 0 && pthread_join(number, NULL) == 0);
    CHECK(found == AT_DEPTH);
    free(stack);
    CHECK(smf_loader_unload(loader, module) && smf_loader_close(loader));
    puts("ok");
    return 0;
}
