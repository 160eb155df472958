/* Every export with null, wrong, closed, foreign and made-up arguments, from 8 threads at once: the failure value, the
 * error, and nothing changed. The test that runs this program checks that it calls every function with arguments. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#define SAMPLES "../tests/samples/"
#define LENGTH(list) (sizeof(list) / sizeof *(list))

enum { THREADS = 8 };

/* Open objects, which no call may change, and closed ones. */
static uint64_t cache, other_cache, closed_cache, file, released_file, loader, closed_loader, module, unloaded, hold, jit;
static uint64_t closed_jit, finished, manager, closed_manager, two;
static int64_t block, freed, unwritten, context, closed_context, unifier;
static SmfMapping mapped;
static RuntimeValue *text, *bytes, *pair, *freed_value;

static const int64_t no_addresses[] = {0, -1, INT64_MIN, -PAGE};
static const int64_t no_sizes[] = {0, -1, INT64_MIN};

static bool no_symbol(const SmfSymbol *symbol, const char *name, int64_t length, void *user) {
    return symbol && name && length && user && false;
}
static bool no_module(uint64_t module_, const char *name, int64_t length, void *user) {
    return module_ && name && length && user && false;
}
static bool no_concrete(const SmfConcrete *concrete, const SmfTakenReloc *relocations, void *user) {
    return concrete && relocations && user && false;
}
static bool no_deferred(const SmfDeferred *deferred, void *user) { return deferred && user && false; }
static bool no_hint(const SmfTypeHint *hint, void *user) { return hint && user && false; }
static bool no_compiler(uint64_t unit, const SmfTemplate *source, void *user) { return unit && source && user && false; }

