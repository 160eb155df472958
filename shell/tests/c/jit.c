/* Templates: instances compiled, linked, refused and recorded; a compiler in C; types in JSON; and invalid arguments.
 * The test that runs this program creates the module. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

static const char *directory;

static const char *made(const char *name) {
    static _Thread_local char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static uint64_t open_jit(int32_t depth, int32_t flags) {
    SmfJitOptions options = {sizeof options, depth, flags, 0};
    uint64_t jit = smf_jit_open(&options);
    CHECK(jit);
    return jit;
}

static bool says(const char *what) { return strstr(smf_last_error().text, what) != NULL; }

/* A body is a number, which the code returns, or `>` and a symbol, which the code calls. */
static bool compile(uint64_t unit, const SmfTemplate *source, void *user) {
    char body[64] = "";
    CHECK(source->size == sizeof *source && source->body_length < 64 && user == (void *)42);
    memcpy(body, source->body, (size_t)source->body_length);
    CHECK(strstr(source->types, "{\"kind\":\"int\",\"name\":\"i64\",\"bits\":64,\"signed\":true}"));
    if (body[0] == '>') {
        const uint8_t jump[] = {0xe9, 0, 0, 0, 0};
        return smf_jit_emit(unit, jump, 5) && smf_jit_relocate(unit, 1, 3, body + 1, -4);
    }
    if (body[0] == '!') {
        REFUSED(!smf_jit_emit(unit + 1, (const uint8_t *)"x", 1), SMF_ERROR_HANDLE);
        REFUSED(!smf_jit_emit(unit, (const uint8_t *)"x", -1), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_jit_emit(unit, (const uint8_t *)"x", INT64_MAX), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_jit_emit(unit, NULL, 1), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_jit_relocate(unit, -1, 3, "x", 0), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_jit_relocate(unit, 0, 99, "x", 0), SMF_ERROR_ARGUMENT);
        return smf_jit_fail(unit, body + 1) && false;
    }
    const int number = atoi(body);
    const uint8_t code[] = RETURNS(number);
    return smf_jit_emit(unit, code, 3) && smf_jit_emit(unit, code + 3, 3);
}

static bool count_hint(const SmfTypeHint *hint, void *user) {
    CHECK(hint->size == sizeof *hint && hint->kind == SMF_HINT_USAGE && hint->number == -1);
    CHECK(!strcmp(hint->subject, "user.spl") && !strcmp(hint->object, "f64") && !strcmp(hint->place, "user.spl:3:9"));
    return ++*(int *)user < 1;
}

/* Instances that no note lists, types from notes, and functions of a module. */
static void objects(void) {
    uint64_t jit = open_jit(50, SMF_JIT_SILENT);
    CHECK(smf_jit_load(jit, made("templates.smf")));
    SmfJitInstance instance = {.size = sizeof instance};
    CHECK(smf_jit_take_with_types(jit, "half", "i32", &instance) == SMF_JIT_SUCCESS);
    int32_t (*half)(int32_t, int32_t) = (int32_t (*)(int32_t, int32_t))instance.address;
    CHECK(half(84, 2) == 42 && instance.length > 0);
    CHECK(smf_jit_take_with_types(jit, "none", "i32", NULL) == SMF_JIT_NOT_FOUND);
    CHECK(says("Symbol none is not a generic template"));
    CHECK(smf_jit_take_with_types(jit, "half", "i32, i32", NULL) == SMF_JIT_FAILED);
    CHECK(smf_jit_take_with_types(jit, "half", "i32>", NULL) == -1 && says("syntax error"));
    CHECK(smf_jit_take_with_types(jit, NULL, "i32", NULL) == -1);
    /* The template `half` states no type parameters: its container is counted. */
    instance.address = 1;
    CHECK(smf_jit_take_generic(jit, "half", &instance) == SMF_JIT_DEFERRED && instance.address == 0);
    CHECK(says("No type hints available for inference of half"));
    CHECK(smf_jit_load(jit, made("uses.smf")));
    int count = 0;
    CHECK(smf_jit_take_deferred(jit, "half", count_hint, &count) == 1 && count == 1);
    CHECK(smf_jit_take_deferred(jit, "none", count_hint, &count) == -1 && says("not a generic template"));
    CHECK(smf_jit_take_deferred(jit, "half", NULL, NULL) == -1);
    SmfTakenObject object = {.size = sizeof object};
    CHECK(smf_jit_take_object(jit, 0, 0, "half$i32", &object) == SMF_JIT_SUCCESS);
    CHECK(object.kind == SMF_OBJECT_INSTANCE && ((int32_t (*)(int32_t, int32_t))object.address)(9, 3) == 3);
    CHECK(smf_jit_take_object(jit, 0, 0, "absent", &object) == SMF_JIT_NOT_FOUND && object.kind == 0);
    CHECK(says("Symbol not found: absent"));
    CHECK(smf_jit_close(jit));
    /* The instantiator gets the templates of the loader's files. */
    jit = open_jit(50, SMF_JIT_SILENT);
    uint64_t loader = smf_loader_open(NULL);
    CHECK(smf_jit_set_compiler(jit, compile, (void *)42) && smf_loader_set_jit(loader, jit));
    REFUSED(!smf_loader_load(loader, made("user.smf")), SMF_ERROR_MISSING);
    CHECK(smf_loader_provide(loader, made("templates.smf")));
    uint64_t module = smf_loader_load(loader, made("user.smf"));
    int64_t result = 0;
    CHECK(module && smf_loader_call(loader, module, "main", NULL, 0, &result) && result == 333);
    CHECK(smf_loader_set_jit(loader, 0) && smf_loader_close(loader) && smf_jit_close(jit));
}

