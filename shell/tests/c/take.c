/* Extraction of functions and templates, as for a linker: from files that a cache holds and from versions that a loader
 * holds; parts that cannot be extracted, and invalid arguments. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>

#define SAMPLES "../tests/samples/"
#define LENGTH(list) ((int64_t)(sizeof(list) / sizeof *(list)))

static uint64_t open_cache(void) {
    SmfCacheOptions options = {sizeof options, 16, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST};
    uint64_t cache = smf_cache_open(&options);
    CHECK(cache);
    return cache;
}

static uint64_t get(uint64_t cache, const char *path) {
    SmfCacheFile found = smf_cache_get(cache, path);
    CHECK(found.file);
    return found.file;
}

static bool is(const char *name, int64_t length, const char *expected) {
    return length == (int64_t)strlen(expected) && !memcmp(name, expected, (size_t)length);
}

static bool says(const char *what) { return strstr(smf_last_error().text, what) != NULL; }

struct shown { int count, relocations, refused, stop; char names[256]; uint64_t close; };

static bool visit_concrete(const SmfConcrete *concrete, const SmfTakenReloc *relocations, void *user) {
    struct shown *shown = user;
    CHECK(concrete->size == sizeof *concrete && !concrete->bytes == !!concrete->error);
    CHECK(concrete->error || concrete->length > 0);
    snprintf(strchr(shown->names, 0), 100, "%.*s,", (int)concrete->name_length, concrete->name);
    for (int64_t i = 0; i < concrete->relocations; i++) {
        CHECK(relocations[i].offset >= 0 && relocations[i].offset + 4 <= concrete->length);
        CHECK(relocations[i].kind > 0 && relocations[i].symbol_length > 0);
    }
    shown->relocations += (int)concrete->relocations;
    shown->refused += concrete->error != 0;
    /* A visitor may call any function. */
    CHECK(!shown->close || !smf_cache_close(shown->close));
    return ++shown->count != shown->stop;
}

static bool visit_deferred(const SmfDeferred *deferred, void *user) {
    struct shown *shown = user;
    CHECK(deferred->size == sizeof *deferred && !deferred->entry == !!deferred->error);
    snprintf(strchr(shown->names, 0), 100, "%.*s:%d,", (int)deferred->name_length, deferred->name,
             (int)deferred->parameters);
    shown->refused += deferred->error != 0;
    return ++shown->count != shown->stop;
}