static void executable_memory(void) {
    int local = 0;
    const int64_t foreign[] = {1, PAGE, INT64_MAX, ADDRESS(&local), ADDRESS(executable_memory), freed, block + 1, block + PAGE - 1};
    for (size_t i = 0; i < LENGTH(no_sizes); i++) {
        REFUSED(!rt_alloc_exec_memory(no_sizes[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!rt_alloc_rw_memory(no_sizes[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!rt_free_exec_memory(block, no_sizes[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_exec_limit(no_sizes[i], 1) && !smf_exec_limit(1, no_sizes[i]), SMF_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < LENGTH(no_addresses) + LENGTH(foreign); i++) {
        bool is_null = i < LENGTH(no_addresses);
        int64_t at = is_null ? no_addresses[i] : foreign[i - LENGTH(no_addresses)];
        int32_t why = is_null ? SMF_ERROR_ARGUMENT : SMF_ERROR_UNKNOWN_ADDRESS;
        REFUSED(!rt_free_exec_memory(at, 6) && !rt_make_executable(at, 6) && !rt_make_writable(at, 6), why);
        REFUSED(!rt_set_protection(at, 6, 1) && rt_write_exec_memory(at, bytes, 0) == -1, why);
        REFUSED((is_null || at < block || at >= block + PAGE) ? (rt_flush_icache(at, 6), true) : (rt_flush_icache(0, 6), true),
                is_null ? SMF_ERROR_ARGUMENT : smf_last_error().code);
    }
    const int64_t no_code[] = {0, -1, INT64_MIN, 1, INT64_MAX, ADDRESS(&local), ADDRESS(executable_memory), freed, unwritten};
    for (size_t i = 0; i < LENGTH(no_code); i++) {
        int32_t why = no_code[i] <= 0 ? SMF_ERROR_ARGUMENT : SMF_ERROR_NOT_EXECUTABLE;
        int64_t at = no_code[i];
        REFUSED(!rt_call_function_0(at) && !rt_call_function_1(at, 1) && !rt_call_function_2(at, 1, 2), why);
        REFUSED(!rt_call_function_3(at, 1, 2, 3) && !rt_call_function_4(at, 1, 2, 3, 4), why);
        REFUSED(!rt_call_function_5(at, 1, 2, 3, 4, 5) && !rt_call_function_6(at, 1, 2, 3, 4, 5, 6), why);
        REFUSED(!rt_call_function_7(at, 1, 2, 3, 4, 5, 6, 7) && !rt_call_function_8(at, 1, 2, 3, 4, 5, 6, 7, 8), why);
        REFUSED(!smf_call(at, "void(void)", NULL, NULL), why);
        REFUSED(!rt_get_function_pointer(at), at > 0 && at != unwritten ? SMF_ERROR_UNKNOWN_ADDRESS : why);
    }
    const char *const no_signatures[] = {NULL, "", "int", "int(", "(int)", "int(void, int)", "{{int}}()", "\xff()", "int(int)x"};
    for (size_t i = 0; i < LENGTH(no_signatures); i++) {
        REFUSED(!smf_call(block, no_signatures[i], NULL, NULL), SMF_ERROR_ARGUMENT);
    }
    void *no_arguments[2] = {&local, NULL};
    REFUSED(!smf_call(block, "void(int)", NULL, NULL) && !smf_call(block, "void(int, int)", no_arguments, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_call(block, "int()", NULL, &local) && local == 0, SMF_ERROR_UNSUPPORTED);
    REFUSED(!rt_is_executable(0) && rt_get_protection(-1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!rt_is_executable(INT64_MAX) && rt_get_protection(PAGE) == -1, SMF_ERROR_UNMAPPED);
    REFUSED(!rt_set_protection(block, 6, 7), SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(!smf_exec_limit(1, 1), SMF_ERROR_STATE);
    REFUSED(smf_exec_audit(-1) == -1 && smf_exec_audit(INT64_MAX) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_exec_drain(NULL, 1, NULL) == -1 && smf_exec_drain(NULL, -1, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jitdump_enable(NULL), SMF_ERROR_ARGUMENT);
    CHECK(smf_name_code(-1, -1, NULL)); /* No tool is enabled. */
}

static void values(void) {
    RuntimeValue *const wrong[] = {NULL, (RuntimeValue *)&cache, (RuntimeValue *)-1, freed_value, (RuntimeValue *)((char *)bytes + 1)};
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        int32_t why = wrong[i] ? SMF_ERROR_VALUE : SMF_ERROR_ARGUMENT;
        REFUSED(!smf_text_data(wrong[i]) && smf_text_length(wrong[i]) == -1, why);
        REFUSED(!smf_bytes_data(wrong[i]) && smf_bytes_length(wrong[i]) == -1, why);
        REFUSED(!smf_pair_first(wrong[i]) && !smf_pair_second(wrong[i]) && !smf_value_free(wrong[i]), why);
        REFUSED(smf_list_length(wrong[i]) == -1 && !smf_list_get(wrong[i], 0), why);
        REFUSED(rt_write_exec_memory(block, wrong[i], 0) == -1, why);
        REFUSED(!compiler_check_types(context, wrong[i]), why);
    }
    REFUSED(!smf_text_data(bytes) && !smf_bytes_data(pair) && !smf_pair_first(text), SMF_ERROR_VALUE);
    REFUSED(!compiler_check_types(context, pair) && rt_write_exec_memory(block, text, 0) == -1, SMF_ERROR_VALUE);
    REFUSED(!smf_text_new(NULL, 1) && !smf_text_new((const uint8_t *)"", -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_bytes_new(NULL, -1) && !smf_bytes_new(NULL, INT64_MIN), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_set_value_hooks(NULL), SMF_ERROR_ARGUMENT);
    RuntimeValue *made = smf_pair_new(INT64_MIN, INT64_MAX);
    CHECK(smf_value_free(made));
    REFUSED(!smf_value_free(made), SMF_ERROR_VALUE);
}

static bool no_mapping(SmfMapping mapping) { return mapping.address == 0 && mapping.size == 0; }

static void mapped_files(void) {
    const char *path = SAMPLES "packed.smf";
    REFUSED(no_mapping(rt_mmap_file(NULL, SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_ARGUMENT);
    REFUSED(no_mapping(rt_mmap_file(path, 8, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_ARGUMENT);
    REFUSED(no_mapping(rt_mmap_file(path, SMF_PROT_READ, -1, 0, 0)), SMF_ERROR_ARGUMENT);
    REFUSED(no_mapping(rt_mmap_file(path, SMF_PROT_READ, SMF_MAP_PRIVATE, -PAGE, 0)), SMF_ERROR_ARGUMENT);
    REFUSED(no_mapping(rt_mmap_file(path, SMF_PROT_READ, SMF_MAP_PRIVATE, 0, INT64_MIN)), SMF_ERROR_ARGUMENT);
    REFUSED(no_mapping(rt_mmap_file(path, 6, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(no_mapping(rt_mmap_file("absent", SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_FILE);
    REFUSED(rt_file_size_for_mmap(NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_file_size_for_mmap("absent") == -1, SMF_ERROR_FILE);
    int local = 0;
    const int64_t foreign[] = {1, ADDRESS(&local), INT64_MAX, mapped.address + PAGE, mapped.address - PAGE, block};
    for (size_t i = 0; i < LENGTH(no_addresses) + LENGTH(foreign); i++) {
        bool is_null = i < LENGTH(no_addresses);
        int64_t at = is_null ? no_addresses[i] : foreign[i - LENGTH(no_addresses)];
        int32_t why = is_null ? SMF_ERROR_ARGUMENT : SMF_ERROR_UNKNOWN_ADDRESS;
        REFUSED(!smf_mmap_unmap(at, PAGE), why);
        if (at != mapped.address + PAGE) { /* They take a range inside a mapping. */
            REFUSED(!rt_mmap_read_bytes(at, 0, 1) && !rt_mmap_read_string(at, 0, 1), why);
            REFUSED(!smf_mmap_sync(at, 1, false) && !smf_mmap_lock(at, 1) && !smf_mmap_unlock(at, 1), smf_last_error().code);
            REFUSED(!smf_mmap_advise(at, 1, 0), smf_last_error().code);
        }
    }
    for (size_t i = 0; i < LENGTH(no_sizes); i++) {
        REFUSED(!smf_mmap_unmap(mapped.address, no_sizes[i]), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_mmap_sync(mapped.address, no_sizes[i], true), SMF_ERROR_ARGUMENT);
    }
    REFUSED(!smf_mmap_unmap(mapped.address, PAGE), SMF_ERROR_OTHER_SIZE);
    REFUSED(!smf_mmap_advise(mapped.address, PAGE, 5) && !smf_mmap_advise(mapped.address, PAGE, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_mmap_read_bytes(mapped.address, -1, 1) && !rt_mmap_read_bytes(mapped.address, 0, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_mmap_read_string(mapped.address, 0, INT64_MIN), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_mmap_read_bytes(mapped.address, 2 * PAGE, 1), SMF_ERROR_OUT_OF_RANGE);
}

/* The runtime's own rt_ptr_* abort. */
static void memory_of_the_process(void) {
    int64_t word = 7, at = ADDRESS(&word);
    for (size_t i = 0; i < LENGTH(no_addresses); i++) {
        int64_t bad = no_addresses[i];
        REFUSED((rt_ptr_write_u8(bad, 0, 1), !rt_ptr_read_u8(bad, 0)), SMF_ERROR_ARGUMENT);
        REFUSED((rt_ptr_write_i32(bad, INT64_MAX, 1), true), SMF_ERROR_ARGUMENT);
        REFUSED((rt_ptr_write_i64(bad, 0, 1), true), SMF_ERROR_ARGUMENT);
        REFUSED(rt_ptr_write_bytes_raw(bad, 0, at, 8) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(rt_ptr_write_bytes_raw(at, 0, bad, 8) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(!rt_call_ptr_0(bad) && !rt_call_ptr_1(bad, 1), SMF_ERROR_ARGUMENT);
        REFUSED(!rt_call_ptr_2(bad, 1, 2) && !rt_call_ptr_3(bad, 1, 2, 3), SMF_ERROR_ARGUMENT);
        REFUSED(rt_munmap_raw(bad, PAGE) == -1 && !rt_munmap((void *)(intptr_t)bad, PAGE), SMF_ERROR_ARGUMENT);
        REFUSED(rt_mprotect(bad, PAGE, 1) == -1 && rt_madvise_raw(bad, PAGE, 0) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(!rt_madvise((void *)(intptr_t)bad, PAGE, 0) && !rt_msync((void *)(intptr_t)bad, PAGE), SMF_ERROR_ARGUMENT);
        REFUSED(rt_msync_flags(bad, PAGE, 4) == -1 && rt_mlock(bad, 1) == -1 && rt_munlock(bad, 1) == -1, SMF_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < LENGTH(no_sizes); i++) {
        int64_t bad = no_sizes[i], start = mapped.address;
        REFUSED(rt_munmap_raw(start, bad) == -1 && !rt_munmap((void *)(intptr_t)start, bad), SMF_ERROR_ARGUMENT);
        REFUSED(rt_mprotect(start, bad, 0) == -1 && rt_mlock(start, bad) == -1 && rt_munlock(start, bad) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(!rt_madvise((void *)(intptr_t)start, bad, 4) && !rt_msync((void *)(intptr_t)start, bad), SMF_ERROR_ARGUMENT);
    }
    REFUSED((rt_ptr_write_u8(at, -1, 1), !rt_ptr_read_u8(at, -1)), SMF_ERROR_ARGUMENT);
    REFUSED((rt_ptr_write_i32(at, -1, 1), rt_ptr_write_i64(at, INT64_MIN, 1), true), SMF_ERROR_ARGUMENT);
    REFUSED(rt_ptr_write_bytes_raw(at, -1, at, 8) == -1 && rt_ptr_write_bytes_raw(at, 0, at, -8) == -1, SMF_ERROR_ARGUMENT);
    CHECK(word == 7);
    REFUSED(!rt_madvise((void *)(intptr_t)mapped.address, PAGE, 5), SMF_ERROR_ARGUMENT);
    REFUSED(rt_mprotect(mapped.address, PAGE, 6) == -1, SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(rt_munmap_raw(mapped.address, PAGE) == -1, SMF_ERROR_OTHER_SIZE);
    REFUSED(rt_mmap_raw(0, PAGE, 6, 0x22, -1, 0) == -1, SMF_ERROR_WRITE_AND_EXECUTE);
    REFUSED(rt_mmap_raw(0, -1, 1, 0x22, -1, 0) == -1 && rt_mmap_raw(0, PAGE, 1, 0x22, -1, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_open_fd(NULL, 0, 0) == -1 && rt_open_fd("absent", INT64_MAX, 0) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_open_fd("absent", 0, 0) == -1, SMF_ERROR_FILE);
    REFUSED(rt_close_fd(-1) == -1 && rt_close_fd(INT32_MAX) == -1, SMF_ERROR_SYSTEM);
    REFUSED(rt_close_fd(INT64_MAX) == -1, SMF_ERROR_ARGUMENT);
}

static void caches(void) {
    const uint64_t wrong[] = {0, 1, UINT64_MAX, closed_cache, loader, jit, file, (uint64_t)ADDRESS(&cache)};
    const char *path = SAMPLES "packed.smf";
    SmfCacheStatistics statistics = {.size = sizeof statistics}, small = {.size = -1};
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        uint64_t bad = wrong[i];
        REFUSED(!smf_cache_close(bad) && !smf_cache_clear(bad) && !smf_cache_get(bad, path).file, SMF_ERROR_HANDLE);
        REFUSED(!smf_cache_get_module(bad, path, "x").file && !smf_cache_get_again(bad, file).file, SMF_ERROR_HANDLE);
        REFUSED(!smf_cache_release(bad, file) && smf_cache_evict(bad, path) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_note(bad, file).length == -1 && smf_cache_template(bad, file).length == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_section(bad, file, "x").length == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_refresh(bad, path) == -1 && smf_cache_refresh_all(bad) == -1, SMF_ERROR_HANDLE);
        REFUSED(!smf_cache_statistics(bad, &statistics) && smf_cache_samples(bad, NULL, 0) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_histogram(bad, 0, NULL, 0) == -1 && smf_cache_report(bad, NULL, 0) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_enable(bad, true) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_prefetch(bad, &path, 1, 1, NULL) == -1 && !smf_cache_prefetch_start(bad, &path, 1, 1), SMF_ERROR_HANDLE);
    }
    const uint64_t no_files[] = {0, 1, UINT64_MAX, released_file, cache, module};
    for (size_t i = 0; i < LENGTH(no_files); i++) {
        REFUSED(!smf_cache_get_again(cache, no_files[i]).file && !smf_cache_release(cache, no_files[i]), SMF_ERROR_HANDLE);
        REFUSED(smf_cache_note(cache, no_files[i]).length == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_template(cache, no_files[i]).length == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_cache_section(cache, no_files[i], "x").length == -1, SMF_ERROR_HANDLE);
    }
    REFUSED(!smf_cache_get_again(other_cache, file).file && !smf_cache_release(other_cache, file), SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_open(NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_get(cache, NULL).file && !smf_cache_get_module(cache, NULL, NULL).file, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_section(cache, file, NULL).length == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_evict(cache, NULL) == -1 && smf_cache_refresh(cache, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_statistics(cache, NULL) && !smf_cache_statistics(cache, &small), SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_samples(cache, NULL, 1) == -1 && smf_cache_samples(cache, NULL, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_histogram(cache, 0, NULL, 1) == -1 && smf_cache_histogram(cache, 2, NULL, 0) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_report(cache, NULL, 1) == -1 && smf_cache_report(cache, NULL, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_statistics_json(NULL, 1) == -1 && smf_statistics_json(NULL, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_prefetch(cache, NULL, 1, 1, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_prefetch_start(cache, &path, -1, 1), SMF_ERROR_ARGUMENT);
    const uint64_t no_prefetches[] = {0, 1, UINT64_MAX, finished, cache, loader};
    for (size_t i = 0; i < LENGTH(no_prefetches); i++) {
        uint64_t bad = no_prefetches[i];
        REFUSED(smf_prefetch_progress(bad).total == -1 && smf_prefetch_wait(bad, -1) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_prefetch_result(bad, 0) == -1 && !smf_prefetch_free(bad), SMF_ERROR_HANDLE);
    }
}

static void loaders(void) {
    const uint64_t wrong[] = {0, 1, UINT64_MAX, closed_loader, cache, jit, module, hold, (uint64_t)ADDRESS(&loader)};
    const char *path = SAMPLES "packed.smf";
    SmfLoaderStatistics statistics = {.size = sizeof statistics}, small = {.size = -1};
    SmfSymbol symbol = {.size = sizeof symbol}, no_size = {.size = 0};
    SmfReloaded reloaded = {.size = sizeof reloaded};
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        uint64_t bad = wrong[i];
        REFUSED(!smf_loader_close(bad) && !smf_loader_load(bad, path), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_load_archived(bad, path, "x") && !smf_loader_load_bytes(bad, "x", (const uint8_t *)"x", 1), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_provide(bad, path) && !smf_loader_provide_bytes(bad, "x", (const uint8_t *)"x", 1), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_add_library(bad, "libm.so.6") && !smf_loader_define(bad, "x", 1), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_set_resolver(bad, NULL, NULL) && !smf_loader_find(bad, path), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_hold(bad, module) && !smf_loader_release(bad, hold), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_resolve(bad, "add", &symbol) && !smf_loader_symbol(bad, module, "add", &symbol), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_entry_point(bad, module) && !smf_loader_call(bad, module, "answer", NULL, 0, NULL), SMF_ERROR_HANDLE);
        REFUSED(smf_loader_modules(bad, no_module, NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_loader_symbols(bad, module, no_symbol, NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_stable(bad, module, "add"), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_reload(bad, module, path, true, &reloaded), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_reload_bytes(bad, module, (const uint8_t *)"x", 1, true, &reloaded), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_collect(bad) && !smf_loader_unload(bad, module), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_unload_all(bad, &module, 1) && !smf_loader_statistics(bad, &statistics), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_set_jit(bad, jit) && !smf_loader_set_cache(bad, cache), SMF_ERROR_HANDLE);
        REFUSED(smf_loader_compile(bad, module, NULL) == -1 && !smf_loader_set_threshold(bad, module, 1), SMF_ERROR_HANDLE);
    }
    const uint64_t no_modules[] = {0, 1, UINT64_MAX, unloaded, loader, file};
    for (size_t i = 0; i < LENGTH(no_modules); i++) {
        uint64_t bad = no_modules[i];
        REFUSED(!smf_loader_hold(loader, bad) && !smf_loader_release(loader, bad), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_symbol(loader, bad, "add", NULL) && !smf_loader_entry_point(loader, bad), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_stable(loader, bad, "add"), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_call(loader, bad, "answer", NULL, 0, NULL), SMF_ERROR_HANDLE);
        REFUSED(smf_loader_symbols(loader, bad, no_symbol, NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_reload(loader, bad, path, false, NULL), SMF_ERROR_HANDLE);
        REFUSED(!smf_loader_unload(loader, bad) && !smf_loader_unload_all(loader, &bad, 1), SMF_ERROR_HANDLE);
    }
    REFUSED(!smf_loader_open((const SmfLoaderOptions *)&small), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load(loader, NULL) && !smf_loader_load_archived(loader, NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_load_bytes(loader, NULL, NULL, 1) && !smf_loader_load_bytes(loader, "x", NULL, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_provide(loader, NULL) && !smf_loader_provide_bytes(loader, "x", NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_add_library(loader, NULL) && !smf_loader_define(loader, NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_define(loader, "x", 0) && !smf_loader_define(loader, "x", -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_find(loader, NULL) && !smf_loader_resolve(loader, NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_resolve(loader, "add", &no_size), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_symbol(loader, module, NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_stable(loader, module, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_stable(loader, module, "absent"), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_symbol(loader, module, "absent", NULL) && !smf_loader_resolve(loader, "absent", NULL), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_call(loader, module, NULL, NULL, 0, NULL) && !smf_loader_call(loader, module, "add", NULL, 2, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_call(loader, module, "add", &block, 9, NULL) && !smf_loader_call(loader, module, "add", &block, -1, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(smf_loader_modules(loader, NULL, NULL) == -1 && smf_loader_symbols(loader, module, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_reload(loader, module, NULL, true, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_unload_all(loader, NULL, 1) && !smf_loader_unload_all(loader, &module, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_unload(loader, module) && !smf_loader_close(loader), SMF_ERROR_IN_USE);
    REFUSED(!smf_loader_statistics(loader, NULL) && !smf_loader_statistics(loader, &small), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_missing(0).symbol && !smf_loader_missing(-1).symbol, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_set_jit(loader, closed_jit) && !smf_loader_set_jit(loader, cache), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_set_cache(loader, closed_cache) && !smf_loader_set_cache(loader, jit), SMF_ERROR_HANDLE);
    REFUSED(!smf_jit_set_cache(jit, closed_cache) && !smf_jit_set_cache(closed_jit, cache), SMF_ERROR_HANDLE);
    REFUSED(smf_loader_compile(loader, module, NULL) == -1, SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_loader_set_threshold(loader, module, -3), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_register_symbols(NULL) && !smf_unregister_symbols(NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_archive_names(loader, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_loader_module_names(closed_loader) && !smf_loader_module_names(cache), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_symbol_names(closed_loader, module) && !smf_loader_symbol_names(loader, cache), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_archive_names(closed_loader, "x"), SMF_ERROR_HANDLE);
}

static void parts(void) {
    const uint64_t wrong[] = {0, 1, UINT64_MAX, closed_cache, closed_loader, jit, file};
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        REFUSED(!smf_take_concrete(wrong[i], file, "add", NULL, NULL, 0), SMF_ERROR_HANDLE);
        REFUSED(!smf_take_deferred(wrong[i], file, "add", NULL), SMF_ERROR_HANDLE);
        REFUSED(smf_take_concretes(wrong[i], file, no_concrete, NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_take_all_deferred(wrong[i], file, no_deferred, NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(!smf_module_header(wrong[i], file, NULL) && !smf_module_section(wrong[i], file, 0, NULL), SMF_ERROR_HANDLE);
        REFUSED(!smf_module_section_names(wrong[i], file), SMF_ERROR_HANDLE);
    }
    REFUSED(!smf_take_concrete(cache, released_file, "add", NULL, NULL, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_take_concrete(loader, unloaded, "add", NULL, NULL, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_take_concrete(cache, file, NULL, NULL, NULL, 0) && !smf_take_deferred(cache, file, NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_take_concrete(cache, file, "add", NULL, NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(smf_take_concretes(cache, file, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_take_all_deferred(cache, file, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
}

static void instantiators(void) {
    const uint64_t wrong[] = {0, 1, UINT64_MAX, closed_jit, cache, loader, (uint64_t)ADDRESS(&jit)};
    SmfJitStatistics statistics = {.size = sizeof statistics}, small = {.size = -1};
    const uint8_t *x = (const uint8_t *)"x";
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        uint64_t bad = wrong[i];
        REFUSED(!smf_jit_close(bad) && !smf_jit_load(bad, "x") && !smf_jit_load_archived(bad, "x", "x"), SMF_ERROR_HANDLE);
        REFUSED(!smf_jit_load_bytes(bad, "x", x, 1) && !smf_jit_can_instantiate(bad, "x"), SMF_ERROR_HANDLE);
        REFUSED(smf_jit_instantiate(bad, "x", NULL) == -1 && !smf_jit_resolve(bad, "x"), SMF_ERROR_HANDLE);
        REFUSED(smf_jit_take_with_types(bad, "x", "i64", NULL) == -1 && smf_jit_take_generic(bad, "x", NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_jit_take_object(bad, 0, 0, "x", NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(smf_jit_take_deferred(bad, "x", no_hint, NULL) == -1, SMF_ERROR_HANDLE);
        REFUSED(!smf_jit_register(bad, "x", 1) && !smf_jit_update(bad), SMF_ERROR_HANDLE);
        REFUSED(!smf_jit_statistics(bad, &statistics) && !smf_jit_set_compiler(bad, no_compiler, NULL), SMF_ERROR_HANDLE);
        REFUSED(!smf_jit_emit(bad, x, 1) && !smf_jit_relocate(bad, 0, 1, "x", 0) && !smf_jit_fail(bad, "x"), SMF_ERROR_HANDLE);
    }
    REFUSED(!smf_jit_open((const SmfJitOptions *)&small), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_load(jit, NULL) && !smf_jit_load_archived(jit, NULL, "x"), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_load_archived(jit, SAMPLES "library.lsm", NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_load(jit, "absent"), SMF_ERROR_FILE);
    REFUSED(!smf_jit_load_bytes(jit, NULL, x, 1) && !smf_jit_load_bytes(jit, "x", NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_can_instantiate(jit, NULL) && smf_jit_instantiate(jit, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_resolve(jit, NULL) && !smf_jit_register(jit, NULL, 1) && !smf_jit_register(jit, "x", 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_jit_resolve(jit, "absent"), SMF_ERROR_NOT_FOUND);
    REFUSED(smf_jit_take_with_types(jit, NULL, "i64", NULL) == -1 && smf_jit_take_with_types(jit, "x", NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_jit_take_generic(jit, NULL, NULL) == -1 && smf_jit_take_object(jit, 0, 0, NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_jit_take_deferred(jit, NULL, no_hint, NULL) == -1 && smf_jit_take_deferred(jit, "x", NULL, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_jit_take_deferred(jit, "absent", no_hint, NULL) == -1, SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_jit_statistics(jit, NULL) && !smf_jit_statistics(jit, &small), SMF_ERROR_ARGUMENT);
}

/* An answer that says why. */
static bool is_failure(char *answer) {
    return answer && strstr(answer, "{\"success\":false,\"error\":\"") == answer && smf_string_free(answer);
}

static void compilers(void) {
    const int64_t wrong[] = {0, -1, INT64_MIN, INT64_MAX, closed_context, unifier, (int64_t)loader, ADDRESS(&context)};
    const char *template = "{\"name\":\"id\",\"type_params\":[\"T\"]}", *list = "[{\"kind\":\"bool\"}]";
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        REFUSED(is_failure(compiler_infer_types(wrong[i], template, "[]")), SMF_ERROR_HANDLE);
        REFUSED(is_failure(compiler_instantiate_template(wrong[i], template, list)), SMF_ERROR_HANDLE);
        REFUSED(is_failure(smf_check_types(wrong[i], template, list)), SMF_ERROR_HANDLE);
        REFUSED(is_failure(compiler_get_stats(wrong[i])), SMF_ERROR_HANDLE);
        REFUSED(!compiler_check_types(wrong[i], bytes) && !compiler_destroy_context(wrong[i]), SMF_ERROR_HANDLE);
        REFUSED(!compiler_set_callback(wrong[i], no_compiler, NULL), SMF_ERROR_HANDLE);
        int64_t no_unifier = wrong[i] == unifier ? context : wrong[i];
        REFUSED(is_failure(type_unifier_unify(no_unifier, list, list)), SMF_ERROR_HANDLE);
        REFUSED(!type_unifier_destroy(no_unifier), SMF_ERROR_HANDLE);
    }
    const char *const no_json[] = {NULL, "", "{", "\xff", "[[[[["};
    for (size_t i = 0; i < LENGTH(no_json); i++) {
        REFUSED(is_failure(compiler_infer_types(context, no_json[i], "[]")), SMF_ERROR_ARGUMENT);
        REFUSED(is_failure(compiler_infer_types(context, template, no_json[i])), SMF_ERROR_ARGUMENT);
        REFUSED(is_failure(compiler_instantiate_template(context, no_json[i], list)), SMF_ERROR_ARGUMENT);
        REFUSED(is_failure(smf_check_types(context, template, no_json[i])), SMF_ERROR_ARGUMENT);
        REFUSED(is_failure(type_unifier_unify(unifier, no_json[i], list)), SMF_ERROR_ARGUMENT);
    }
    const char *const wrong_json[] = {"null", "0", "\"\"", "{}", "{\"name\":1}", "[{}]"};
    for (size_t i = 0; i < LENGTH(wrong_json); i++) {
        REFUSED(is_failure(compiler_infer_types(context, template, wrong_json[i])), SMF_ERROR_INSTANTIATE);
        REFUSED(is_failure(compiler_instantiate_template(context, wrong_json[i], list)), SMF_ERROR_INSTANTIATE);
        REFUSED(is_failure(smf_check_types(context, template, wrong_json[i])), SMF_ERROR_INSTANTIATE);
        REFUSED(is_failure(type_unifier_unify(unifier, wrong_json[i], wrong_json[i])), SMF_ERROR_INSTANTIATE);
    }
    REFUSED(!compiler_check_types(context, bytes), SMF_ERROR_FORMAT);
    char here[8] = "mine";
    REFUSED(!smf_string_free(here) && !smf_string_free((char *)-1), SMF_ERROR_UNKNOWN_ADDRESS);
}

static const char *no_front_end(const char *name, const char *source, int64_t length, const char **error, void *user) {
    return name && source && length && user ? *error : NULL;
}

/* Handles that are no manager, and an open manager with arguments that it refuses. */
static void execution_managers(void) {
    const uint64_t none[] = {0, 1, UINT64_MAX, closed_manager, cache, loader, jit, manager + 1, manager + (1ull << 32)};
    SmfExecValue value = {SMF_TYPE_I64, 1, 0}, result = {77, 77, 77};
    const int64_t one = 1;
    const char *words = "1";
    for (size_t i = 0; i < LENGTH(none); i++) {
        const uint64_t bad = none[i];
        const int64_t same = (int64_t)bad;
        const char *invalid = "Invalid execution manager";
        REFUSED(!strcmp(rt_exec_manager_compile(same, "fn f(): 1"), invalid), SMF_ERROR_HANDLE);
        REFUSED(!strcmp(rt_exec_manager_compile_source(same, "fn f(): 1"), invalid), SMF_ERROR_HANDLE);
        REFUSED(!strcmp(rt_exec_manager_compile_mir(same, ""), invalid), SMF_ERROR_HANDLE);
        REFUSED(!strcmp(rt_exec_manager_compile_file(same, SAMPLES "bcod.smf"), invalid), SMF_ERROR_HANDLE);
        REFUSED(!rt_exec_manager_execute(same, "f", &one, 1), SMF_ERROR_HANDLE);
        REFUSED(!*rt_exec_manager_execute_string(same, "f", &words, 1), SMF_ERROR_HANDLE);
        REFUSED(!rt_exec_manager_execute_void(same, "f") && !rt_exec_manager_has_function(same, "f"), SMF_ERROR_HANDLE);
        REFUSED(!rt_exec_manager_list_functions(same) && !rt_exec_manager_is_valid(same), SMF_ERROR_HANDLE);
        REFUSED(!strcmp(rt_exec_manager_backend_name(same), "unknown"), SMF_ERROR_HANDLE);
        REFUSED(!rt_exec_manager_set_opt_level(same, 1) && rt_exec_manager_get_opt_level(same) == -1, SMF_ERROR_HANDLE);
        REFUSED(!strcmp(rt_exec_manager_get_last_error(same), invalid), SMF_ERROR_HANDLE);
        REFUSED((rt_exec_manager_clear_error(same), rt_exec_manager_cleanup(same) == -1), SMF_ERROR_HANDLE);
        REFUSED(!strcmp(rt_jit_compile_source(same, "fn f(): 1"), "invalid handle"), SMF_ERROR_HANDLE);
        REFUSED(rt_jit_call_void(same, "f") == -1 && rt_jit_call_i64(same, "f", 1) == -1, SMF_ERROR_HANDLE);
        REFUSED(rt_jit_call_i64_i64(same, "f", 1, 2) == -1 && !rt_jit_has_function(same, "f"), SMF_ERROR_HANDLE);
        REFUSED(rt_jit_cleanup(same) == -1 && !strcmp(rt_jit_backend_name(same), "unknown"), SMF_ERROR_HANDLE);
        REFUSED(!smf_exec_close(bad) && !smf_exec_backend(bad) && !smf_exec_set_level(bad, 1), SMF_ERROR_HANDLE);
        REFUSED(!smf_exec_compile(bad, NULL, "fn f(): 1", 9) && !smf_exec_compile_ir(bad, NULL, 0), SMF_ERROR_HANDLE);
        REFUSED(!smf_exec_compile_file(bad, SAMPLES "bcod.smf"), SMF_ERROR_HANDLE);
        REFUSED(smf_exec_diagnostics(bad) == -1 && !smf_exec_diagnostic(bad, 0, NULL), SMF_ERROR_HANDLE);
        if (bad) {
            REFUSED(!smf_exec_set_frontend(bad, no_front_end, NULL), SMF_ERROR_HANDLE);
        }
        REFUSED(!smf_exec_find(bad, "f") && !smf_exec_function(bad, 1, NULL) && !smf_exec_parameter(bad, 1, 0), SMF_ERROR_HANDLE);
        REFUSED(!smf_exec_function_names(bad) && !smf_exec_statistics(bad, NULL), SMF_ERROR_HANDLE);
        REFUSED(!smf_exec_call(bad, "f", &value, 1, &result), SMF_ERROR_HANDLE);
        REFUSED(!smf_exec_call_function(bad, 1, &value, 1, &result), SMF_ERROR_HANDLE);
    }
    const int64_t open = (int64_t)manager;
    REFUSED(*rt_exec_manager_compile(open, NULL) && *rt_exec_manager_compile_source(open, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(*rt_exec_manager_compile_mir(open, NULL) && *rt_exec_manager_compile_file(open, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_exec_manager_execute(open, "two", NULL, 1) && !rt_exec_manager_execute(open, "two", &one, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!*rt_exec_manager_execute_string(open, "two", NULL, 1), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_exec_manager_execute_void(open, NULL) && !rt_exec_manager_has_function(open, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_exec_manager_set_opt_level(open, 9) && !smf_exec_set_level(manager, -1), SMF_ERROR_ARGUMENT);
    REFUSED(*rt_jit_compile_source(open, NULL) && rt_jit_call_void(open, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_jit_call_i64(open, "two", 1) == -1 && rt_jit_call_i64_i64(open, "two", 1, 2) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!rt_set_jit_backend(NULL) && !rt_exec_manager_create(NULL) && rt_jit_create_for_target(NULL) == -1, SMF_ERROR_ARGUMENT);
    const SmfExecOptions small = {.size = 1};
    REFUSED(!smf_exec_open(&small), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_compile(manager, NULL, NULL, 1) && !smf_exec_compile_ir(manager, NULL, -1), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_compile_file(manager, NULL) && !smf_exec_find(manager, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_function(manager, two, NULL) && !smf_exec_parameter(manager, two, 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_function(manager, 0, NULL) && !smf_exec_parameter(manager, UINT64_MAX, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_exec_diagnostic(manager, -1, NULL) && !smf_exec_statistics(manager, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_call(manager, "two", &value, 1, &result) && !smf_exec_call(manager, NULL, NULL, 0, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_call(manager, "two", NULL, 1, &result) && !smf_exec_call(manager, "two", &value, -1, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_call_function(manager, two, &value, 1, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_call_function(manager, two + 1, NULL, 0, &result), SMF_ERROR_HANDLE);
    CHECK(result.kind == 77 && result.integer == 77);
}

static void *misuse(void *unused) {
    executable_memory();
    values();
    mapped_files();
    memory_of_the_process();
    caches();
    loaders();
    parts();
    instantiators();
    compilers();
    execution_managers();
    return unused;
}

struct state {
    SmfCacheStatistics cache;
    SmfLoaderStatistics loader;
    SmfJitStatistics jit;
    SmfExecStatistics exec;
    int64_t total, count;
    char code[6], file[PAGE];
};

static void observe(struct state *state) {
    memset(state, 0, sizeof *state);
    state->cache.size = sizeof state->cache;
    state->loader.size = sizeof state->loader;
    state->jit.size = sizeof state->jit;
    state->exec.size = sizeof state->exec;
    CHECK(smf_cache_statistics(cache, &state->cache) && smf_loader_statistics(loader, &state->loader));
    CHECK(smf_jit_statistics(jit, &state->jit) && smf_exec_statistics(manager, &state->exec));
    /* Requests for absent files count. */
    state->cache.hits = state->cache.misses = state->cache.failures = 0;
    state->cache.hit_rate = 0;
    state->jit.failed = 0;
    state->total = rt_exec_memory_total();
    state->count = rt_exec_memory_count();
    memcpy(state->code, (void *)(intptr_t)block, sizeof state->code);
    memcpy(state->file, (void *)(intptr_t)mapped.address, sizeof state->file);
    CHECK(rt_call_function_0(block) == 42 && rt_get_protection(block) == 5 && rt_get_protection(mapped.address) == 1);
    CHECK(smf_bytes_length(bytes) == 6 && smf_text_length(text) == 1 && smf_pair_second(pair) == 2);
}

static void open_objects(void) {
    SmfCacheOptions options = {sizeof options, 10, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST};
    const char *path = SAMPLES "packed.smf";
    cache = smf_cache_open(&options);
    other_cache = smf_cache_open(&options);
    closed_cache = smf_cache_open(&options);
    CHECK(cache && other_cache && smf_cache_close(closed_cache));
    file = smf_cache_get(cache, path).file;
    released_file = smf_cache_get(cache, SAMPLES "app.smf").file;
    CHECK(file && released_file && smf_cache_release(cache, released_file) && smf_cache_evict(cache, SAMPLES "app.smf") == 1);
    finished = smf_cache_prefetch_start(other_cache, &path, 1, 1);
    CHECK(smf_prefetch_wait(finished, -1) == 1 && smf_prefetch_free(finished));
    loader = smf_loader_open(NULL);
    closed_loader = smf_loader_open(NULL);
    CHECK(loader && smf_loader_close(closed_loader));
    unloaded = smf_loader_load(loader, path);
    CHECK(unloaded && smf_loader_unload(loader, unloaded));
    module = smf_loader_load(loader, path);
    hold = smf_loader_hold(loader, module);
    jit = smf_jit_open(NULL);
    closed_jit = smf_jit_open(NULL);
    CHECK(module && hold && jit && smf_jit_close(closed_jit));
    manager = smf_exec_open(NULL);
    closed_manager = smf_exec_open(NULL);
    CHECK(manager && smf_exec_close(closed_manager) && smf_exec_compile(manager, NULL, "fn two(): 2", 11));
    two = smf_exec_find(manager, "two");
    context = compiler_create_context();
    closed_context = compiler_create_context();
    unifier = type_unifier_create();
    CHECK(context > 0 && unifier > 0 && compiler_destroy_context(closed_context));
    const uint8_t code[] = RETURNS(42);
    bytes = smf_bytes_new(code, sizeof code);
    text = smf_text_new((const uint8_t *)"x", 1);
    pair = smf_pair_new(1, 2);
    freed_value = smf_bytes_new(NULL, 1);
    CHECK(bytes && text && pair && smf_value_free(freed_value));
    block = rt_alloc_exec_memory(sizeof code);
    unwritten = rt_alloc_exec_memory(sizeof code);
    freed = rt_alloc_exec_memory(sizeof code);
    CHECK(rt_write_exec_memory(block, bytes, 0) == sizeof code && unwritten && rt_free_exec_memory(freed, sizeof code));
    mapped = rt_mmap_file(NULL, SMF_PROT_READ, SMF_MAP_PRIVATE | SMF_MAP_ANONYMOUS, 0, 2 * PAGE);
    CHECK(mapped.address);
}

int main(void) {
    static struct state before, after;
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    open_objects();
    misuse(NULL);
    observe(&before);
    int open_files = descriptors();
    for (int round = 0; round < 2; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_create(&threads[i], NULL, misuse, NULL) == 0);
        }
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
        observe(&after);
        CHECK(!memcmp(&before, &after, sizeof before) && descriptors() == open_files);
    }
    CHECK(smf_loader_release(loader, hold) && smf_loader_close(loader) && smf_jit_close(jit));
    CHECK(smf_exec_close(manager));
    CHECK(smf_cache_release(cache, file) && smf_cache_close(cache) && smf_cache_close(other_cache));
    CHECK(compiler_destroy_context(context) && type_unifier_destroy(unifier));
    CHECK(smf_mmap_unmap(mapped.address, 2 * PAGE));
    CHECK(rt_free_exec_memory(block, 6) && rt_free_exec_memory(unwritten, 6) && rt_exec_memory_count() == 0);
    puts("ok");
    return 0;
}