static void instances(void) {
    uint64_t jit = open_jit(50, 0);
    SmfJitInstance instance = {.size = sizeof instance}, again = instance;
    CHECK(smf_jit_load(jit, made("templates.smf")));
    CHECK(smf_jit_can_instantiate(jit, "one$i64") && !smf_jit_can_instantiate(jit, "none$i64"));
    CHECK(smf_jit_instantiate(jit, "one$i64", &instance) == SMF_JIT_FAILED && says("no compiler recognizes"));
    CHECK(instance.address == 0);
    CHECK(smf_jit_set_compiler(jit, compile, (void *)42));
    /* Not tried again before a module is loaded. */
    CHECK(smf_jit_instantiate(jit, "one$i64", NULL) == SMF_JIT_FAILED);
    CHECK(smf_jit_load(jit, made("templates.smf")));
    CHECK(smf_jit_instantiate(jit, "one$i64", &instance) == SMF_JIT_SUCCESS);
    CHECK(instance.size == sizeof instance && instance.length == 6);
    CHECK(rt_call_function_0(instance.address) == 111);
    CHECK(smf_jit_instantiate(jit, "one$i64", &again) == SMF_JIT_SUCCESS);
    CHECK(again.address == instance.address && smf_jit_resolve(jit, "one$i64") == instance.address);
    /* Recorded in the file, hence no longer listed as possible. */
    CHECK(!smf_jit_can_instantiate(jit, "one$i64"));
    CHECK(rt_call_function_0(smf_jit_resolve(jit, "calls$i64")) == 222);
    CHECK(smf_jit_instantiate(jit, "none$i64", NULL) == SMF_JIT_NOT_FOUND);
    REFUSED(smf_jit_instantiate(jit, "fails$i64", NULL) == SMF_JIT_FAILED, SMF_ERROR_INSTANTIATE);
    CHECK(says("fails$i64") && says("on purpose"));
    REFUSED(smf_jit_instantiate(jit, "ping$i64", NULL) == SMF_JIT_CIRCULAR, SMF_ERROR_INSTANTIATE);
    CHECK(says("`ping$i64` -> `pong$i64` -> `ping$i64`"));
    REFUSED(smf_jit_resolve(jit, "none$i64") == 0, SMF_ERROR_NOT_FOUND);
    REFUSED(smf_jit_resolve(jit, "fails$i64") == 0, SMF_ERROR_INSTANTIATE);
    CHECK(says("on purpose"));
    /* A name of the host comes after an instance, and before an error. */
    SmfHostSymbol host[] = {{"none$i64", 8192}, {"one$i64", 8192}};
    CHECK(smf_register_symbols(&(SmfSymbolTable){sizeof(SmfSymbolTable), host, 2}));
    CHECK(smf_jit_resolve(jit, "none$i64") == 8192 && smf_jit_resolve(jit, "one$i64") == instance.address);
    CHECK(smf_jit_register(jit, "none$i64", 4096) && smf_jit_resolve(jit, "none$i64") == 4096);
    CHECK(smf_unregister_symbols((const char *[]){"none$i64", "one$i64"}, 2));
    SmfJitStatistics statistics = {.size = sizeof statistics};
    CHECK(smf_jit_statistics(jit, &statistics));
    CHECK(statistics.cached == 3 && statistics.modules == 1 && statistics.failed == 3);
    CHECK(smf_jit_update(jit) && smf_jit_close(jit));
    REFUSED(!smf_jit_close(jit), SMF_ERROR_HANDLE);

    /* The instances are recorded in the file. */
    jit = open_jit(1, SMF_JIT_SILENT);
    CHECK(smf_jit_set_compiler(jit, compile, (void *)42) && smf_jit_load(jit, made("templates.smf")));
    CHECK(!smf_jit_can_instantiate(jit, "one$i64") && smf_jit_can_instantiate(jit, "later$i64"));
    REFUSED(smf_jit_instantiate(jit, "later$i64", NULL) == SMF_JIT_FAILED, SMF_ERROR_INSTANTIATE);
    CHECK(says("Maximum JIT depth (1) exceeded"));
    CHECK(smf_jit_close(jit));
}

/* Code is cached in the file, and the next instantiator compiles nothing. */
static void kept(void) {
    for (int64_t taken = 0; taken < 3; taken++) {
        uint64_t jit = open_jit(50, SMF_JIT_KEEP_CODE);
        CHECK(smf_jit_load(jit, made("kept.smf")));
        int64_t half = smf_jit_resolve(jit, "half$i64");
        CHECK(half && smf_jit_resolve(jit, "half<i64>") == half && smf_jit_resolve(jit, "fn$half$i64") == half);
    CHECK(rt_call_function_2(half, 84, 2) == 42);
        REFUSED(rt_call_function_2(half, 84, 0) == 0, SMF_ERROR_TRAP);
        SmfJitStatistics statistics = {.size = sizeof statistics};
        CHECK(smf_jit_statistics(jit, &statistics) && statistics.size == sizeof statistics);
        CHECK(statistics.cached == 1 && statistics.kept == (taken > 0) && statistics.stale == 0);
        /* With the oldest version of the structure. */
        statistics = (SmfJitStatistics){.size = 32, .kept = 7};
        CHECK(smf_jit_statistics(jit, &statistics) && statistics.size == 32 && statistics.kept == 7);
        CHECK(smf_jit_close(jit));
    }
}

static int64_t main_of(uint64_t loader, const char *name) {
    uint64_t module = smf_loader_load(loader, made(name));
    int64_t result = -1;
    CHECK(module && smf_loader_call(loader, module, "main", NULL, 0, &result));
    CHECK(smf_loader_unload(loader, module));
    return result;
}

/* Loads a file under the name "plugin". */
static uint64_t plugin(uint64_t loader, const char *name) {
    static uint8_t bytes[8192];
    FILE *file = fopen(made(name), "r");
    CHECK(file);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    uint64_t module = smf_loader_load_bytes(loader, "plugin", bytes, (int64_t)length);
    CHECK(module);
    return module;
}

