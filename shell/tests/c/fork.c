/* Children of a process whose threads are inside the library: eight threads use every group of exports while one
 * thread forks, and each child calls every group once. Objects of the child must work; inherited ones must work or be
 * refused with SMF_ERROR_FORKED; no function may wait for a thread of the parent. Without locks held during the fork
 * a third of the children hangs. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLES "../tests/samples/"
#define THREADS 8
#define AT_ONCE 4 /* children */
#define SECONDS 20 /* that a child may take */

static const char *directory;
static int report; /* Standard error, while rt_exec_memory_dump_stats writes to a file. */
static bool is_child;
static atomic_bool done;

static void fail(int line, const char *what) {
    SmfError error = smf_last_error();
    dprintf(report, "%s:%d: %s: failed: %s (last error %d: %s)\n", __FILE__, line,
            is_child ? "child" : "parent", what, (int)error.code, error.text);
    _exit(1);
}

/* True in every process. */
#define MUST(condition)                                                                          \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fail(__LINE__, #condition);                                                          \
        }                                                                                        \
    } while (0)

/* True in the process that owns the object; a child may refuse it because of the fork. */
#define INHERITED(condition)                                                                     \
    do {                                                                                         \
        smf_clear_error();                                                                       \
        if (!(condition) && !(is_child && smf_last_error().code == SMF_ERROR_FORKED)) {          \
            fail(__LINE__, #condition);                                                          \
        }                                                                                        \
    } while (0)

/* Shared by the threads and inherited by the children. */
static SmfMapping anonymous, file;
static int64_t block, function, stub;
static uint64_t cache, held, loader, counter, hold, prefetch;
static uint64_t asking; /* A loader whose resolver forks. */
static RuntimeValue *text, *bytes, *pair;
#ifndef SMF_NO_JIT
static uint64_t jit;
static int64_t context, unifier, bytecode, instance;
#endif

static const char *made(const char *name) {
    static _Thread_local char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void mappings_group(void) {
    INHERITED(rt_get_page_size() == PAGE && rt_file_size_for_mmap(SAMPLES "packed.smf") > 0);
    for (int i = 0; i < 2; i++) {
        SmfMapping from = i ? file : anonymous;
        RuntimeValue *read = rt_mmap_read_bytes(from.address, 0, 64);
        MUST(read && smf_bytes_length(read) == 64 && smf_value_free(read));
        read = rt_mmap_read_string(from.address, 16, 8);
        MUST(read && smf_value_free(read));
    }
    MUST(smf_mmap_advise(anonymous.address, PAGE, 0) && smf_mmap_sync(file.address, file.size, false));
    SmfMapping own = rt_mmap_file(NULL, 3, SMF_MAP_PRIVATE | SMF_MAP_ANONYMOUS, 0, 3 * PAGE);
    SmfMapping copy = rt_mmap_file(SAMPLES "packed.smf", 1, SMF_MAP_PRIVATE, 0, 0);
    MUST(own.address && copy.address);
    memcpy((void *)own.address, "text", 5);
    RuntimeValue *read = rt_mmap_read_string(own.address, 0, 0);
    MUST(read && smf_text_length(read) == 4 && smf_value_free(read));
    MUST(smf_mmap_unmap(own.address, own.size) && smf_mmap_unmap(copy.address, copy.size));
    MUST(!smf_mmap_unmap(own.address + 1, own.size));
}

static void executable_group(void) {
    const uint8_t returns[] = RETURNS(1234);
    RuntimeValue *code = smf_bytes_new(returns, sizeof returns);
    int64_t own = rt_alloc_exec_memory(sizeof returns), data = rt_alloc_rw_memory(100);
    MUST(code && own && data);
    MUST(rt_write_exec_memory(own, code, 0) == sizeof returns && rt_call_function_0(own) == 1234);
    rt_flush_icache(own, sizeof returns);
    MUST(rt_get_function_pointer(own) == own && rt_is_executable(own) && rt_get_protection(data) == 3);
    MUST(rt_make_writable(own, sizeof returns) && rt_make_executable(own, sizeof returns));
    MUST(rt_exec_memory_count() >= 2 && rt_exec_memory_total() >= 100);
    rt_exec_memory_dump_stats();
    MUST(smf_name_code(own, sizeof returns, "returns"));
    MUST(rt_free_exec_memory(own, sizeof returns) && rt_free_exec_memory(data, 100));
    INHERITED(rt_write_exec_memory(block, code, 64) == sizeof returns);
    INHERITED(rt_get_function_pointer(block) == block);
    INHERITED(smf_exec_trim());
    MUST(smf_value_free(code));
}

static void calls_group(void) {
    MUST(rt_call_function_0(block) == 7 && rt_call_function_0(stub) == 1);
    MUST(rt_call_function_1(function, 3) > 0);
#ifndef SMF_NO_JIT
    MUST(rt_call_function_2(bytecode, 84, 2) == 42 && rt_call_function_2(instance, 84, 2) == 42);
    smf_clear_error();
    MUST(rt_call_function_2(bytecode, 84, 0) == 0 && smf_last_error().code == SMF_ERROR_TRAP);
    smf_clear_error();
    MUST(rt_call_function_2(instance, 84, 0) == 0 && smf_last_error().code == SMF_ERROR_TRAP);
#endif
}

static uint64_t open_cache(void) {
    SmfCacheOptions options = {sizeof options, 16, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST};
    uint64_t opened = smf_cache_open(&options);
    MUST(opened);
    return opened;
}

static void cache_group(void) {
    SmfCacheStatistics statistics = {.size = sizeof statistics};
    SmfCacheFile found;
    INHERITED((found = smf_cache_get(cache, SAMPLES "packed.smf")).file);
    if (found.file) {
        INHERITED(smf_cache_release(cache, found.file));
    }
    INHERITED((found = smf_cache_get_again(cache, held)).file);
    if (found.file) {
        INHERITED(smf_cache_release(cache, found.file));
    }
    INHERITED(smf_cache_evict(cache, SAMPLES "compact.smf") >= 0 && smf_cache_refresh_all(cache) >= 0);
    INHERITED(smf_cache_statistics(cache, &statistics));
    uint64_t own = open_cache();
    found = smf_cache_get(own, SAMPLES "compact.smf");
    MUST(found.file && smf_cache_note(own, found.file).length >= 0);
    MUST(smf_cache_release(own, found.file) && smf_cache_clear(own) && smf_cache_close(own));
}

static void loader_group(void) {
    int64_t result = 0, argument = 2;
    SmfLoaderStatistics statistics = {.size = sizeof statistics};
    uint64_t module;
    INHERITED(smf_loader_find(loader, "counter") == 0 || counter);
    INHERITED(smf_loader_resolve(loader, "version", NULL) == stub);
    INHERITED(smf_loader_call(loader, hold, "version", NULL, 0, &result) && result == 1);
    INHERITED((module = smf_loader_hold(loader, counter)));
    if (module) {
        INHERITED(smf_loader_release(loader, module));
    }
    INHERITED(smf_loader_statistics(loader, &statistics));
    if (is_child) {
        INHERITED(smf_loader_load(loader, made("ping.smf")) || smf_last_error().code == SMF_ERROR_MISSING);
        INHERITED(smf_loader_load(loader, made("counter2.smf")));
        INHERITED(smf_loader_reload(loader, counter, made("counter2.smf"), false, NULL) ||
                  smf_last_error().code == SMF_ERROR_IN_USE);
        INHERITED(smf_loader_resolve(asking, "nobody", NULL) || smf_last_error().code == SMF_ERROR_NOT_FOUND);
    }
    uint64_t own = smf_loader_open(NULL);
    MUST(own && (module = smf_loader_load(own, made("counter.smf"))) && smf_loader_load(own, made("user.smf")));
    MUST(smf_loader_call(own, module, "add", &argument, 1, &result) && result == 7);
    MUST(rt_call_function_0(smf_loader_resolve(own, "version", NULL)) == 1);
    MUST(smf_loader_reload(own, module, made("counter.smf"), true, NULL));
    MUST(!smf_loader_load(own, made("lacking.smf")) && smf_loader_missing_count() == 2);
#ifndef SMF_NO_JIT
    MUST(smf_loader_load(own, made("quotients.smf")));
    int64_t quotient = smf_loader_resolve(own, "quotient", NULL);
    for (int i = 0; i < 300; i++) {
        MUST(rt_call_function_2(quotient, 84, 2) == 42);
    }
#endif
    MUST(smf_loader_close(own));
}

static void prefetch_group(void) {
    const char *paths[] = {SAMPLES "packed.smf", SAMPLES "compact.smf", "absent"};
    INHERITED(smf_prefetch_wait(prefetch, -1) == 1);
    INHERITED(smf_prefetch_progress(prefetch).total == 3);
    INHERITED(smf_prefetch_result(prefetch, 0) == SMF_OK);
    INHERITED(smf_cache_prefetch(cache, paths, 3, 2, NULL) == 2);
    uint64_t started;
    INHERITED((started = smf_cache_prefetch_start(cache, paths, 3, 2)));
    if (started) {
        INHERITED(smf_prefetch_free(started));
    }
    uint64_t own = open_cache();
    MUST((started = smf_cache_prefetch_start(own, paths, 3, 2)) && smf_prefetch_wait(started, -1) == 1);
    MUST(smf_prefetch_result(started, 1) == SMF_OK && smf_prefetch_result(started, 2) == SMF_ERROR_FILE);
    MUST(smf_prefetch_free(started) && smf_cache_close(own));
}

static void values_group(void) {
    MUST(smf_text_length(text) == 4 && !memcmp(smf_text_data(text), "text", 5));
    MUST(smf_bytes_length(bytes) == 5 && smf_bytes_data(bytes)[4] == 'y');
    MUST(smf_pair_first(pair) == 1 && smf_pair_second(pair) == 2);
    RuntimeValue *own = smf_text_new((const uint8_t *)"own", 3);
    MUST(own && smf_text_length(own) == 3 && smf_value_free(own));
    own = smf_pair_new(3, 4);
    MUST(own && smf_pair_second(own) == 4 && smf_value_free(own) && !smf_value_free(own));
    SmfValueHooks none = {.size = sizeof none};
    MUST(!smf_set_value_hooks(&none));
}

static void errors_group(void) {
    MUST(rt_alloc_exec_memory(-1) == 0 && smf_last_error().code == SMF_ERROR_ARGUMENT);
    MUST(strlen(smf_last_error().text) > 8 && strlen(smf_version()) > 4);
    smf_clear_error();
    MUST(smf_last_error().code == SMF_OK);
}

#ifndef SMF_NO_JIT
static bool visit_concrete(const SmfConcrete *concrete, const SmfTakenReloc *relocations, void *user) {
    (void)relocations;
    return concrete && !user;
}

static void take_group(void) {
    SmfConcrete found = {.size = sizeof found};
    INHERITED(smf_take_concrete(cache, held, "answer", &found, NULL, 0) && found.length > 0);
    INHERITED(smf_take_concrete(loader, hold, "version", NULL, NULL, 0));
    uint64_t own = open_cache(), module = smf_cache_get(own, SAMPLES "packed.smf").file;
    MUST(smf_take_concretes(own, module, visit_concrete, NULL) == 5);
    MUST(!smf_take_deferred(own, module, "answer", NULL));
    MUST(smf_cache_release(own, module) && smf_cache_close(own));
}

/* Bodies are numbers; the code returns them. */
static bool compile(uint64_t unit, const SmfTemplate *source, void *user) {
    char body[64] = "";
    MUST(source->body_length < 64 && !user);
    memcpy(body, source->body, (size_t)source->body_length);
    const int number = atoi(body);
    const uint8_t code[] = RETURNS(number);
    return smf_jit_emit(unit, code, sizeof code);
}

static uint64_t open_jit(void) {
    SmfJitOptions options = {sizeof options, 50, SMF_JIT_SILENT, 0};
    uint64_t opened = smf_jit_open(&options);
    MUST(opened && smf_jit_set_compiler(opened, compile, NULL));
    MUST(smf_jit_load(opened, made("templates/templates.smf")));
    return opened;
}

static void jit_group(void) {
    SmfJitStatistics statistics = {.size = sizeof statistics};
    INHERITED(smf_jit_can_instantiate(jit, "two$i64"));
    INHERITED(smf_jit_resolve(jit, "half$i64") == instance);
    INHERITED(smf_jit_statistics(jit, &statistics));
    smf_clear_error();
    MUST(smf_jit_resolve(jit, "absent$i64") == 0);
    /* Through the loader, which asks the instantiator. */
    smf_clear_error();
    MUST(smf_loader_resolve(loader, "absent$i64", NULL) == 0);
    INHERITED(smf_loader_resolve(loader, "half$i64", NULL) == instance || is_child);
    if (is_child) {
        /* An inherited instantiator cannot allocate code. */
        MUST(smf_jit_instantiate(jit, "two$i64", NULL) != SMF_JIT_SUCCESS);
    }
    uint64_t own = open_jit(), user = smf_loader_open(NULL);
    MUST(rt_call_function_0(smf_jit_resolve(own, "one$i64")) == 111);
    int64_t half = smf_jit_resolve(own, "half$i64");
    MUST(half && rt_call_function_2(half, 84, 2) == 42);
    MUST(smf_loader_set_jit(user, own) && smf_loader_resolve(user, "half$i64", NULL) == half);
    MUST(smf_jit_close(own) && smf_loader_close(user));
}

#define I64 "{\"kind\":\"int\",\"bits\":64,\"signed\":true}"

/* Checks that a text contains `expected`, or mentions the fork for an inherited object, and frees it. */
static void says(char *answer, const char *expected, bool inherited) {
    MUST(answer);
    if (!strstr(answer, expected) && !(is_child && inherited && strstr(answer, "fork"))) {
        dprintf(report, "expected %s\nin       %s\n", expected, answer);
        fail(__LINE__, "an answer in JSON");
    }
    MUST(smf_string_free(answer) && !smf_string_free(answer));
}

static void compiler_group(void) {
    const char *identity = "{\"name\":\"id\",\"type_params\":[\"T\"]}";
    const char *ready = "{\"name\":\"id\",\"type_params\":[\"T\"],\"body\":[77,65,67,72,29,0,0,0,1,0,1,0,"
                        "17,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,195]}";
    const char *hints = "[{\"source\":\"call_site\",\"param_index\":0,\"ty\":" I64 "}]";
    const char *variable = "{\"kind\":\"generic\",\"name\":\"T\"}";
    for (int i = 0; i < 2; i++) {
        int64_t own = i ? compiler_create_context() : context;
        says(compiler_infer_types(own, identity, hints), "\"int\"", !i);
        says(smf_check_types(own, identity, "[" I64 "]"), "id$i64", !i);
        says(compiler_instantiate_template(own, ready, "[" I64 "]"), "[195]", !i);
        says(compiler_get_stats(own), "cache_hits", !i);
        INHERITED(compiler_set_callback(own, NULL, NULL));
        RuntimeValue *typed = smf_bytes_new((const uint8_t[]){0, 0, 0, 16, 254}, 5);
        INHERITED(compiler_check_types(own, typed));
        MUST(smf_value_free(typed));
        int64_t types = i ? type_unifier_create() : unifier;
        says(type_unifier_unify(types, variable, I64), "\"success\":true", !i);
        MUST(!i || (compiler_destroy_context(own) && type_unifier_destroy(types)));
    }
}
#endif

static const struct {
    const char *name;
    void (*act)(void);
} GROUPS[] = {
    {"mappings", mappings_group}, {"executable memory", executable_group}, {"calls", calls_group},
    {"cache", cache_group},       {"loader", loader_group},                {"prefetch", prefetch_group},
    {"values", values_group},     {"errors", errors_group},
#ifndef SMF_NO_JIT
    {"take", take_group},         {"jit", jit_group},                      {"compiler", compiler_group},
#endif
};
#define COUNT ((int)(sizeof GROUPS / sizeof *GROUPS))

static void set_up(void) {
    const char *paths[] = {SAMPLES "packed.smf", SAMPLES "compact.smf", "absent"};
    const uint8_t returns[] = RETURNS(7);
    anonymous = rt_mmap_file(NULL, 3, SMF_MAP_PRIVATE | SMF_MAP_ANONYMOUS, 0, PAGE);
    file = rt_mmap_file(SAMPLES "packed.smf", 1, SMF_MAP_SHARED, 0, 0);
    text = smf_text_new((const uint8_t *)"text", 4);
    bytes = smf_bytes_new((const uint8_t *)"bytey", 5);
    pair = smf_pair_new(1, 2);
    MUST(anonymous.address && file.address && text && bytes && pair);
    RuntimeValue *code = smf_bytes_new(returns, sizeof returns);
    block = rt_alloc_exec_memory(PAGE);
    MUST(block && rt_write_exec_memory(block, code, 0) == sizeof returns && smf_value_free(code));
    cache = open_cache();
    held = smf_cache_get(cache, SAMPLES "packed.smf").file;
    prefetch = smf_cache_prefetch_start(open_cache(), paths, 3, 2);
    MUST(held && prefetch && smf_prefetch_wait(prefetch, -1) == 1);
    loader = smf_loader_open(NULL);
    counter = smf_loader_load(loader, made("counter.smf"));
    hold = smf_loader_hold(loader, counter);
    stub = smf_loader_resolve(loader, "version", NULL);
    MUST(hold && stub && smf_loader_load(loader, made("ping.smf")) == 0);
    uint64_t user = smf_loader_load(loader, made("user.smf"));
    MUST(user && (function = smf_loader_symbol(loader, user, "twice", NULL)));
#ifndef SMF_NO_JIT
    MUST(smf_loader_load(loader, made("quotients.smf")));
    MUST((bytecode = smf_loader_resolve(loader, "quotient", NULL)));
    jit = open_jit();
    MUST((instance = smf_jit_resolve(jit, "half$i64")) && smf_loader_set_jit(loader, jit));
    context = compiler_create_context();
    unifier = type_unifier_create();
#endif
}

/* A thread of the parent that is always in some group, at low priority. */
static void *work(void *first) {
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    for (int group = *(int *)first; !atomic_load(&done); group = (group + 1) % COUNT) {
        GROUPS[group].act();
    }
    return NULL;
}

/* The progress of each running child, for the parent to report. */
struct child { pid_t process; int group; };
static struct child *seats;

/* Forks. The child returns as well, after it has called every group. */
static void start(struct child *seat) {
    pid_t process = fork();
    MUST(process >= 0);
    if (process != 0) {
        seat->process = process;
        return;
    }
    is_child = true;
    alarm(SECONDS);
    for (int group = 0; group < COUNT; group++) {
        seat->group = group;
        GROUPS[group].act();
    }
}

/* A function of the host that the library calls may fork too. */
static int64_t resolve(const char *name, int64_t length, void *user) {
    if (length == 5 && !memcmp(name, "forks", 5)) {
        start(*(struct child **)user);
    }
    return 0;
}

/* Waits for a child; 1 when it failed. */
static int await(void) {
    int status;
    pid_t process = wait(&status);
    char map[64];
    MUST(process > 0);
    snprintf(map, sizeof map, "/tmp/perf-%d.map", (int)process);
    unlink(map);
    for (int i = 0; i < AT_ONCE; i++) {
        if (seats[i].process == process) {
            seats[i].process = 0;
            if (status == 0) {
                return 0;
            }
            bool hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
            dprintf(report, "a child %s in the group %s (status 0x%x)\n", hung ? "hung" : "failed",
                    GROUPS[seats[i].group].name, status);
        }
    }
    return 1;
}

int main(int count, char **arguments) {
    MUST(count == 3);
    directory = arguments[1];
    const int forks = atoi(arguments[2]);
    report = dup(2);
    MUST(dup2(open("/dev/null", O_WRONLY), 2) == 2);
    seats = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(seats != MAP_FAILED && smf_gdb_enable() && smf_perf_map_enable());
    set_up();
    struct child *seat;
    asking = smf_loader_open(NULL);
    MUST(asking && smf_loader_set_resolver(asking, resolve, &seat));

    pthread_t threads[THREADS];
    int first[THREADS], failures = 0, made_children = 0, running = 0;
    for (int i = 0; i < THREADS; i++) {
        first[i] = i % COUNT;
        MUST(pthread_create(&threads[i], NULL, work, &first[i]) == 0);
    }
    /* A fork that never returns. */
    alarm(540);
    while (made_children < forks && failures < 5) {
        if (running == AT_ONCE) {
            failures += await();
            running--;
        }
        for (seat = seats; seat->process; seat++) {
        }
        if (made_children++ % 8 == 0) {
            MUST(smf_loader_resolve(asking, "forks", NULL) == 0);
        } else {
            start(seat);
        }
        if (is_child) {
            _exit(0);
        }
        running++;
    }
    while (running--) {
        failures += await();
    }
    atomic_store(&done, true);
    for (int i = 0; i < THREADS; i++) {
        MUST(pthread_join(threads[i], NULL) == 0);
    }
    char map[64];
    snprintf(map, sizeof map, "/tmp/perf-%d.map", (int)getpid());
    unlink(map);
    if (failures) {
        dprintf(report, "%d of %d children failed\n", failures, made_children);
        return 1;
    }
    puts("ok");
    return 0;
}