/* The same results for a file and for the module loaded from it. */
static void functions(uint64_t from, uint64_t module) {
    SmfConcrete answer = {.size = sizeof answer};
    CHECK(smf_take_concrete(from, module, "answer", &answer, NULL, 0) && answer.size == sizeof answer);
    CHECK(is(answer.name, answer.name_length, "answer") && answer.error == SMF_OK && answer.relocations == 0);
    CHECK(answer.binding == SMF_BINDING_GLOBAL && answer.offset % 16 == 0 && answer.alignment >= 1);
    /* Position-independent code that returns 42. */
    int64_t page = rt_alloc_exec_memory(answer.length);
    RuntimeValue *code = smf_bytes_new(answer.bytes, answer.length);
    CHECK(rt_write_exec_memory(page, code, 0) == answer.length && rt_call_function_0(page) == 42);
    smf_value_free(code);
    CHECK(rt_free_exec_memory(page, answer.length));

    /* As many relocations as fit, and their total. */
    SmfConcrete bump = {.size = sizeof bump};
    SmfTakenReloc relocs[4];
    memset(relocs, 0xff, sizeof relocs);
    CHECK(smf_take_concrete(from, module, "bump", &bump, relocs, 1) && bump.relocations == 2);
    CHECK(relocs[0].kind == SMF_RELOC_PC32 && relocs[0].addend == -4 && relocs[1].kind == -1);
    CHECK(smf_take_concrete(from, module, "bump", &bump, relocs, 4) && relocs[2].kind == -1);
    for (int i = 0; i < 2; i++) {
        CHECK(is(relocs[i].symbol, relocs[i].symbol_length, "counter") && relocs[i].section == 1);
        CHECK(relocs[i].symbol_kind == SMF_SYMBOL_DATA && relocs[i].offset + 4 <= bump.length);
    }
    CHECK(relocs[0].offset < relocs[1].offset && relocs[0].value == relocs[1].value);
    /* Both outputs are optional. */
    CHECK(smf_take_concrete(from, module, "absload", NULL, NULL, 0));

    struct shown shown = {0};
    CHECK(smf_take_concretes(from, module, visit_concrete, &shown) == 5 && shown.count == 5);
    CHECK(!strcmp(shown.names, "answer,add,bump,roget,absload,") && shown.relocations == 4);
    shown = (struct shown){.stop = 2};
    CHECK(smf_take_concretes(from, module, visit_concrete, &shown) == 2 && shown.count == 2);
    CHECK(smf_take_all_deferred(from, module, visit_deferred, &shown) == 0);

    REFUSED(!smf_take_concrete(from, module, "nobody", NULL, NULL, 0), SMF_ERROR_NOT_FOUND);
    CHECK(says("`nobody`"));
    REFUSED(!smf_take_concrete(from, module, "counter", NULL, NULL, 0), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_take_concrete(from, module, NULL, NULL, NULL, 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_take_concrete(from, module, "bump", NULL, NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_take_concrete(from, module, "bump", NULL, relocs, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_take_concrete(from, module, "bump", NULL, relocs, INT64_MAX), SMF_ERROR_ARGUMENT);
    SmfTakenReloc *odd = (SmfTakenReloc *)((char *)relocs + 1);
    REFUSED(!smf_take_concrete(from, module, "bump", NULL, odd, 1), SMF_ERROR_ARGUMENT);
    SmfConcrete small = {.size = sizeof small - 1, .length = 7};
    memset(relocs, 0xff, sizeof relocs);
    REFUSED(!smf_take_concrete(from, module, "bump", &small, relocs, 4), SMF_ERROR_ARGUMENT);
    CHECK(small.length == 7 && relocs[0].kind == -1);
    struct { SmfConcrete known; int64_t more; } newer = {{.size = sizeof newer}, 7};
    CHECK(smf_take_concrete(from, module, "add", &newer.known, NULL, 0) && newer.more == 7);
    CHECK(newer.known.size == sizeof newer.known);
    REFUSED(smf_take_concretes(from, module, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_take_all_deferred(from, module, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_take_deferred(from, module, "answer", NULL), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_take_deferred(from, module, NULL, NULL), SMF_ERROR_ARGUMENT);
}

static void templates(uint64_t cache) {
    uint64_t gtpl = get(cache, SAMPLES "note-zero-size.smf"), counted = get(cache, SAMPLES "compact.smf");
    SmfDeferred pair = {.size = sizeof pair};
    CHECK(smf_take_deferred(cache, gtpl, "Pair", &pair) && pair.size == sizeof pair);
    CHECK(is(pair.name, pair.name_length, "Pair") && pair.parameters == 2 && pair.error == SMF_OK);
    CHECK(pair.kind == SMF_TEMPLATE_STRUCT && pair.container == SMF_CONTAINER_GTPL);
    /* The header: kind, length of the name, name, number of parameters. */
    CHECK(pair.entry_length == 10 && !memcmp(pair.entry, "\x01\x04\0\0\0Pair\x02", 10));
    struct shown shown = {0};
    CHECK(smf_take_all_deferred(cache, gtpl, visit_deferred, &shown) == 3);
    CHECK(!strcmp(shown.names, "identity:1,Pair:2,max:1,"));
    shown = (struct shown){.stop = 1};
    CHECK(smf_take_all_deferred(cache, counted, visit_deferred, &shown) == 1);
    SmfDeferred list = {.size = sizeof list};
    CHECK(smf_take_deferred(cache, counted, "List", &list) && list.container == SMF_CONTAINER_COUNTED);
    CHECK(list.body_length == 6 && list.body + 6 == list.entry + list.entry_length);
    CHECK(list.kind == SMF_TEMPLATE_UNKNOWN && list.entry_length == 4 + 4 + 4 + 6);
    SmfDeferred small = {.size = sizeof small - 1, .kind = 9};
    REFUSED(!smf_take_deferred(cache, counted, "List", &small), SMF_ERROR_ARGUMENT);
    CHECK(small.kind == 9);
    REFUSED(!smf_take_deferred(cache, counted, "Set", NULL), SMF_ERROR_NOT_FOUND);
    CHECK(smf_cache_release(cache, gtpl) && smf_cache_release(cache, counted));
}

static void refusals(uint64_t cache, uint64_t loader) {
    /* Bytecode has no relocations; a text file is not a module. */
    uint64_t bytecode = get(cache, SAMPLES "bcod.smf"), text = get(cache, SAMPLES "EXPECTED.md");
    REFUSED(!smf_take_concrete(cache, bytecode, "answer", NULL, NULL, 0), SMF_ERROR_TAKE);
    CHECK(says("bytecode"));
    struct shown shown = {0};
    REFUSED(smf_take_concretes(cache, bytecode, visit_concrete, &shown) == -1, SMF_ERROR_TAKE);
    REFUSED(smf_take_concretes(cache, text, visit_concrete, &shown) == -1, SMF_ERROR_FORMAT);
    REFUSED(smf_take_all_deferred(cache, text, visit_deferred, &shown) == -1, SMF_ERROR_FORMAT);
    CHECK(shown.count == 0);
    /* A file that is cached but not held, and other handles. */
    CHECK(smf_cache_release(cache, bytecode) && smf_cache_release(cache, text));
    REFUSED(!smf_take_concrete(cache, bytecode, "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);
    const uint64_t none[] = {0, 1, bytecode, cache, loader, UINT64_MAX};
    for (int64_t i = 0; i < LENGTH(none); i++) {
        REFUSED(!smf_take_concrete(cache, none[i], "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);
        REFUSED(!smf_take_concrete(loader, none[i], "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);
        REFUSED(smf_take_concretes(loader, none[i], visit_concrete, &shown) == -1, SMF_ERROR_HANDLE);
        REFUSED(!smf_take_deferred(cache, none[i], "answer", NULL), SMF_ERROR_HANDLE);
    }
    REFUSED(!smf_take_concrete(0, 0, "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_take_concrete(bytecode, bytecode, "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);
}

static void everything(void) {
    uint64_t cache = open_cache(), loader = smf_loader_open(NULL);
    uint64_t file = get(cache, SAMPLES "packed.smf");
    functions(cache, file);
    struct shown shown = {.close = cache};
    CHECK(smf_take_concretes(cache, file, visit_concrete, &shown) == 5);
    /* Files with unresolved imports or for another machine are not loadable, but parts of them can be extracted. */
    uint64_t app = get(cache, SAMPLES "app.smf"), foreign = get(cache, SAMPLES "bad/wrong-arch.smf");
    REFUSED(!smf_loader_load(loader, SAMPLES "app.smf"), SMF_ERROR_MISSING);
    SmfTakenReloc scale;
    CHECK(smf_take_concrete(cache, app, "direct", NULL, &scale, 1) && is(scale.symbol, scale.symbol_length, "scale"));
    CHECK(scale.section == -1 && scale.value == 0 && scale.kind == SMF_RELOC_PLT32);
    CHECK(smf_take_concrete(cache, foreign, "answer", NULL, NULL, 0));
    /* A data object in a code section. */
    uint64_t object = get(cache, SAMPLES "elf-object.smf");
    shown = (struct shown){0};
    CHECK(smf_take_concretes(cache, object, visit_concrete, &shown) == 5 && shown.relocations > 0);
    CHECK(smf_cache_release(cache, app) && smf_cache_release(cache, foreign) && smf_cache_release(cache, object));

    uint64_t module = smf_loader_load(loader, SAMPLES "packed.smf"), hold = smf_loader_hold(loader, module);
    CHECK(module && hold);
    functions(loader, hold);
    /* Without a hold: the version could be replaced while its bytes are read. */
    REFUSED(!smf_take_concrete(loader, module, "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);
    CHECK(smf_loader_release(loader, hold));
    REFUSED(!smf_take_concrete(loader, hold, "answer", NULL, NULL, 0), SMF_ERROR_HANDLE);

    templates(cache);
    refusals(cache, loader);
    SmfConcrete answer = {.size = sizeof answer};
    CHECK(smf_take_concrete(cache, file, "answer", &answer, NULL, 0));
    CHECK(smf_cache_clear(cache) && answer.bytes[answer.length - 1] == 0xc3);
    CHECK(smf_cache_release(cache, file) && smf_cache_close(cache) && smf_loader_close(loader));
    CHECK(rt_exec_memory_count() == 0 && smf_exec_trim());
}

int main(void) {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    everything();
    char *before = mappings();
    int open_before = descriptors();
    size_t memory = mallinfo2().uordblks;
    for (int round = 0; round < 20; round++) {
        everything();
    }
    int64_t grown = (int64_t)mallinfo2().uordblks - (int64_t)memory;
    char *after = mappings();
    CHECK(!strcmp(before, after) && descriptors() == open_before);
    CHECK(grown < 4096 || !getenv("GLIBC_TUNABLES"));
    free(before);
    free(after);
    puts("ok");
    return 0;
}