static const char *const VERSIONS[] = {"templates.smf", "others.smf"};
static const int64_t RESULTS[] = {333, 444};

/* Loaders that share an instantiator use the templates of their own modules, as long as these are loaded. */
static void shared(void) {
    uint64_t jit = open_jit(50, SMF_JIT_SILENT), loaders[2] = {smf_loader_open(NULL), smf_loader_open(NULL)}, plugins[2];
    SmfJitStatistics statistics = {.size = sizeof statistics};
    CHECK(smf_jit_set_compiler(jit, compile, (void *)42));
    for (int i = 0; i < 2; i++) {
        CHECK(smf_loader_set_jit(loaders[i], jit) && (plugins[i] = plugin(loaders[i], VERSIONS[i])));
    }
    for (int i = 0; i < 4; i++) {
        CHECK(main_of(loaders[i & 1], "user.smf") == RESULTS[i & 1]);
    }
    CHECK(smf_jit_statistics(jit, &statistics) && statistics.modules == 2 && statistics.cached == 3);
    /* Setting it again changes nothing. */
    CHECK(smf_loader_set_jit(loaders[0], jit) && smf_loader_unload(loaders[1], plugins[1]));
    REFUSED(!smf_loader_load(loaders[1], made("user.smf")), SMF_ERROR_MISSING);
    CHECK(main_of(loaders[0], "user.smf") == 333);
    CHECK((plugins[1] = plugin(loaders[1], VERSIONS[0])) && main_of(loaders[1], "user.smf") == 333);
    CHECK(smf_loader_set_jit(loaders[1], 0) && smf_jit_statistics(jit, &statistics) && statistics.modules == 1);
    CHECK(smf_loader_close(loaders[1]) && main_of(loaders[0], "user.smf") == 333 && smf_jit_resolve(jit, "later$i64"));
    CHECK(smf_loader_close(loaders[0]));
    REFUSED(!smf_jit_resolve(jit, "later$i64"), SMF_ERROR_NOT_FOUND);
    CHECK(smf_jit_statistics(jit, &statistics) && statistics.modules == 0 && statistics.cached == 0);
    CHECK(smf_jit_close(jit));
}

/* An instantiator may be set after the modules were loaded and the providers registered. */
static void late(void) {
    uint64_t loader = smf_loader_open(NULL), jits[2] = {open_jit(50, SMF_JIT_SILENT), open_jit(50, SMF_JIT_SILENT)};
    SmfJitStatistics statistics = {.size = sizeof statistics};
    uint64_t module = plugin(loader, VERSIONS[0]);
    int64_t addresses[4];
    for (int i = 0; i < 4; i++) {
        CHECK(smf_jit_set_compiler(jits[i & 1], compile, (void *)42) && smf_loader_set_jit(loader, jits[i & 1]));
        CHECK(main_of(loader, "user.smf") == 333 && (addresses[i] = smf_loader_resolve(loader, "later$i64", NULL)));
        /* One that is set again has its instances again. */
        CHECK(i < 2 || addresses[i] == addresses[i - 2]);
        CHECK(smf_jit_statistics(jits[i & 1], &statistics) && statistics.modules == 1);
        CHECK(smf_jit_statistics(jits[~i & 1], &statistics) && statistics.modules == 0);
    }
    CHECK(smf_loader_set_jit(loader, 0) && smf_loader_unload(loader, module));
    CHECK(smf_loader_set_jit(loader, jits[0]));
    REFUSED(!smf_loader_load(loader, made("user.smf")), SMF_ERROR_MISSING);
    CHECK(smf_loader_set_jit(loader, 0) && smf_loader_provide(loader, made(VERSIONS[1])));
    CHECK(smf_loader_set_jit(loader, jits[0]) && main_of(loader, "user.smf") == 444);
    CHECK(smf_loader_close(loader) && smf_jit_close(jits[0]) && smf_jit_close(jits[1]));
}

/* The limit of instances, and the oldest structure, which has none. */
static void limited(void) {
    SmfJitOptions options = {sizeof options, 50, SMF_JIT_SILENT, 1}, old = {16, 50, SMF_JIT_SILENT, 1};
    SmfJitInstance instance = {.size = sizeof instance};
    options.max_instances = -1;
    REFUSED(!smf_jit_open(&options), SMF_ERROR_ARGUMENT);
    options.max_instances = 1;
    uint64_t jit = smf_jit_open(&options);
    CHECK(jit && smf_jit_set_compiler(jit, compile, (void *)42) && smf_jit_load(jit, made("templates.smf")));
    REFUSED(smf_jit_instantiate(jit, "calls$i64", NULL) == SMF_JIT_FAILED, SMF_ERROR_CEILING);
    CHECK(says("Maximum number of JIT instances (1) exceeded"));
    CHECK(smf_jit_instantiate(jit, "slow$i64", &instance) == SMF_JIT_SUCCESS && instance.address);
    REFUSED(smf_jit_instantiate(jit, "half$i64", &instance) == SMF_JIT_FAILED, SMF_ERROR_CEILING);
    CHECK(!instance.address && smf_jit_instantiate(jit, "slow$i64", NULL) == SMF_JIT_SUCCESS);
    CHECK(smf_jit_close(jit));
    jit = smf_jit_open(&old);
    CHECK(jit && smf_jit_set_compiler(jit, compile, (void *)42) && smf_jit_load(jit, made("templates.smf")));
    CHECK(smf_jit_resolve(jit, "slow$i64") && smf_jit_resolve(jit, "half$i64") && smf_jit_close(jit));
    /* Those of unloaded templates do not count. */
    options.max_instances = 2;
    uint64_t loader = smf_loader_open(NULL);
    jit = smf_jit_open(&options);
    CHECK(jit && smf_jit_set_compiler(jit, compile, (void *)42) && smf_loader_set_jit(loader, jit));
    for (int i = 0; i < 5; i++) {
        uint64_t module = plugin(loader, VERSIONS[i & 1]);
        CHECK(main_of(loader, "user.smf") == RESULTS[i & 1] && smf_loader_unload(loader, module));
    }
    CHECK(smf_loader_close(loader) && smf_jit_close(jit));
}

