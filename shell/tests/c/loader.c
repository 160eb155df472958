/* Loaders: modules that import from each other and from the host, are replaced and unloaded; invalid arguments; and
 * many threads. The test that runs this program creates the modules. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define SAMPLES "../tests/samples/"
#define LENGTH(list) ((int64_t)(sizeof(list) / sizeof *(list)))

static const char *directory;

/* The path of a module that the test created. */
static const char *made(const char *name) {
    static _Thread_local char path[4][512];
    static _Thread_local unsigned next;
    char *room = path[next++ % 4];
    snprintf(room, sizeof path[0], "%s/%s.smf", directory, name);
    return room;
}

static uint8_t *whole(const char *path, int64_t *length) {
    FILE *file = fopen(path, "r");
    CHECK(file && fseek(file, 0, SEEK_END) == 0 && (*length = ftell(file)) > 0);
    uint8_t *bytes = malloc((size_t)*length);
    rewind(file);
    CHECK(fread(bytes, 1, (size_t)*length, file) == (size_t)*length && fclose(file) == 0);
    return bytes;
}

static uint64_t open_loader(int32_t clash, int32_t flags) {
    SmfLoaderOptions options = {.size = sizeof options, .clash = clash, .flags = flags};
    uint64_t loader = smf_loader_open(&options);
    CHECK(loader);
    return loader;
}

static SmfLoaderStatistics statistics(uint64_t loader) {
    SmfLoaderStatistics s = {.size = sizeof s};
    CHECK(smf_loader_statistics(loader, &s) && s.size == sizeof s);
    return s;
}

static uint64_t load(uint64_t loader, const char *name) {
    uint64_t module = smf_loader_load(loader, made(name));
    CHECK(module);
    return module;
}

static int64_t call(uint64_t loader, uint64_t module, const char *name, int64_t argument) {
    int64_t result = -1;
    CHECK(smf_loader_call(loader, module, name, &argument, 1, &result));
    return result;
}

static bool says(const char *what) { return strstr(smf_last_error().text, what) != NULL; }

static void options(void) {
    const struct { int64_t size, kept; int32_t clash, flags; } bad[] = {
        {0, 0, 0, 0}, {23, 0, 0, 0}, {-1, 0, 0, 0}, {INT64_MIN, 0, 0, 0}, {24, -1, 0, 0}, {24, INT64_MIN, 0, 0},
        {24, 0, 2, 0}, {24, 0, -1, 0}, {24, 0, 0, 24}, {24, 0, 0, 32}, {24, 0, 0, -1}, {24, 0, INT32_MIN, INT32_MIN},
    };
    SmfLoaderOptions negative = {.size = sizeof negative, .max_replaced_bytes = -1};
    REFUSED(!smf_loader_open(&negative), SMF_ERROR_ARGUMENT);
    for (int64_t i = 0; i < LENGTH(bad); i++) {
        SmfLoaderOptions o = {.size = bad[i].size, .kept_bytes = bad[i].kept, .clash = bad[i].clash, .flags = bad[i].flags};
        REFUSED(!smf_loader_open(&o), SMF_ERROR_ARGUMENT);
    }
    /* Files are copied, or mapped, but not both. */
    CHECK(smf_loader_close(open_loader(0, SMF_LOADER_COPY_FILES)));
    CHECK(smf_loader_close(open_loader(0, SMF_LOADER_MAP_FILES)));
    /* A program with a newer header than the library. */
    struct { SmfLoaderOptions known; int64_t more; } newer = {
        {.size = sizeof newer, .kept_bytes = INT64_MAX, .clash = 1, .flags = 3, .max_replaced_bytes = INT64_MAX}, 7};
    uint64_t loaders[65];
    CHECK((loaders[0] = smf_loader_open(&newer.known)) && smf_loader_close(loaders[0]));
    int open = 0;
    while (open < 65 && (loaders[open] = smf_loader_open(NULL))) {
        open++;
    }
    CHECK(open == 64 && smf_last_error().code == SMF_ERROR_FULL);
    REFUSED(!smf_exec_limit(INT64_MAX, INT64_MAX), SMF_ERROR_STATE);
    for (int i = 0; i < open; i++) {
        CHECK(smf_loader_close(loaders[i]));
        REFUSED(!smf_loader_close(loaders[i]), SMF_ERROR_HANDLE);
    }
    CHECK(smf_exec_limit(INT64_MAX, INT64_MAX));
}

struct shown { int count, functions, stop; char names[256]; uint64_t module; };

static bool visit_module(uint64_t module, const char *name, int64_t length, void *user) {
    struct shown *shown = user;
    CHECK(module && name[length] == 0 && (int64_t)strlen(name) == length);
    snprintf(strchr(shown->names, 0), 100, "%s,", strrchr(name, '/') + 1);
    return ++shown->count != shown->stop;
}

static bool visit_symbol(const SmfSymbol *symbol, const char *name, int64_t length, void *user) {
    struct shown *shown = user;
    CHECK(symbol->size == sizeof *symbol && symbol->module == shown->module && name[length] == 0);
    CHECK(symbol->address > 0);
    shown->functions += symbol->kind == SMF_SYMBOL_FUNCTION && symbol->binding == SMF_BINDING_GLOBAL;
    return ++shown->count != shown->stop;
}