/* Instantiators read files through a cache, and evict those that they replace. */
static void cached(void) {
    SmfCacheOptions options = {sizeof options, 4, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST};
    SmfCacheStatistics s = {.size = sizeof s};
    uint64_t cache = smf_cache_open(&options), jit = open_jit(50, SMF_JIT_SILENT), other = open_jit(50, 0);
    SmfCacheFile before = smf_cache_get(cache, made("cached.smf"));
    CHECK(before.file && smf_jit_set_cache(jit, cache) && smf_jit_set_cache(other, cache));
    CHECK(smf_jit_load(jit, made("cached.smf")) && smf_jit_load(other, made("cached.smf")));
    CHECK(smf_cache_statistics(cache, &s) && s.misses == 1 && s.hits == 2);
    CHECK(smf_jit_resolve(jit, "half$i64") && smf_cache_statistics(cache, &s) && s.files == 1);
    CHECK(smf_jit_can_instantiate(other, "half$i64") && smf_jit_resolve(other, "half$i64"));
    CHECK(smf_cache_statistics(cache, &s) && s.files == 0 && s.detached_files == 1);
    SmfCacheFile after = smf_cache_get(cache, made("cached.smf"));
    CHECK(after.file != before.file && after.length != before.length);
    uint64_t third = open_jit(50, SMF_JIT_SILENT);
    CHECK(smf_jit_set_cache(third, cache) && smf_jit_load(third, made("cached.smf")));
    CHECK(!smf_jit_can_instantiate(third, "half$i64") && smf_jit_close(third));
    CHECK(smf_cache_release(cache, before.file) && smf_cache_release(cache, after.file));

    REFUSED(!smf_jit_load(jit, made("absent.smf")), SMF_ERROR_FILE);
    REFUSED(!smf_jit_load_archived(jit, made("cached.smf"), "x"), SMF_ERROR_FORMAT);
    REFUSED(!smf_jit_set_cache(jit, cache + 1), SMF_ERROR_HANDLE);
    REFUSED(!smf_jit_set_cache(jit, jit), SMF_ERROR_HANDLE);
    REFUSED(!smf_jit_set_cache(cache, cache), SMF_ERROR_HANDLE);
    CHECK(smf_cache_close(cache));
    REFUSED(!smf_jit_load(jit, made("cached.smf")), SMF_ERROR_HANDLE);
    CHECK(smf_jit_set_cache(jit, 0) && smf_jit_load(jit, made("cached.smf")) && smf_jit_close(jit));
    /* A file that does not fit is read without the cache. */
    options.bytes = 1;
    cache = smf_cache_open(&options);
    CHECK(smf_jit_set_cache(other, cache) && smf_jit_load(other, made("cached.smf")));
    CHECK(smf_cache_close(cache) && smf_jit_close(other));
}

static void *resolve(void *jit) {
    return (void *)(intptr_t)smf_jit_resolve(*(uint64_t *)jit, "slow$i64");
}

/* Instances that call the module which imports them, and modules that are loaded on demand. */
static void around(void) {
    uint64_t jit = open_jit(50, SMF_JIT_SILENT), loader = smf_loader_open(NULL);
    CHECK(loader && smf_jit_set_compiler(jit, compile, (void *)42) && smf_jit_load(jit, made("templates.smf")));
    CHECK(smf_loader_set_jit(loader, jit));
    /* The instance is made, and its module is not loaded. */
    CHECK(!smf_loader_load(loader, made("broken.smf")) && smf_last_error().code == SMF_ERROR_MISSING);
    /* It calls a function of that module, so that nothing else finds it. */
    CHECK(says("absent") && !smf_jit_resolve(jit, "up$i64") && !smf_loader_resolve(loader, "up$i64", NULL));
    /* A new version imports it, and defines what it calls. */
    uint64_t module = smf_loader_load(loader, made("version-1.smf"));
    int64_t result = 0;
    CHECK(module && smf_loader_call(loader, module, "answer", NULL, 0, &result) && result == 1);
    for (int i = 0; i < 3; i++) {
        CHECK(smf_loader_reload(loader, module, made("version-2.smf"), false, NULL));
        CHECK(smf_loader_call(loader, module, "answer", NULL, 0, &result) && result == 9);
    }
    CHECK(smf_loader_unload(loader, module));
    /* Each has another address. */
    for (int i = 0; i < 3; i++) {
        CHECK(main_of(loader, "around.smf") == 8);
    }
    REFUSED(!smf_loader_load(loader, made("reaches.smf")), SMF_ERROR_MISSING);
    CHECK(says("unresolved import") && says("; cannot instantiate `") && says("undefined symbol `"));
    CHECK(smf_loader_provide(loader, made("distant.smf")) && main_of(loader, "reaches.smf") == 10);
    CHECK(smf_loader_close(loader) && smf_jit_close(jit));
}

static int64_t call_main(uint64_t loader, uint64_t module) {
    int64_t result = -1;
    CHECK(smf_loader_call(loader, module, "main", NULL, 0, &result));
    return result;
}

/* A module depends on the modules that its instances call; instances belong to the loader for which they are made. */
static void pinned(void) {
    uint64_t jit = open_jit(50, SMF_JIT_SILENT), loaders[2] = {smf_loader_open(NULL), smf_loader_open(NULL)};
    uint64_t users[2], callees[2];
    CHECK(smf_jit_set_compiler(jit, compile, (void *)42) && smf_jit_load(jit, made("templates.smf")));
    for (int i = 0; i < 2; i++) {
        CHECK(smf_loader_set_jit(loaders[i], jit) && smf_loader_provide(loaders[i], made("distant.smf")));
        CHECK((users[i] = smf_loader_load(loaders[i], made("reaches.smf"))) && call_main(loaders[i], users[i]) == 10);
        CHECK((callees[i] = smf_loader_find(loaders[i], made("distant.smf"))));
        REFUSED(!smf_loader_unload(loaders[i], callees[i]), SMF_ERROR_IN_USE);
        CHECK(says("reaches.smf imports from it"));
    }
    /* A hold keeps what the instance calls. */
    uint64_t hold = smf_loader_hold(loaders[0], users[0]);
    CHECK(hold && call_main(loaders[0], hold) == 10);
    REFUSED(!smf_loader_unload_all(loaders[0], (uint64_t[]){users[0], callees[0]}, 2), SMF_ERROR_IN_USE);
    CHECK(smf_loader_release(loaders[0], hold));
    CHECK(smf_loader_resolve(loaders[0], "far$i64", NULL) != smf_loader_resolve(loaders[1], "far$i64", NULL));
    /* The instance that called an unloaded module is not found any more. */
    CHECK(smf_loader_unload(loaders[0], users[0]) && smf_loader_unload(loaders[0], callees[0]));
    REFUSED(!smf_jit_resolve(jit, "far$i64"), SMF_ERROR_INSTANTIATE);
    CHECK(says("undefined symbol `distant`"));
    CHECK((users[0] = smf_loader_load(loaders[0], made("reaches.smf"))) && call_main(loaders[0], users[0]) == 10);
    CHECK(smf_loader_close(loaders[0]) && call_main(loaders[1], users[1]) == 10);
    CHECK(smf_loader_close(loaders[1]) && smf_jit_close(jit));
}

/* The code of an instantiator lives as long as each loader that it was set for. */
static void replaced(void) {
    uint64_t loader = smf_loader_open(NULL), jits[2] = {open_jit(50, SMF_JIT_SILENT), open_jit(50, SMF_JIT_SILENT)};
    CHECK(smf_jit_set_compiler(jits[0], compile, (void *)42) && smf_loader_set_jit(loader, jits[0]));
    CHECK(smf_loader_provide(loader, made("templates.smf")) && smf_loader_provide(loader, made("distant.smf")));
    uint64_t user = smf_loader_load(loader, made("reaches.smf"));
    CHECK(user && smf_loader_set_jit(loader, jits[1]) && smf_loader_set_jit(loader, 0));
    CHECK(smf_jit_close(jits[0]) && smf_jit_close(jits[1]));
    /* Other code would be where code was freed. */
    uint64_t others[32];
    for (int i = 0; i < 32; i++) {
        others[i] = open_jit(50, SMF_JIT_SILENT);
        CHECK(smf_jit_set_compiler(others[i], compile, (void *)42) && smf_jit_load(others[i], made("templates.smf")));
        CHECK(smf_jit_resolve(others[i], "one$i64") && smf_jit_resolve(others[i], "calls$i64"));
    }
    CHECK(call_main(loader, user) == 10 && smf_loader_close(loader));
    for (int i = 0; i < 32; i++) {
        CHECK(smf_jit_close(others[i]));
    }
}

static uint64_t resolving;

/* The example of smf.h. */
static int64_t load_and_resolve(const char *name, int64_t length, void *user) {
    CHECK(length == (int64_t)strlen(name));
    bool is_known = !strcmp(name, "distant") && smf_loader_load(resolving, user);
    return is_known ? smf_loader_resolve(resolving, name, NULL) : 0;
}

static void resolved(void) {
    char path[512];
    resolving = smf_loader_open(NULL);
    strcpy(path, made("distant.smf"));
    CHECK(smf_loader_set_resolver(resolving, load_and_resolve, path));
    uint64_t user = smf_loader_load(resolving, made("counted.smf"));
    CHECK(user && call_main(resolving, user) == 11);
    uint64_t callee = smf_loader_find(resolving, path);
    REFUSED(!smf_loader_unload(resolving, callee), SMF_ERROR_IN_USE);
    CHECK(says("counted.smf imports from it"));
    CHECK(smf_loader_unload(resolving, user) && smf_loader_unload(resolving, callee) && smf_loader_close(resolving));
}

/* A loader has an instantiator and a resolver, whichever was set first; each is removed by itself. */
static void both(void) {
    char path[512];
    strcpy(path, made("distant.smf"));
    for (int order = 0; order < 2; order++) {
        uint64_t jit = open_jit(50, SMF_JIT_SILENT);
        resolving = smf_loader_open(NULL);
        CHECK(smf_jit_set_compiler(jit, compile, (void *)42) && smf_jit_load(jit, made("templates.smf")));
        CHECK(order == 1 || smf_loader_set_jit(resolving, jit));
        CHECK(smf_loader_set_resolver(resolving, load_and_resolve, path));
        CHECK(order == 0 || smf_loader_set_jit(resolving, jit));
        uint64_t of_resolver = smf_loader_load(resolving, made("counted.smf"));
        CHECK(of_resolver && call_main(resolving, of_resolver) == 11);
        uint64_t of_jit = smf_loader_load(resolving, made("reaches.smf"));
        CHECK(of_jit && call_main(resolving, of_jit) == 10);
        CHECK(smf_loader_unload(resolving, of_jit) && smf_loader_unload(resolving, of_resolver));
        CHECK(order == 0 ? smf_loader_set_jit(resolving, 0) : smf_loader_set_resolver(resolving, NULL, NULL));
        if (order == 0) {
            REFUSED(!smf_loader_load(resolving, made("reaches.smf")), SMF_ERROR_MISSING);
            CHECK(smf_loader_unload(resolving, smf_loader_find(resolving, path)));
            CHECK((of_resolver = smf_loader_load(resolving, made("counted.smf"))));
            CHECK(call_main(resolving, of_resolver) == 11);
        } else {
            CHECK((of_jit = smf_loader_load(resolving, made("reaches.smf"))) && call_main(resolving, of_jit) == 10);
            CHECK(smf_loader_unload(resolving, of_jit) && smf_loader_unload(resolving, smf_loader_find(resolving, path)));
            REFUSED(!smf_loader_load(resolving, made("counted.smf")), SMF_ERROR_MISSING);
        }
        CHECK(smf_loader_close(resolving) && smf_jit_close(jit));
    }
}