/* Load, look up, call, enumerate, unload. */
static void life(void) {
    uint64_t loader = open_loader(SMF_CLASH_FIRST_WINS, 0);
    uint64_t counter = load(loader, "counter");
    REFUSED(!smf_loader_load(loader, made("counter")), SMF_ERROR_NAME_TAKEN);
    uint64_t user = load(loader, "user");
    CHECK(smf_loader_find(loader, made("user")) == user && user != counter);
    REFUSED(!smf_loader_find(loader, "nobody"), SMF_ERROR_NOT_FOUND);
    CHECK(call(loader, counter, "add", 2) == 7 && call(loader, user, "twice", 10) == 27);

    SmfSymbol symbol = {.size = sizeof symbol}, other = symbol;
    int64_t add = smf_loader_resolve(loader, "add", &symbol);
    CHECK(add && symbol.address == add && symbol.kind == SMF_SYMBOL_FUNCTION && symbol.module == counter);
    CHECK(symbol.binding == SMF_BINDING_GLOBAL && symbol.bytes > 0 && symbol.size == sizeof symbol);
    int64_t direct = smf_loader_symbol(loader, counter, "add", &other);
    CHECK(direct && direct != add && other.address == direct && other.bytes == symbol.bytes);
    CHECK(rt_call_function_1(add, 1) == 28 && rt_call_function_1(direct, 1) == 29);
    CHECK(((int64_t (*)(int64_t))(intptr_t)add)(1) == 30);
    REFUSED(!rt_call_function_1(add + 1, 1), SMF_ERROR_NOT_EXECUTABLE);
    int64_t count = smf_loader_symbol(loader, counter, "count", &other);
    CHECK(other.kind == SMF_SYMBOL_DATA && other.bytes == 8 && *(int64_t *)(intptr_t)count == 30);
    CHECK(smf_loader_resolve(loader, "count", NULL) == count);
    REFUSED(!rt_call_function_1(count, 1), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_loader_symbol(loader, user, "add", NULL), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_resolve(loader, "nothing", NULL), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_call(loader, counter, "count", NULL, 0, NULL), SMF_ERROR_NOT_FOUND);
    CHECK(says("count") && smf_loader_call(loader, counter, "version", NULL, 0, NULL));
    int64_t entry = smf_loader_entry_point(loader, counter);
    CHECK(entry == smf_loader_symbol(loader, counter, "main", NULL) && rt_call_function_0(entry) == 77);
    REFUSED(!smf_loader_entry_point(loader, user), SMF_ERROR_NOT_FOUND);

    struct shown shown = {0};
    CHECK(smf_loader_modules(loader, visit_module, &shown) == 2 && !strcmp(shown.names, "counter.smf,user.smf,"));
    shown = (struct shown){.stop = 1};
    CHECK(smf_loader_modules(loader, visit_module, &shown) == 1 && shown.count == 1);
    shown = (struct shown){.module = counter};
    CHECK(smf_loader_symbols(loader, counter, visit_symbol, &shown) == shown.count && shown.functions == 3);
    shown = (struct shown){.module = counter, .stop = 2};
    CHECK(smf_loader_symbols(loader, counter, visit_symbol, &shown) == 2);

    SmfLoaderStatistics s = statistics(loader);
    CHECK(s.modules == 2 && s.retired == 0 && s.held == 0);
    REFUSED(!smf_loader_unload(loader, counter), SMF_ERROR_IN_USE);
    CHECK(says("user.smf") && smf_loader_unload(loader, user));
    REFUSED(!smf_loader_unload(loader, user), SMF_ERROR_HANDLE);
    uint64_t again = load(loader, "user");
    CHECK(again != user && call(loader, again, "twice", 0) == 30);
    const uint64_t both[] = {counter, again}, bad[] = {again, user};
    REFUSED(!smf_loader_unload_all(loader, bad, 2), SMF_ERROR_HANDLE);
    CHECK(statistics(loader).modules == 2 && smf_loader_unload_all(loader, both, 2));
    CHECK(smf_loader_unload_all(loader, NULL, 0) && statistics(loader).modules == 0);
    /* Neither the function nor the stub is callable any more. */
    REFUSED(!rt_call_function_1(add, 1), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!rt_call_function_1(direct, 1), SMF_ERROR_NOT_EXECUTABLE);

    /* Providers are loaded on demand, also in cycles. */
    CHECK(smf_loader_provide(loader, made("pong")) && statistics(loader).modules == 0);
    uint64_t ping = load(loader, "ping"), pong = smf_loader_find(loader, made("pong"));
    CHECK(pong && call(loader, ping, "ping", 9) == 9);
    REFUSED(!smf_loader_unload(loader, ping), SMF_ERROR_IN_USE);
    REFUSED(!smf_loader_unload(loader, pong), SMF_ERROR_IN_USE);
    CHECK(smf_loader_unload_all(loader, (uint64_t[]){ping, pong}, 2));
    load(loader, "ping");
    CHECK(smf_loader_close(loader));
    REFUSED(!smf_loader_close(loader), SMF_ERROR_HANDLE);
}