static void linked(void) {
    uint64_t jit = open_jit(50, SMF_JIT_SILENT), loader = smf_loader_open(NULL);
    CHECK(loader && smf_jit_set_compiler(jit, compile, (void *)42));
    CHECK(smf_jit_load(jit, made("templates.smf")));
    REFUSED(!smf_loader_load(loader, made("user.smf")), SMF_ERROR_MISSING);
    CHECK(smf_loader_set_jit(loader, jit));
    uint64_t module = smf_loader_load(loader, made("user.smf"));
    int64_t result = 0;
    CHECK(module && smf_loader_call(loader, module, "main", NULL, 0, &result) && result == 333);
    /* Its note is malformed, which matters to names without a template. */
    uint64_t malformed = smf_loader_load(loader, made("malformed.smf"));
    CHECK(malformed && smf_jit_resolve(jit, "two$i64"));
    const char *reason = "malformed.smf cannot be read: note.sdn, line";
    REFUSED(!smf_loader_load(loader, made("counted.smf")), SMF_ERROR_MISSING);
    CHECK(says(reason));
    REFUSED(!smf_jit_resolve(jit, "absent$i64"), SMF_ERROR_NOT_FOUND);
    CHECK(says(reason) && smf_jit_instantiate(jit, "absent$i64", NULL) == SMF_JIT_NOT_FOUND && says(reason));
    CHECK(smf_loader_unload(loader, malformed));
    int64_t half = smf_jit_resolve(jit, "half$i64");
    CHECK(half && rt_call_function_2(half, 84, 2) == 42);
    REFUSED(rt_call_function_2(half, 84, 0) == 0, SMF_ERROR_TRAP);
    CHECK(says("division by zero") && rt_call_function_2(half, 0, 1) == 0);
    CHECK(smf_last_error().code == SMF_OK);
    /* The loader keeps the code alive. */
    pthread_t threads[8];
    void *addresses[8];
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_create(&threads[i], NULL, resolve, &jit) == 0);
    }
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_join(threads[i], &addresses[i]) == 0 && addresses[i] == addresses[0]);
    }
    CHECK(addresses[0] && smf_jit_close(jit));
    CHECK(smf_loader_call(loader, module, "main", NULL, 0, &result) && result == 333);
    REFUSED(!smf_loader_set_jit(loader, jit), SMF_ERROR_HANDLE);
    CHECK(smf_loader_set_jit(loader, 0) && smf_loader_close(loader));
}

static void refusals(void) {
    uint64_t jit = open_jit(50, 0);
    SmfJitOptions options = {sizeof options, 50, 64, 0};
    REFUSED(!smf_jit_open(&options), SMF_ERROR_ARGUMENT);
    options = (SmfJitOptions){sizeof options, -1, 0, 0};
    REFUSED(!smf_jit_open(&options), SMF_ERROR_ARGUMENT);
    options.size = 8;
    REFUSED(!smf_jit_open(&options), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_load(jit, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_load(jit, "/nonexistent/a.smf"), SMF_ERROR_FILE);
    REFUSED(!smf_jit_load_bytes(jit, "m", (const uint8_t *)"junk", 4), SMF_ERROR_FORMAT);
    REFUSED(!smf_jit_load_bytes(jit, "m", NULL, 4), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_can_instantiate(jit, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(smf_jit_instantiate(jit, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_register(jit, "x", 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_emit(1, (const uint8_t *)"x", 1), SMF_ERROR_HANDLE);
    REFUSED(!smf_jit_statistics(jit, NULL), SMF_ERROR_ARGUMENT);
    for (uint64_t other = 0; other < 3; other++) {
        REFUSED(!smf_jit_load(other, "x"), SMF_ERROR_HANDLE);
        REFUSED(smf_jit_instantiate(other, "x", NULL) == -1, SMF_ERROR_HANDLE);
    }
    uint64_t loader = smf_loader_open(NULL);
    REFUSED(!smf_jit_close(loader), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_close(jit), SMF_ERROR_HANDLE);
    CHECK(smf_loader_close(loader) && smf_jit_close(jit));
}

/* Checks that a text is `expected`, and frees it once. */
static void expect(char *text, const char *expected) {
    if (!text || strcmp(text, expected) != 0) {
        fprintf(stderr, "expected %s\nfound    %s\n", expected, text ? text : "nothing");
        exit(1);
    }
    CHECK(smf_string_free(text) && !smf_string_free(text));
}

/* Checks that a text contains all parts, and frees it. */
static void holds(char *text, const char *const *parts, int count) {
    for (int i = 0; i < count; i++) {
        if (!text || !strstr(text, parts[i])) {
            fprintf(stderr, "expected %s\nin       %s\n", parts[i], text ? text : "nothing");
            exit(1);
        }
    }
    CHECK(smf_string_free(text));
}
#define HOLDS(text, ...) \
    do { \
        const char *const parts[] = {__VA_ARGS__}; \
        holds(text, parts, (int)(sizeof parts / sizeof *parts)); \
    } while (0)

/* A file of the test. */
static const char *read_file(const char *name) {
    static char bytes[8192];
    FILE *file = fopen(made(name), "r");
    CHECK(file);
    size_t length = fread(bytes, 1, sizeof bytes - 1, file);
    CHECK(length > 0 && length < sizeof bytes - 1 && fclose(file) == 0);
    bytes[length] = 0;
    return bytes;
}

#define I64 "{\"kind\":\"int\",\"bits\":64,\"signed\":true}"
#define SHOWN "{\"kind\":\"int\",\"name\":\"i64\",\"bits\":64,\"signed\":true}"

static int64_t inner;

/* A callback may call every function of the library, including its caller. */
static bool compile_again(uint64_t unit, const SmfTemplate *source, void *user) {
    HOLDS(compiler_get_stats(inner), "cache_hits");
    const char *broken = "{\"name\":\"none\",\"type_params\":[\"T\"]}";
    if (source->body_length > 0) {
        HOLDS(compiler_instantiate_template(inner, broken, "[" I64 "]"), "without a reason");
    }
    return source->body_length > 0 && compile(unit, source, user);
}

static void bodies(void) {
    int64_t context = compiler_create_context();
    const char *types = "[" I64 "]";
    /* IR bodies: relocations refer to names. */
    HOLDS(compiler_instantiate_template(context, read_file("half.json"), types), "\"success\":true",
          "\"symbol\":\"half$i64\"", "\"kind\":3", "\"address\":");
    HOLDS(compiler_instantiate_template(context, read_file("half.json"), "[{\"kind\":\"bool\"}]"), "\"success\":false",
          "div has no meaning for bool");
    HOLDS(compiler_instantiate_template(context, read_file("quarter.json"), types), "\"success\":true",
          "\"template\":\"half\"", "\"symbol\":\"half$i64\"", "\"types\":[" SHOWN "]", "\"symbol\":\"twice\"",
          "\"symbol\":\"quarter$i64\"");
    /* Other bodies need a callback. */
    const char *one = "{\"name\":\"one\",\"type_params\":[\"T\"],\"body\":[49,49,49]}";
    const char *calls = "{\"name\":\"calls\",\"type_params\":[\"T\"],\"body\":[62,112,117,116,115]}";
    const char *fails = "{\"name\":\"fails\",\"type_params\":[\"T\"],\"body\":[33,119,104,121]}";
    HOLDS(compiler_instantiate_template(context, one, types), "no compiler recognizes");
    CHECK(compiler_set_callback(context, compile, (void *)42));
    HOLDS(compiler_instantiate_template(context, one, types), "\"code\":[184,111,0,0,0,195]", "\"relocations\":[]");
    HOLDS(compiler_instantiate_template(context, calls, types), "\"code\":[233,0,0,0,0]",
          "{\"offset\":1,\"kind\":3,\"addend\":-4,\"symbol\":\"puts\"}");
    HOLDS(compiler_instantiate_template(context, fails, types), "{\"success\":false,\"error\":\"why\"}");
    inner = context;
    CHECK(compiler_set_callback(context, compile_again, (void *)42));
    HOLDS(compiler_instantiate_template(context, one, types), "\"code\":[184,111,0,0,0,195]");
    CHECK(compiler_set_callback(context, NULL, NULL));
    HOLDS(compiler_instantiate_template(context, one, types), "no compiler recognizes");
    CHECK(compiler_destroy_context(context) && !compiler_set_callback(context, compile, NULL));
}

/* Both spellings of hints, with what the runtime omits. */
static void hints(int64_t context, const char *identity) {
    const char *const accepted[] = {
        "[{\"source\":\"call_site\",\"ty\":{\"kind\":\"int\",\"bits\":64}}]",
        "[{\"source\":\"call_site\",\"param_index\":null,\"ty\":{\"kind\":\"int\",\"name\":\"i64\"}}]",
        "[{\"source\":\"constraint\",\"param_index\":-1,\"ty\":" I64 "}]",
        "[{\"kind\":\"hint\",\"source\":\"call_site\",\"type\":" I64 "}]",
        "[{\"kind\":\"hint\",\"source\":\"return\",\"type\":\"i64\"}]",
        "[{\"source\":\"assignment\",\"ty\":" I64 "},{\"source\":\"call_site\",\"ty\":" I64 "}]",
    };
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        expect(compiler_infer_types(context, identity, accepted[i]), "[" SHOWN "]");
    }
    /* A repetition is answered from the cache. */
    HOLDS(compiler_get_stats(context), "\"cache_hits\":0");
    expect(compiler_infer_types(context, identity, accepted[0]), "[" SHOWN "]");
    HOLDS(compiler_get_stats(context), "\"type_inferences\":9", "\"cache_hits\":1", "\"cache_misses\":8");
    const char *const refused[][2] = {
        {"{}", "the hints are not a list"},
        {"[1]", "a hint has no `ty`"},
        {"[{\"source\":\"call_site\"}]", "a hint has no `ty`"},
        {"[{\"ty\":" I64 "}]", "a hint has an unknown `source`"},
        {"[{\"source\":\"\",\"ty\":" I64 "}]", "a hint has an unknown `source`"},
        {"[{\"source\":\"call_site\",\"ty\":1}]", "a type is an object"},
        {"[{\"source\":\"call_site\",\"type\":\"[\"}]", "\"success\":false"},
        {"[{\"source\":\"call_site\",\"ty\":{\"kind\":\"int\"}}]", "`bits` of a type"},
        {"[{\"source\":\"call_site\",\"param_index\":\"0\",\"ty\":" I64 "}]", "`param_index` of a hint is invalid"},
        {"[{\"source\":\"call_site\",\"param_index\":0.5,\"ty\":" I64 "}]", "`param_index` of a hint is invalid"},
        {"[{\"source\":\"call_site\",\"param_index\":4294967296,\"ty\":" I64 "}]", "is invalid"},
        {"[{\"source\":\"call_site\",\"param_index\":1,\"ty\":" I64 "}]", "does not have argument 2"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        smf_clear_error();
        HOLDS(compiler_infer_types(context, identity, refused[i][0]), refused[i][1]);
        CHECK(smf_last_error().code == SMF_ERROR_INSTANTIATE);
    }
}

static bool is_typed(int64_t context, const uint8_t *bytes, int64_t length) {
    RuntimeValue *code = smf_bytes_new(bytes, length);
    bool is_typed = compiler_check_types(context, code);
    CHECK(smf_value_free(code));
    return is_typed;
}

/* Code of the context, and the typed code of the runtime's compiler. */
static void code_types(int64_t context) {
    const uint8_t typed[] = {0, 1, 0, 1, 16, 8, 16, 32, 0, 16, 254, 255, 16}, compiled[] = {195}, other[] = {0xcc};
    CHECK(is_typed(context, typed, sizeof typed) && is_typed(context, compiled, 1));
    for (int64_t length = 0; length < 13; length++) {
        if (length != 11) {
            REFUSED(!is_typed(context, typed, length), SMF_ERROR_FORMAT);
        }
    }
    int64_t fresh = compiler_create_context();
    REFUSED(!is_typed(context, other, 1), SMF_ERROR_FORMAT);
    REFUSED(!is_typed(fresh, compiled, 1), SMF_ERROR_FORMAT);
    CHECK(is_typed(fresh, typed, sizeof typed) && compiler_destroy_context(fresh));
    REFUSED(!is_typed(fresh, typed, sizeof typed), SMF_ERROR_HANDLE);
    REFUSED(!compiler_check_types(context, NULL), SMF_ERROR_ARGUMENT);
    RuntimeValue *text = smf_text_new((const uint8_t *)"x", 1);
    REFUSED(!compiler_check_types(context, text), SMF_ERROR_VALUE);
    CHECK(smf_value_free(text));
    REFUSED(!compiler_check_types(context, text), SMF_ERROR_VALUE);
    REFUSED(!compiler_check_types(context, (SmfBytes)&fresh), SMF_ERROR_VALUE);
    REFUSED(!compiler_set_callback(fresh, NULL, NULL), SMF_ERROR_HANDLE);
}

static void json(void) {
    int64_t context = compiler_create_context();
    CHECK(context > 0);
    const char *identity = "{\"name\":\"id\",\"type_params\":[\"T\"]}";
    expect(compiler_infer_types(context, identity, "[{\"source\":\"call_site\",\"param_index\":0,\"ty\":" I64 "}]"),
           "[" SHOWN "]");
    expect(compiler_infer_types(context, "{\"name\":\"id\",\"params\":[{\"name\":\"T\"}]}", "[]"),
           "{\"success\":false,\"error\":\"no hint determines the type parameter `T`\"}");
    hints(context, identity);
    expect(smf_check_types(context, identity, "[" I64 "]"), "{\"success\":true,\"symbol\":\"id$i64\"}");
    expect(smf_check_types(context, identity, "[]"),
           "{\"success\":false,\"error\":\"0 type arguments; there must be 1 to 64\"}");
    /* `ret`, precompiled for any types on x86-64. */
    const char *ready = "{\"name\":\"id\",\"type_params\":[\"T\"],\"body\":[77,65,67,72,29,0,0,0,1,0,1,0,"
                        "17,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,195]}";
    const char *code = "{\"success\":true,\"code\":[195],\"symbol\":\"id$i64\",\"relocations\":[]}";
    expect(compiler_instantiate_template(context, ready, "[" I64 "]"), code);
    expect(compiler_instantiate_template(context, ready, "[" I64 "]"), code);
    expect(compiler_instantiate_template(context, identity, "[" I64 "]"),
           "{\"success\":false,\"error\":\"no compiler recognizes the body of the template `id`\"}");
    expect(compiler_get_stats(context), "{\"type_inferences\":21,\"template_instantiations\":3,"
                                        "\"cache_hits\":2,\"cache_misses\":22}");
    code_types(context);
    CHECK(compiler_destroy_context(context));
    REFUSED(!compiler_destroy_context(context), SMF_ERROR_HANDLE);
    const char *invalid = "{\"success\":false,\"error\":\"Invalid context handle\"}";
    expect(compiler_infer_types(context, identity, "[]"), invalid);
    expect(compiler_instantiate_template(-1, identity, "[]"), invalid);
    expect(smf_check_types(0, NULL, NULL), invalid);
    expect(compiler_get_stats(context), invalid);

    int64_t unifier = type_unifier_create();
    CHECK(unifier > 0);
    expect(type_unifier_unify(unifier, "{\"kind\":\"generic\",\"name\":\"T\"}", I64),
           "{\"success\":true,\"type\":" SHOWN "}");
    expect(type_unifier_unify(unifier, "{\"kind\":\"bool\"}", "{\"kind\":\"generic\",\"name\":\"T\"}"),
           "{\"success\":false,\"error\":\"`bool` and `i64` are different types\",\"left\":{\"kind\":\"bool\","
           "\"name\":\"bool\"},\"right\":" SHOWN "}");
    char *broken = type_unifier_unify(unifier, "{", I64);
    CHECK(strstr(broken, "Invalid JSON") && smf_string_free(broken));
    broken = type_unifier_unify(unifier, NULL, I64);
    CHECK(strstr(broken, "is null") && smf_string_free(broken));
    CHECK(type_unifier_destroy(unifier));
    REFUSED(!type_unifier_destroy(unifier), SMF_ERROR_HANDLE);
    expect(type_unifier_unify(unifier, I64, I64), "{\"success\":false,\"error\":\"Invalid unifier handle\"}");
    char here[8] = "mine";
    CHECK(!smf_string_free(here) && smf_string_free(NULL));
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    directory = arguments[1];
    refusals();
    instances();
    objects();
    linked();
    around();
    pinned();
    shared();
    late();
    replaced();
    resolved();
    both();
    limited();
    kept();
    cached();
    json();
    bodies();
    CHECK(rt_exec_memory_count() == 0);
    watch();
    puts("ok");
    return 0;
}