/* Modules in memory, and archives. */
static void bytes(void) {
    uint64_t loader = smf_loader_open(NULL);
    int64_t length, none = 0;
    uint8_t *file = whole(made("counter"), &length);
    uint64_t module = smf_loader_load_bytes(loader, "name", file, length);
    CHECK(module && smf_loader_find(loader, "name") == module);
    REFUSED(!smf_loader_load_bytes(loader, "name", file, length), SMF_ERROR_NAME_TAKEN);
    REFUSED(!smf_loader_load_bytes(loader, "other", file, length / 2), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_load_bytes(loader, "other", file, 0), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_load_bytes(loader, "other", NULL, length), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load_bytes(loader, "other", file, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load_bytes(loader, "other", file, INT64_MIN), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load_bytes(loader, NULL, file, length), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_provide_bytes(loader, "other", file, length / 2), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_provide_bytes(loader, "other", NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_provide_bytes(loader, NULL, file, length), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_reload_bytes(loader, module, file, length / 2, true, NULL), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_reload_bytes(loader, module, NULL, 1, true, NULL), SMF_ERROR_ARGUMENT);
    /* The bytes were copied. */
    memset(file, 0xff, (size_t)length);
    free(file);
    CHECK(call(loader, module, "add", 1) == 6);
    file = whole(made("pong"), &length);
    CHECK(smf_loader_provide_bytes(loader, "pong", file, length));
    free(file);
    CHECK(call(loader, load(loader, "ping"), "ping", 3) == 3 && smf_loader_find(loader, "pong"));

    uint64_t scale = smf_loader_load_archived(loader, SAMPLES "library.lsm", "std/math/scale");
    CHECK(scale && smf_loader_find(loader, SAMPLES "library.lsm(std/math/scale)") == scale);
    REFUSED(!smf_loader_load_archived(loader, SAMPLES "library.lsm", "absent"), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_load_archived(loader, SAMPLES "library.lsm", "\xff"), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_load_archived(loader, SAMPLES "library.lsm", NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load_archived(loader, NULL, "std/math/scale"), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load_archived(loader, SAMPLES "packed.smf", "x"), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_load(loader, SAMPLES "library.lsm"), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_load(loader, SAMPLES "bad/not-smf.smf"), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_load(loader, "absent"), SMF_ERROR_FILE);
    CHECK(says("absent: "));
    REFUSED(!smf_loader_load(loader, directory), SMF_ERROR_FILE);
    REFUSED(!smf_loader_load(loader, ""), SMF_ERROR_FILE);
    REFUSED(!smf_loader_load(loader, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_provide(loader, "absent"), SMF_ERROR_FILE);
    REFUSED(!smf_loader_provide(loader, NULL), SMF_ERROR_ARGUMENT);

    /* A shared object of the system, with a trailer. */
    uint64_t dynlib = smf_loader_load(loader, SAMPLES "dynlib.smf");
    SmfSymbol symbol = {.size = sizeof symbol};
    CHECK(dynlib && smf_loader_resolve(loader, "plugin", &symbol) && symbol.module == dynlib);
    CHECK(symbol.kind == SMF_SYMBOL_UNKNOWN && smf_loader_symbols(loader, dynlib, visit_symbol, &none) == 0);
    CHECK(smf_loader_call(loader, dynlib, "plugin", NULL, 0, NULL) && smf_loader_unload(loader, dynlib));
    CHECK(smf_loader_close(loader));
}

/* The host: defined symbols, symbols of the process, and the resolver. */
static int64_t host_function(int64_t x) { return x * 3; }
static int64_t other_function(int64_t x) { return x * 5; }

struct asked { uint64_t loader; int count, loaded; char name[64]; };

static int64_t resolver(const char *name, int64_t length, void *user) {
    struct asked *asked = user;
    CHECK((int64_t)strlen(name) == length && length < 64);
    asked->count++;
    strcpy(asked->name, name);
    REFUSED(!smf_loader_close(asked->loader), SMF_ERROR_IN_USE);
    CHECK(says("1 call ") || says("2 calls "));
    if (!strcmp(name, "add") || !strcmp(name, "version")) {
        if (!smf_loader_find(asked->loader, made("counter"))) {
            asked->loaded += smf_loader_load(asked->loader, made("counter")) != 0;
        }
        return smf_loader_resolve(asked->loader, name, NULL);
    }
    if (!strcmp(name, "nested")) {
        REFUSED(!smf_loader_load(asked->loader, made("lacking")), SMF_ERROR_MISSING);
        return 0;
    }
    return strcmp(name, "host_function") ? strcmp(name, "negative") ? 0 : -5 : ADDRESS(other_function);
}

static void host(void) {
    uint64_t loader = open_loader(SMF_CLASH_FIRST_WINS, 0);
    struct asked asked = {.loader = loader};
    REFUSED(!smf_loader_load(loader, made("host")), SMF_ERROR_MISSING);
    CHECK(smf_loader_set_resolver(loader, resolver, &asked));
    uint64_t host = load(loader, "host");
    CHECK(asked.count == 1 && !strcmp(asked.name, "host_function") && call(loader, host, "call_host", 2) == 11);
    CHECK(smf_loader_define(loader, "host_function", ADDRESS(host_function)));
    REFUSED(!smf_loader_define(loader, "x", 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_define(loader, "x", -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_define(loader, NULL, 1), SMF_ERROR_ARGUMENT);
    /* Linked modules are unchanged; the next one uses the defined symbol instead of the resolver. */
    CHECK(call(loader, host, "call_host", 2) == 11 && smf_loader_unload(loader, host));
    host = load(loader, "host");
    CHECK(asked.count == 1 && call(loader, host, "call_host", 2) == 7);
    SmfSymbol symbol = {.size = sizeof symbol};
    CHECK(smf_loader_resolve(loader, "host_function", &symbol) == ADDRESS(host_function));
    CHECK(symbol.module == 0 && symbol.kind == SMF_SYMBOL_UNKNOWN && asked.count == 1);
    REFUSED(!smf_loader_resolve(loader, "negative", NULL), SMF_ERROR_NOT_FOUND);
    /* A resolver that loads the defining module. */
    uint64_t user = load(loader, "user");
    CHECK(asked.loaded == 1 && call(loader, user, "twice", 1) == 7);
    /* A resolver whose own load has unresolved imports, which are not reported for this load. */
    REFUSED(!smf_loader_resolve(loader, "nested", NULL), SMF_ERROR_NOT_FOUND);
    CHECK(smf_loader_missing_count() == 2);
    /* Symbols of the process are not looked up without the flag. */
    REFUSED(!smf_loader_load(loader, made("process")), SMF_ERROR_MISSING);
    CHECK(!strcmp(asked.name, "getpid") && smf_loader_set_resolver(loader, NULL, NULL));
    int count = asked.count;
    REFUSED(!smf_loader_resolve(loader, "nothing", NULL), SMF_ERROR_NOT_FOUND);
    CHECK(asked.count == count && smf_loader_close(loader));

    loader = open_loader(SMF_CLASH_FIRST_WINS, SMF_LOADER_PROCESS_SYMBOLS);
    asked = (struct asked){.loader = loader};
    CHECK(smf_loader_set_resolver(loader, resolver, &asked));
    CHECK(call(loader, load(loader, "process"), "process", 0) == getpid() && asked.count == 0);
    CHECK(smf_loader_close(loader));

    /* Two modules export one name. */
    loader = open_loader(SMF_CLASH_REFUSE, 0);
    load(loader, "counter");
    REFUSED(!smf_loader_load(loader, made("counter2")), SMF_ERROR_NAME_TAKEN);
    CHECK(statistics(loader).modules == 1 && smf_loader_close(loader));
    loader = open_loader(SMF_CLASH_FIRST_WINS, 0);
    uint64_t first = load(loader, "counter");
    load(loader, "counter2");
    symbol.size = sizeof symbol;
    CHECK(smf_loader_resolve(loader, "version", &symbol) && symbol.module == first && smf_loader_close(loader));
}

static void missing(void) {
    uint64_t loader = smf_loader_open(NULL);
    smf_loader_load(loader, NULL);
    CHECK(smf_loader_missing_count() == 0);
    REFUSED(!smf_loader_missing(0).symbol, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load(loader, made("lacking")), SMF_ERROR_MISSING);
    CHECK(says("2 unresolved imports") && smf_loader_missing_count() == 2);
    bool alpha = false, beta = false;
    for (int64_t i = 0; i < 2; i++) {
        SmfMissing m = smf_loader_missing(i);
        CHECK((int64_t)strlen(m.symbol) == m.symbol_length && !strcmp(m.module, made("lacking")));
        CHECK((int64_t)strlen(m.module) == m.module_length);
        alpha |= !strcmp(m.symbol, "alpha");
        beta |= !strcmp(m.symbol, "beta");
    }
    CHECK(alpha && beta);
    REFUSED(!smf_loader_missing(2).symbol, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_missing(-1).symbol, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_missing(INT64_MIN).module, SMF_ERROR_ARGUMENT);
    /* Another failure leaves the list empty. */
    REFUSED(!smf_loader_load(loader, "absent"), SMF_ERROR_FILE);
    CHECK(smf_loader_missing_count() == 0);
    /* As does a success; a provider may have unresolved imports as well. */
    CHECK(smf_loader_provide(loader, made("user")) && smf_loader_provide(loader, made("lacking")));
    REFUSED(!smf_loader_load(loader, made("needs")), SMF_ERROR_MISSING);
    CHECK(smf_loader_missing_count() == 4 && statistics(loader).modules == 0);
    load(loader, "counter");
    CHECK(smf_loader_missing_count() == 0 && smf_loader_close(loader));
}

static void libraries(void) {
    uint64_t loader = smf_loader_open(NULL);
    REFUSED(!smf_loader_load(loader, made("cosine")), SMF_ERROR_MISSING);
    CHECK(says("`cos`"));
    /* A library that a module needs is opened with it. */
    CHECK(call(loader, load(loader, "cosine-needed"), "cosine", 0) == 1000);
    REFUSED(!smf_loader_load(loader, made("cosine-absent")), SMF_ERROR_LINK);
    CHECK(says("cosine-absent") && says("`libno-such.so.9`") && says("No such file"));
    /* Or the host adds it. */
    REFUSED(!smf_loader_add_library(loader, NULL) && !smf_loader_add_library(loader, ""), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_add_library(0, "libm.so.6"), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_add_library(loader, "libno-such.so.9"), SMF_ERROR_LINK);
    CHECK(says("libno-such.so.9") && says("No such file"));
    REFUSED(!smf_loader_resolve(loader, "cos", NULL), SMF_ERROR_NOT_FOUND);
    CHECK(smf_loader_add_library(loader, "libm.so.6"));
    CHECK(call(loader, load(loader, "cosine"), "cosine", 0) == 1000);
    CHECK(smf_loader_resolve(loader, "cos", NULL) && smf_loader_close(loader));
}

/* The data of a module with constructors is kept only on request. */
static void reload_constructed(void) {
    uint64_t loader = open_loader(SMF_CLASH_FIRST_WINS, 0), module = load(loader, "constructed");
    const char *path = made("constructed");
    SmfReloaded moved = {.size = sizeof moved};
    CHECK(call(loader, module, "item", 0) == 10 && call(loader, module, "item", 0) == 11);
    CHECK(smf_loader_reload(loader, module, path, SMF_DATA_KEEP_CONSTRUCTED, &moved) && moved.symbols == 1);
    CHECK(call(loader, module, "item", 0) == 12);
    CHECK(moved.reset == 0);
    CHECK(smf_loader_reload(loader, module, path, SMF_DATA_KEEP, &moved) && moved.symbols == 0 && moved.reset == 1);
    CHECK(smf_loader_reload(loader, module, path, SMF_DATA_RESET, &moved) && moved.symbols == 0 && moved.reset == 0);
    CHECK(call(loader, module, "item", 0) == 10);
    uint64_t user = load(loader, "items");
    int64_t *items = (int64_t *)(intptr_t)call(loader, user, "where_items", 0);
    CHECK(*items == 11);
    REFUSED(!smf_loader_reload(loader, module, path, SMF_DATA_KEEP, NULL), SMF_ERROR_IN_USE);
    CHECK(says("items.smf") && says("constructors") && says("SMF_DATA_KEEP_CONSTRUCTED"));
    REFUSED(!smf_loader_reload(loader, module, path, SMF_DATA_RESET, NULL), SMF_ERROR_IN_USE);
    CHECK(!says("SMF_DATA_KEEP_CONSTRUCTED"));
    /* The new version constructs it where it is. */
    CHECK(smf_loader_reload(loader, module, path, SMF_DATA_KEEP_CONSTRUCTED, &moved) && moved.kept == 1 && *items == 10);
    CHECK(call(loader, module, "item", 0) == 10 && *items == 11 && smf_loader_close(loader));
}

/* A hold keeps what its code may be inside, and nothing else. */
static void replace_while_another_is_held(void) {
    uint64_t loader = open_loader(SMF_CLASH_FIRST_WINS, 0), counter = load(loader, "counter");
    uint64_t other = smf_loader_hold(loader, load(loader, "counter3"));
    CHECK(other);
    for (int round = 0; round < 20; round++) {
        CHECK(smf_loader_reload(loader, counter, made(round % 2 ? "counter" : "counter2"), SMF_DATA_KEEP, NULL));
        CHECK(smf_loader_unload(loader, load(loader, "counter4")) && statistics(loader).retired == 0);
    }
    CHECK(smf_loader_release(loader, other) && smf_loader_close(loader));
}

static void reload(void) {
    uint64_t loader = open_loader(SMF_CLASH_FIRST_WINS, 0);
    uint64_t counter = load(loader, "counter"), user = load(loader, "user");
    int64_t add = smf_loader_resolve(loader, "add", NULL), version = smf_loader_resolve(loader, "version", NULL);
    CHECK(call(loader, user, "twice", 10) == 25 && rt_call_function_0(version) == 1);
    uint64_t hold = smf_loader_hold(loader, counter), twice = smf_loader_hold(loader, hold);
    CHECK(hold && twice && twice != hold && statistics(loader).held == 2);
    int64_t old = smf_loader_symbol(loader, counter, "version", NULL);
    int64_t stable = smf_loader_stable(loader, counter, "version");
    CHECK(stable == version && stable != old && smf_loader_stable(loader, hold, "version") == stable);
    /* The address of data, and that of a module that cannot be reloaded, is the one of the version. */
    CHECK(smf_loader_stable(loader, counter, "count") == smf_loader_symbol(loader, counter, "count", NULL));
    CHECK(smf_loader_stable(loader, user, "twice") == smf_loader_symbol(loader, user, "twice", NULL));
    REFUSED(!smf_loader_stable(loader, counter, "absent"), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_stable(loader, counter, NULL), SMF_ERROR_ARGUMENT);

    SmfReloaded moved = {.size = sizeof moved};
    CHECK(smf_loader_reload(loader, counter, made("counter2"), true, &moved));
    CHECK(moved.size == sizeof moved && moved.symbols == 1 && moved.bytes == 8);
    /* All callers reach the new version, at unchanged addresses, with the old data. */
    CHECK(rt_call_function_0(version) == 2 && rt_call_function_1(add, 1) == 35);
    CHECK(rt_call_function_0(stable) == 2 && ((long (*)(void))stable)() == 2);
    CHECK(call(loader, user, "twice", 1) == 55 && call(loader, counter, "version", 0) == 2);
    /* A hold refers to the old version. */
    CHECK(rt_call_function_0(old) == 1 && smf_loader_symbol(loader, hold, "version", NULL) == old);
    CHECK(call(loader, hold, "version", 0) == 1 && call(loader, hold, "add", 0) == 25);
    CHECK(smf_loader_entry_point(loader, hold) == smf_loader_symbol(loader, twice, "main", NULL));
    struct shown shown = {.module = counter};
    CHECK(smf_loader_symbols(loader, hold, visit_symbol, &shown) == shown.count && shown.functions == 3);
    CHECK(statistics(loader).retired == 1 && smf_loader_release(loader, hold) && statistics(loader).retired == 1);
    REFUSED(!smf_loader_release(loader, hold), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_symbol(loader, hold, "version", NULL), SMF_ERROR_HANDLE);
    CHECK(call(loader, twice, "version", 0) == 1 && smf_loader_release(loader, twice));
    /* The stable addresses may be in use until the host states that they are not. */
    SmfLoaderStatistics now = statistics(loader);
    CHECK(now.retired == 1 && now.uncounted == 1 && now.replaced_bytes > 0 && now.held == 0);
    CHECK(rt_call_function_0(old) == 1 && smf_loader_collect(loader));
    now = statistics(loader);
    CHECK(now.retired == 0 && now.uncounted == 0 && now.replaced_bytes == 0);
    REFUSED(!rt_call_function_0(old), SMF_ERROR_NOT_EXECUTABLE);

    /* Without the old data, and refused reloads. */
    CHECK(smf_loader_reload(loader, counter, made("counter"), false, NULL) && rt_call_function_1(add, 0) == 5);
    REFUSED(!smf_loader_reload(loader, counter, made("counter3"), true, NULL), SMF_ERROR_RELOAD);
    CHECK(says("`add`"));
    REFUSED(!smf_loader_reload(loader, user, made("user"), true, NULL), SMF_ERROR_RELOAD);
    REFUSED(!smf_loader_reload(loader, counter, made("lacking"), true, NULL), SMF_ERROR_MISSING);
    CHECK(smf_loader_missing_count() == 2);
    REFUSED(!smf_loader_reload(loader, counter, "absent", true, NULL), SMF_ERROR_FILE);
    REFUSED(!smf_loader_reload(loader, counter, NULL, true, NULL), SMF_ERROR_ARGUMENT);
    /* The first version of the structure had no `reset`. */
    moved.size = offsetof(SmfReloaded, reset) - 1;
    REFUSED(!smf_loader_reload(loader, counter, made("counter2"), true, &moved), SMF_ERROR_ARGUMENT);
    CHECK(rt_call_function_0(version) == 1 && rt_call_function_1(add, 1) == 6);
    uint64_t where = load(loader, "where");
    CHECK(call(loader, where, "where", 0) == smf_loader_symbol(loader, counter, "count", NULL));
    /* Data that another module refers to stays in place, and both modules use it. */
    int64_t *count = (int64_t *)(intptr_t)call(loader, where, "where", 0);
    moved = (SmfReloaded){.size = sizeof moved};
    CHECK(smf_loader_reload(loader, counter, made("counter2"), true, &moved) && moved.kept == 1 && moved.symbols == 0);
    CHECK(rt_call_function_1(add, 1) == 16 && *count == 16 && (*count += 4) == 20 && rt_call_function_1(add, 0) == 20);
    CHECK(smf_loader_resolve(loader, "count", NULL) == ADDRESS(count));
    REFUSED(!smf_loader_reload(loader, counter, made("counter2"), false, NULL), SMF_ERROR_IN_USE);
    REFUSED(!smf_loader_reload(loader, counter, made("counter4"), true, NULL), SMF_ERROR_IN_USE);
    CHECK(says("where.smf") && says("`count`") && smf_loader_unload(loader, where));
    int64_t length;
    uint8_t *file = whole(made("counter2"), &length);
    CHECK(smf_loader_reload_bytes(loader, counter, file, length, true, NULL) && rt_call_function_1(add, 1) == 30);
    free(file);
    REFUSED(!smf_loader_reload(loader, counter, made("counter2"), SMF_DATA_KEEP_CONSTRUCTED + 1, NULL), SMF_ERROR_ARGUMENT);
    CHECK(smf_loader_close(loader));
    reload_constructed();
    replace_while_another_is_held();

    /* Replaced code up to the limit, but at least one version. */
    SmfLoaderOptions little = {.size = sizeof little, .max_replaced_bytes = 1};
    CHECK((loader = smf_loader_open(&little)) && (counter = load(loader, "counter")));
    CHECK(smf_loader_reload(loader, counter, made("counter2"), true, NULL) && statistics(loader).retired == 0);
    CHECK(smf_loader_resolve(loader, "version", NULL));
    for (int round = 0; round < 3; round++) {
        CHECK(smf_loader_reload(loader, counter, made("counter"), true, NULL) && statistics(loader).retired == 1);
        REFUSED(!smf_loader_reload(loader, counter, made("counter2"), true, NULL), SMF_ERROR_CEILING);
        CHECK(says("smf_loader_collect") && smf_loader_collect(loader) && statistics(loader).retired == 0);
    }
    /* Unloading states that no thread is inside, too. */
    CHECK(smf_loader_reload(loader, counter, made("counter"), true, NULL) && smf_loader_unload(loader, counter));
    CHECK(statistics(loader).retired == 0 && smf_loader_close(loader));
    REFUSED(!smf_loader_collect(loader), SMF_ERROR_HANDLE);

    /* Modules without the flag, in a loader where all are reloadable. */
    loader = open_loader(SMF_CLASH_FIRST_WINS, SMF_LOADER_RELOAD_ALL);
    load(loader, "counter");
    user = load(loader, "user");
    CHECK(smf_loader_reload(loader, user, made("user"), true, NULL) && smf_loader_close(loader));
}

/* A module that is held or being called is not unloaded. */
struct spinning { uint64_t loader, module; volatile int64_t flag; };

static int64_t plus_one(int64_t x) { return x + 1; }
static int64_t plus_two(int64_t x) { return x + 2; }

/* Names for all loaders, also those that are open already. */
static void registered(void) {
    static bool again;
    uint64_t before = open_loader(0, 0), process = open_loader(0, SMF_LOADER_PROCESS_SYMBOLS);
    if (!again) {
        REFUSED(!smf_loader_load(before, made("registered")), SMF_ERROR_MISSING);
        REFUSED(!smf_loader_resolve(before, "registered_function", NULL), SMF_ERROR_NOT_FOUND);
    }
    SmfHostSymbol symbols[] = {{"registered_function", ADDRESS(plus_one)}, {"getpid", ADDRESS(plus_two)}};
    SmfSymbolTable table = {sizeof table, symbols, 2};
    /* All or none. */
    symbols[1].name = NULL;
    REFUSED(!smf_register_symbols(&table), SMF_ERROR_ARGUMENT);
    symbols[1] = (SmfHostSymbol){"getpid", 0};
    REFUSED(!smf_register_symbols(&table), SMF_ERROR_ARGUMENT);
    symbols[1].address = -1;
    REFUSED(!smf_register_symbols(&table), SMF_ERROR_ARGUMENT);
    if (!again) {
        REFUSED(!smf_loader_resolve(before, "registered_function", NULL), SMF_ERROR_NOT_FOUND);
    }
    symbols[1].address = ADDRESS(plus_two);
    REFUSED(!smf_register_symbols(NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_register_symbols(&(SmfSymbolTable){23, symbols, 2}), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_register_symbols(&(SmfSymbolTable){sizeof table, symbols, -1}), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_register_symbols(&(SmfSymbolTable){sizeof table, NULL, 1}), SMF_ERROR_ARGUMENT);
    CHECK(smf_register_symbols(&(SmfSymbolTable){sizeof table, NULL, 0}));
    table.count = 1;
    CHECK(smf_register_symbols(&table));
    again = true;
    uint64_t module = load(before, "registered");
    CHECK(call(before, module, "call_registered", 40) == 42);
    /* A registered name comes before the process, and after a defined one. */
    symbols[0] = (SmfHostSymbol){"registered_function", ADDRESS(plus_two)};
    CHECK(smf_register_symbols(&table) && call(before, module, "call_registered", 40) == 42);
    CHECK(smf_loader_resolve(process, "registered_function", NULL) == ADDRESS(plus_two));
    CHECK(smf_loader_resolve(process, "getpid", NULL) && !smf_loader_resolve(before, "getpid", NULL));
    CHECK(smf_loader_define(process, "registered_function", ADDRESS(plus_one)));
    CHECK(smf_loader_resolve(process, "registered_function", NULL) == ADDRESS(plus_one));
    /* Removed, all or none: a loaded module keeps its addresses. */
    const char *names[] = {"registered_function", "never_registered"};
    REFUSED(!smf_unregister_symbols(names, 2), SMF_ERROR_NOT_FOUND);
    CHECK(strstr(smf_last_error().text, "never_registered"));
    REFUSED(!smf_unregister_symbols(NULL, 1) && !smf_unregister_symbols(names, -1), SMF_ERROR_ARGUMENT);
    names[1] = NULL;
    REFUSED(!smf_unregister_symbols(names, 2), SMF_ERROR_ARGUMENT);
    CHECK(smf_loader_resolve(before, "registered_function", NULL) == ADDRESS(plus_two));
    names[1] = names[0];
    CHECK(smf_unregister_symbols(NULL, 0) && smf_unregister_symbols(names, 2));
    REFUSED(!smf_unregister_symbols(names, 1), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_resolve(before, "registered_function", NULL), SMF_ERROR_NOT_FOUND);
    CHECK(call(before, module, "call_registered", 40) == 42);
    CHECK(smf_loader_close(before) && smf_loader_close(process));
}

static bool go_on(const SmfSymbol *symbol, const char *name, int64_t length, void *user) {
    (void)user;
    return symbol && (int64_t)strlen(name) == length;
}

static const char *text_at(const RuntimeValue *list, int64_t index) {
    return (const char *)smf_text_data(smf_list_get(list, index));
}

static void lists(void) {
    uint64_t loader = open_loader(0, 0);
    RuntimeValue *names = smf_loader_module_names(loader);
    CHECK(names && smf_list_length(names) == 0);
    REFUSED(!smf_list_get(names, 0), SMF_ERROR_VALUE);
    CHECK(smf_value_free(names));
    uint64_t counter = load(loader, "counter"), user = load(loader, "user");
    names = smf_loader_module_names(loader);
    CHECK(smf_list_length(names) == 2 && strstr(text_at(names, 0), "counter.smf") && strstr(text_at(names, 1), "user.smf"));
    REFUSED(!smf_list_get(names, 2), SMF_ERROR_VALUE);
    REFUSED(!smf_list_get(names, -1), SMF_ERROR_ARGUMENT);
    RuntimeValue *first = smf_list_get(names, 0);
    REFUSED(smf_list_length(first) == -1 && !smf_list_get(first, 0), SMF_ERROR_VALUE);
    REFUSED(smf_list_length(NULL) == -1 && !smf_list_get(NULL, 0), SMF_ERROR_ARGUMENT);
    CHECK(smf_value_free(names));
    REFUSED(smf_list_length(names) == -1 && smf_text_length(first) == -1, SMF_ERROR_VALUE);
    /* As the visitor says. */
    struct { int count; bool has_main; } seen = {0, false};
    names = smf_loader_symbol_names(loader, counter);
    for (int64_t i = 0; i < smf_list_length(names); i++) {
        seen.count++;
        seen.has_main |= !strcmp(text_at(names, i), "main");
    }
    CHECK(seen.has_main && seen.count == smf_loader_symbols(loader, counter, go_on, NULL));
    CHECK(smf_value_free(names));
    uint64_t hold = smf_loader_hold(loader, user);
    names = smf_module_section_names(loader, hold);
    SmfModuleHeader header = {.size = sizeof header};
    CHECK(smf_module_header(loader, hold, &header) && smf_list_length(names) == header.sections);
    for (int64_t i = 0; i < header.sections; i++) {
        SmfModuleSection section = {.size = sizeof section};
        CHECK(smf_module_section(loader, hold, i, &section));
        CHECK(smf_text_length(smf_list_get(names, i)) == section.name_length);
        CHECK(!memcmp(text_at(names, i), section.name, (size_t)section.name_length));
    }
    CHECK(smf_value_free(names) && smf_loader_release(loader, hold));
    names = smf_loader_archive_names(loader, "../tests/samples/library.lsm");
    CHECK(smf_list_length(names) == 3);
    CHECK(smf_loader_load_archived(loader, "../tests/samples/library.lsm", text_at(names, 0)));
    CHECK(smf_value_free(names));
    REFUSED(!smf_loader_archive_names(loader, "../tests/samples/packed.smf"), SMF_ERROR_FORMAT);
    REFUSED(!smf_loader_archive_names(loader, "/absent"), SMF_ERROR_FILE);
    CHECK(smf_loader_close(loader));
    REFUSED(!smf_loader_module_names(loader), SMF_ERROR_HANDLE);
}

static int64_t difference(int64_t a, int64_t b) { return a - b; }
static int64_t nine(void) { return 9; }

/* Bytecode calls functions of the host by number, interpreted and compiled. */
static void host_functions(void) {
    SmfHostFunction functions[] = {{513, 2, ADDRESS(nine)}, {0, 0, ADDRESS(nine)}, {513, 2, ADDRESS(difference)}};
    SmfLoaderOptions options = {.size = sizeof options, .host_functions = functions, .host_function_count = 3};
    const int64_t thresholds[] = {SMF_COMPILE_NEVER, SMF_COMPILE_FIRST, 0, 1, 4294967294};
    int64_t two[] = {50, 8}, result = 0;
    for (int64_t i = 0; i < LENGTH(thresholds); i++) {
        options.compile_threshold = thresholds[i];
        uint64_t loader = smf_loader_open(&options), module = load(loader, "hosted");
        for (int round = 0; round < 3; round++) {
            CHECK(smf_loader_call(loader, module, "ask", two, 2, &result) && result == 42);
            CHECK(smf_loader_call(loader, module, "nine", NULL, 0, &result) && result == 9);
        }
        CHECK(smf_loader_close(loader));
    }
    /* Compiled now, and no more memory at the second time. */
    options.compile_threshold = SMF_COMPILE_NEVER;
    uint64_t loader = smf_loader_open(&options), module = load(loader, "hosted"), other = load(loader, "counter");
    CHECK(smf_loader_call(loader, module, "ask", two, 2, &result) && result == 42);
    CHECK(smf_exec_audit(100) == 0);
    int64_t ask = smf_loader_compile(loader, module, "ask"), all = smf_loader_compile(loader, module, NULL);
    SmfExecEvent events[8];
    CHECK(ask > 0 && all > ask && smf_exec_drain(events, 8, NULL) == 4);
    CHECK(events[0].action == SMF_EXEC_ALLOCATE && events[0].bytes == ask && events[1].action == SMF_EXEC_PUBLISH);
    CHECK(events[2].action == SMF_EXEC_ALLOCATE && events[2].bytes == all - ask && events[2].sequence == 2);
    CHECK(smf_loader_compile(loader, module, "ask") == ask && smf_loader_compile(loader, module, NULL) == all);
    CHECK(smf_exec_drain(events, 8, NULL) == 0 && smf_exec_audit(0) == 100);
    CHECK(smf_loader_call(loader, module, "ask", two, 2, &result) && result == 42);
    REFUSED(smf_loader_compile(loader, module, "absent") == -1, SMF_ERROR_NOT_FOUND);
    REFUSED(smf_loader_compile(loader, other, NULL) == -1, SMF_ERROR_NOT_FOUND);
    REFUSED(smf_loader_compile(loader, 0, NULL) == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_loader_compile(0, module, NULL) == -1, SMF_ERROR_HANDLE);
    CHECK(smf_loader_set_threshold(loader, module, SMF_COMPILE_FIRST) && smf_loader_set_threshold(loader, module, 5));
    REFUSED(!smf_loader_set_threshold(loader, module, -3), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_set_threshold(loader, module, 4294967295), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_set_threshold(loader, other, 5), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_set_threshold(module, module, 5), SMF_ERROR_HANDLE);
    CHECK(smf_loader_close(loader));

    /* Functions that work on objects are left to the interpreter, where all are compiled. */
    loader = smf_loader_open(&options);
    module = load(loader, "objects");
    all = smf_loader_compile(loader, module, NULL);
    CHECK(all > 0 && smf_loader_compile(loader, module, "first") + smf_loader_compile(loader, module, "last") == all);
    REFUSED(smf_loader_compile(loader, module, "list") == -1, SMF_ERROR_LINK);
    CHECK(says("works on objects"));
    /* So are those that exceed a limit of the compiler. */
    module = load(loader, "limits");
    all = smf_loader_compile(loader, module, NULL);
    CHECK(all > 0 && smf_loader_compile(loader, module, "small") == all);
    REFUSED(smf_loader_compile(loader, module, "many") == -1, SMF_ERROR_LINK);
    CHECK(says("65 arguments of a call, and the limit is 64"));
    two[0] = 5;
    CHECK(smf_loader_call(loader, module, "many", two, 1, &result) && result == 5);
    CHECK(smf_loader_close(loader));

    /* The threshold of a module: a loop that is compiled by its second call. */
    options.compile_threshold = SMF_COMPILE_NEVER;
    loader = smf_loader_open(&options);
    module = load(loader, "hosted");
    CHECK(smf_loader_call(loader, module, "nine", NULL, 0, &result));
    CHECK(smf_loader_set_threshold(loader, module, SMF_COMPILE_FIRST) && smf_exec_audit(100) == 0);
    CHECK(smf_loader_call(loader, module, "nine", NULL, 0, &result) && result == 9);
    CHECK(smf_exec_drain(events, 8, NULL) >= 1 && smf_exec_audit(0) == 100);
    CHECK(smf_loader_close(loader));

    /* Numbers that are not there, or take other arguments. */
    options.host_function_count = 1;
    loader = smf_loader_open(&options);
    REFUSED(!smf_loader_load(loader, made("hosted")), SMF_ERROR_LINK);
    CHECK(says("host function 0") && smf_loader_close(loader));
    options.host_function_count = 3;
    functions[2].arguments = 1;
    loader = smf_loader_open(&options);
    REFUSED(!smf_loader_load(loader, made("hosted")), SMF_ERROR_LINK);
    CHECK(says("which takes 1") && smf_loader_close(loader));
    const SmfHostFunction bad[] = {{-1, 0, 1}, {65536, 0, 1}, {1, -1, 1}, {1, 9, 1}, {1, 0, 0}, {1, 0, -1}};
    for (int64_t i = 0; i < LENGTH(bad); i++) {
        functions[1] = bad[i];
        REFUSED(!smf_loader_open(&options), SMF_ERROR_ARGUMENT);
    }
    options.host_function_count = -1;
    REFUSED(!smf_loader_open(&options), SMF_ERROR_ARGUMENT);
    options = (SmfLoaderOptions){.size = sizeof options, .host_function_count = 1};
    REFUSED(!smf_loader_open(&options), SMF_ERROR_ARGUMENT);
    options = (SmfLoaderOptions){.size = sizeof options, .compile_threshold = -3};
    REFUSED(!smf_loader_open(&options), SMF_ERROR_ARGUMENT);
    options.compile_threshold = 4294967295;
    REFUSED(!smf_loader_open(&options), SMF_ERROR_ARGUMENT);
}

/* Counts the symbols, and looks for `answer`. */
static bool visit_answer(const SmfSymbol *symbol, const char *name, int64_t length, void *user) {
    CHECK(symbol->kind == SMF_SYMBOL_FUNCTION && length == (int64_t)strlen(name));
    *(int64_t *)user += !strcmp(name, "answer") ? symbol->address : 0;
    return true;
}

static void bytecode(void) {
    host_functions();
    uint64_t loader = open_loader(0, 0), quotients = load(loader, "quotients"), user = load(loader, "divides");
    uint64_t sample = smf_loader_load(loader, SAMPLES "bcod.smf");
    SmfSymbol sum = {.size = sizeof sum}, quotient = sum, divide = sum;
    int64_t answer = 0, result = 1, words[] = {100, 7};
    CHECK(smf_loader_call(loader, sample, "sum", words, 1, &result) && result == 5050);
    REFUSED(!smf_loader_call(loader, sample, "sum", words, 2, &result), SMF_ERROR_ARGUMENT);
    CHECK(says("takes 1 argument, and 2 are given"));
    REFUSED(!smf_loader_call(loader, sample, "sum", NULL, 0, &result), SMF_ERROR_ARGUMENT);
    result = 1;
    CHECK(sample && smf_loader_symbols(loader, sample, visit_answer, &answer) == 2);
    CHECK(rt_call_function_0(answer) == 42 && call(loader, sample, "sum", 100) == 5050);
    CHECK(smf_loader_symbol(loader, sample, "sum", &sum) && smf_loader_symbol(loader, quotients, "quotient", &quotient));
    CHECK(smf_loader_symbol(loader, user, "divide", &divide) && sum.module == sample);
    /* Until it is compiled: from then on code takes no more memory. */
    for (int64_t n = 0; n < 300; n++) {
        CHECK(rt_call_function_2(quotient.address, n, 1) == n);
    }
    for (int64_t n = 0; n < 300; n++) {
        CHECK(rt_call_function_1(sum.address, n) == n * (n + 1) / 2);
        CHECK(rt_call_function_2(quotient.address, 84, 2) == 42);
        CHECK(rt_call_function_2(quotient.address, 0, 2) == 0 && smf_last_error().code == SMF_OK);
        REFUSED(!rt_call_function_2(quotient.address, 84, 0), SMF_ERROR_TRAP);
        CHECK(says("division by zero, in function 1 at offset 0x"));
        /* A trap leaves the machine code between the host and bytecode. */
        CHECK(rt_call_function_2(divide.address, 84, 2) == 43);
        REFUSED(!rt_call_function_2(divide.address, 84, 0), SMF_ERROR_TRAP);
        int64_t by_zero[] = {84, 0};
        REFUSED(!smf_loader_call(loader, quotients, "quotient", by_zero, 2, &result), SMF_ERROR_TRAP);
    }
    REFUSED(!rt_call_function_1(sum.address + 16, 1), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_loader_unload(loader, quotients), SMF_ERROR_IN_USE);
    CHECK(smf_loader_unload(loader, user) && smf_loader_unload(loader, quotients));
    CHECK(smf_loader_unload(loader, sample));
    REFUSED(!rt_call_function_1(sum.address, 1), SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!smf_loader_load(loader, made("unsound")), SMF_ERROR_LINK);
    CHECK(says("unsound.smf: function 0: ADD_I64 pops 2") && smf_loader_close(loader));
}

static void *spin(void *argument) {
    struct spinning *spinning = argument;
    CHECK(call(spinning->loader, spinning->module, "spin", ADDRESS(&spinning->flag)) == 2);
    return NULL;
}

static void held(void) {
    uint64_t loader = open_loader(SMF_CLASH_FIRST_WINS, 0);
    uint64_t counter = load(loader, "counter"), hold = smf_loader_hold(loader, counter);
    REFUSED(!smf_loader_unload(loader, counter), SMF_ERROR_IN_USE);
    REFUSED(!smf_loader_unload(loader, hold), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_close(loader), SMF_ERROR_IN_USE);
    CHECK(says("1 not yet released") && call(loader, counter, "add", 0) == 5);
    CHECK(smf_loader_release(loader, hold) && smf_loader_unload(loader, counter));
    REFUSED(!smf_loader_hold(loader, counter), SMF_ERROR_HANDLE);

    struct spinning spinning = {loader, load(loader, "spin"), 0};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, spin, &spinning) == 0);
    while (!spinning.flag) {
        usleep(10);
    }
    REFUSED(!smf_loader_unload(loader, spinning.module), SMF_ERROR_IN_USE);
    REFUSED(!smf_loader_close(loader), SMF_ERROR_IN_USE);
    CHECK(says("1 call "));
    spinning.flag = 2;
    pthread_join(thread, NULL);
    CHECK(smf_loader_unload(loader, spinning.module) && smf_loader_close(loader));
}

static void refuse_module(uint64_t loader, uint64_t module) {
    REFUSED(!smf_loader_hold(loader, module), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_release(loader, module), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_symbol(loader, module, "add", NULL), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_entry_point(loader, module), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_call(loader, module, "add", NULL, 0, NULL), SMF_ERROR_HANDLE);
    REFUSED(smf_loader_symbols(loader, module, visit_symbol, NULL) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_reload(loader, module, made("counter"), true, NULL), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_reload_bytes(loader, module, NULL, 0, true, NULL), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_unload(loader, module), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_unload_all(loader, &module, 1), SMF_ERROR_HANDLE);
}

static void refuse_loader(uint64_t loader, uint64_t module) {
    SmfLoaderStatistics s = {.size = sizeof s};
    refuse_module(loader, module);
    REFUSED(!smf_loader_load(loader, made("counter")), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_load_archived(loader, SAMPLES "library.lsm", "x"), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_load_bytes(loader, "x", NULL, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_provide(loader, made("counter")), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_provide_bytes(loader, "x", NULL, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_define(loader, "x", 1), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_set_resolver(loader, resolver, NULL), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_find(loader, made("counter")), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_resolve(loader, "add", NULL), SMF_ERROR_HANDLE);
    REFUSED(smf_loader_modules(loader, visit_module, NULL) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_unload_all(loader, NULL, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_statistics(loader, &s), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_close(loader), SMF_ERROR_HANDLE);
}

static void numbers(void) {
    uint64_t one = open_loader(0, 0), two = open_loader(0, 0);
    uint64_t in_one = load(one, "counter"), in_two = load(two, "counter"), hold = smf_loader_hold(one, in_one);
    CHECK(in_one != in_two && call(one, in_one, "add", 1) == 6 && call(two, in_two, "add", 2) == 7);
    refuse_module(one, in_two);
    refuse_module(two, in_one);
    refuse_module(two, hold);
    SmfCacheOptions options = {sizeof options, 4, 1000, 0, 0};
    uint64_t cache = smf_cache_open(&options), job = smf_cache_prefetch_start(cache, NULL, 0, 0);
    uint64_t file = smf_cache_get(cache, SAMPLES "EXPECTED.md").file;
    const uint64_t none[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63, (uint64_t)1 << 32, in_one + 1, in_one - 1,
                             in_one + ((uint64_t)1 << 32), in_one & UINT32_MAX, one, two, cache, job, file,
                             hold + 1, hold + ((uint64_t)1 << 32)};
    for (int64_t i = 0; i < LENGTH(none); i++) {
        refuse_module(one, none[i]);
        if (none[i] != one && none[i] != two) {
            refuse_loader(none[i], in_one);
        }
        if (none[i] != cache) {
            REFUSED(!smf_cache_close(none[i]), SMF_ERROR_HANDLE);
        }
        if (none[i] != job) {
            REFUSED(!smf_prefetch_free(none[i]), SMF_ERROR_HANDLE);
        }
    }
    refuse_loader(in_one, in_one);
    refuse_loader(hold, in_one);
    REFUSED(!smf_cache_release(cache, in_one), SMF_ERROR_HANDLE);
    CHECK(smf_prefetch_free(job) && (!file || smf_cache_release(cache, file)) && smf_cache_close(cache));
    CHECK(smf_loader_release(one, hold) && smf_loader_close(one));
    refuse_loader(one, in_one);
    /* A loader opened later, whatever its slot, refuses the handles of earlier ones. */
    for (int i = 0; i < 50; i++) {
        uint64_t later = open_loader(0, 0), module = load(later, "counter");
        CHECK(later != one && module != in_one && call(later, module, "add", 0) == 5);
        refuse_module(later, in_one);
        refuse_module(later, hold);
        CHECK(smf_loader_close(later));
    }

    const int64_t nine[9] = {0};
    int64_t result = 42;
    REFUSED(!smf_loader_call(two, in_two, "add", nine, 9, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_call(two, in_two, "add", nine, INT64_MAX, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_call(two, in_two, "add", nine, -1, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_call(two, in_two, "add", NULL, 1, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_call(two, in_two, NULL, nine, 1, &result), SMF_ERROR_ARGUMENT);
    CHECK(result == 42 && smf_loader_call(two, in_two, "add", nine, 8, &result) && result == 7);
    const int64_t *odd = (const int64_t *)((const char *)nine + 1);
    REFUSED(!smf_loader_call(two, in_two, "add", odd, 1, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_find(two, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_resolve(two, NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_symbol(two, in_two, NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(smf_loader_modules(two, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_loader_symbols(two, in_two, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_unload_all(two, NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_unload_all(two, &in_two, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_unload_all(two, &in_two, INT64_MAX), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_statistics(two, NULL), SMF_ERROR_ARGUMENT);
    SmfSymbol small = {.size = sizeof small - 1, .address = 3};
    REFUSED(!smf_loader_symbol(two, in_two, "add", &small), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_resolve(two, "add", &small), SMF_ERROR_ARGUMENT);
    struct { SmfLoaderStatistics known; int64_t more; } newer = {{.size = sizeof newer}, 7};
    CHECK(small.address == 3 && smf_loader_statistics(two, &newer.known));
    CHECK(newer.known.size == sizeof newer.known && newer.known.modules == 1 && newer.more == 7);
    CHECK(smf_loader_unload_all(two, (uint64_t[]){in_two, in_two}, 2) && smf_loader_close(two));
}

/* Threads call a module while one thread replaces it. */
static _Atomic bool stop;
static _Atomic int64_t calls;

struct work { uint64_t loader, counter, user; int64_t version, number; };

static void *worker(void *argument) {
    const struct work *work = argument;
    for (int round = 0; !stop; calls++) {
        int64_t version = rt_call_function_0(work->version);
        CHECK(version == 1 || version == 2);
        CHECK(call(work->loader, work->user, "older", 0) != 0);
        uint64_t hold = smf_loader_hold(work->loader, work->counter);
        /* The held version does not change. */
        int64_t held = call(work->loader, hold, "version", 0), address = smf_loader_symbol(work->loader, hold, "version", NULL);
        CHECK(rt_call_function_0(address) == held && call(work->loader, hold, "version", 0) == held);
        CHECK(smf_loader_release(work->loader, hold));
        /* The data is copied from version to version. No thread changes it, as the change could be lost. */
        CHECK(call(work->loader, work->user, "twice", 0) == 5);
        if (++round % 16 == 0) {
            char name[32];
            snprintf(name, sizeof name, "module %d", (int)work->number);
            int64_t length;
            uint8_t *file = whole(made("user"), &length);
            uint64_t mine = smf_loader_load_bytes(work->loader, name, file, length);
            free(file);
            CHECK(mine && smf_loader_find(work->loader, name) == mine && smf_loader_unload(work->loader, mine));
        }
    }
    return NULL;
}

static void threads(void) {
    uint64_t loader = open_loader(0, 0);
    struct work work[4];
    uint64_t counter = load(loader, "counter"), user = load(loader, "user");
    int64_t version = smf_loader_resolve(loader, "version", NULL);
    pthread_t thread[4];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    stop = false;
    calls = 0;
    for (int i = 0; i < 4; i++) {
        work[i] = (struct work){loader, counter, user, version, i};
        CHECK(pthread_create(&thread[i], &small, worker, &work[i]) == 0);
    }
    for (int round = 0; round < 200 || calls < 400; round++) {
        CHECK(smf_loader_reload(loader, counter, made(round % 2 ? "counter" : "counter2"), true, NULL));
    }
    stop = true;
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(smf_loader_unload_all(loader, (uint64_t[]){counter, user}, 2));
    SmfLoaderStatistics s = statistics(loader);
    CHECK(s.modules == 0 && s.retired == 0 && s.held == 0 && smf_loader_close(loader));
}

/* The error for bytecode of a library without the feature `jit`. */
static void *load_one(void *loader) {
    uint64_t module = load(*(uint64_t *)loader, "counter");
    CHECK(smf_loader_unload(*(uint64_t *)loader, module));
    return NULL;
}

/* As much as the header says, of which the C library has a part. */
static void small_stack(void) {
    uint64_t loader = smf_loader_open(NULL);
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    CHECK(pthread_attr_setstacksize(&small, 64 << 10) == 0);
    CHECK(pthread_create(&thread, &small, load_one, &loader) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(smf_loader_close(loader));
}

static void no_bytecode(void) {
    uint64_t loader = open_loader(0, 0);
    REFUSED(!smf_loader_load(loader, SAMPLES "bcod.smf"), SMF_ERROR_LINK);
    CHECK(says("built without the feature `bytecode`"));
    CHECK(statistics(loader).modules == 0 && smf_loader_close(loader));
}

static void everything(void (*with_bytecode)(void)) {
    options();
    life();
    bytes();
    host();
    registered();
    lists();
    missing();
    libraries();
    reload();
    held();
    with_bytecode();
    numbers();
    threads();
    small_stack();
    CHECK(rt_exec_memory_count() == 0 && rt_exec_memory_total() == 0 && smf_exec_trim());
}

int main(int count, char **arguments) {
    CHECK(count == 2 || (count == 3 && !strcmp(arguments[2], "bytecode")));
    directory = arguments[1];
    void (*with_bytecode)(void) = count == 2 ? no_bytecode : bytecode;
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    /* Tables reach their final size by the second round. */
    everything(with_bytecode);
    everything(with_bytecode);
    char *before = mappings();
    int open_before = descriptors();
    size_t memory = mallinfo2().uordblks;
    everything(with_bytecode);
    int64_t grown = (int64_t)mallinfo2().uordblks - (int64_t)memory;
    char *after = mappings();
    if (strcmp(before, after)) {
        fprintf(stderr, "%s\n%s", before, after);
    }
    CHECK(!strcmp(before, after) && descriptors() == open_before);
    /* Hundreds of modules were loaded and unloaded. Memory of dlopen and of the stub table varies by less. */
    CHECK(grown < 4096 || !getenv("GLIBC_TUNABLES"));
    free(before);
    free(after);
    puts("ok");
    return 0;
}
