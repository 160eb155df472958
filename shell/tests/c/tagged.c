/* The tagged convention, with each generation of the runtime (runtime/values.c). */
#define _GNU_SOURCE
#define SMF_TAGGED
#include "runtime/runtime.h"

#include "check.h"

#include <unistd.h>

static int64_t text(const char *bytes) { return rt_string_new((const uint8_t *)bytes, strlen(bytes)); }

static int64_t part(int64_t tuple, int i) {
    CHECK(rt_tuple_len(tuple) == 2 && rt_tuple_get(tuple, i) % 8 == 0);
    return rt_value_as_int(rt_tuple_get(tuple, i));
}

#define FAILED(tuple) (part(tuple, 0) == 0 && part(tuple, 1) == 0)

static bool says(int64_t text, const char *expected) {
    return rt_string_len(text) == (int64_t)strlen(expected) && !memcmp(rt_string_data(text), expected, strlen(expected));
}

static uint8_t *data(int64_t array) { return (uint8_t *)(intptr_t)rt_array_data_ptr_u8(array); }

/* A packed array. */
static int64_t packed(const uint8_t *bytes, int64_t length) {
    int64_t array = rt_byte_array_new((uint64_t)length);
    memcpy(data(array), bytes, (size_t)length);
    CHECK(rt_array_set_len_known(rt_array_header_ptr(array), length));
    return array;
}

/* An array of tagged integers. */
static int64_t slots(const uint8_t *bytes, int64_t length) {
    int64_t array = rt_array_new(0);
    for (int64_t i = 0; i < length; i++) {
        CHECK(rt_array_push(array, rt_value_int(bytes[i])));
    }
    return array;
}

static bool holds(int64_t array, const char *expected) {
    return rt_array_len(array) == (int64_t)strlen(expected) && !memcmp(data(array), expected, strlen(expected));
}

static void files(void) {
    char path[] = "/tmp/smf-tagged-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && write(file, "hello\0world", 11) == 11 && close(file) == 0);
    int64_t name = text(path);
#ifndef RUST_RUNTIME
    /* A literal of compiled programs, at any alignment. */
    for (int shift = 0; shift < 8; shift++) {
        char raw[64];
        CHECK(rt_file_size_for_mmap(ADDRESS(strcpy(raw + shift, path))) == 11);
    }
#endif
    CHECK(rt_file_size_for_mmap(name) == 11 && rt_get_page_size() == PAGE);
    for (int flags = SMF_MAP_SHARED; flags <= SMF_MAP_PRIVATE; flags++) {
        int64_t mapping = rt_mmap_file(name, SMF_PROT_READ, flags, 0, 0);
        int64_t address = part(mapping, 0), size = part(mapping, 1);
        CHECK(address % PAGE == 0 && size == 11);
        CHECK(holds(rt_mmap_read_bytes(address, 6, 5), "world") && holds(rt_mmap_read_bytes(address, 11, 0), ""));
        CHECK(says(rt_mmap_read_string(address, 0, 0), "hello") && says(rt_mmap_read_string(address, 6, 2), "wo"));
        REFUSED(rt_mmap_read_bytes(address, 6, 6) == NIL, SMF_ERROR_OUT_OF_RANGE);
        REFUSED(rt_mmap_read_bytes(0, 6, 6) == NIL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_string(address, -1, 0) == NIL, SMF_ERROR_ARGUMENT);
        CHECK(smf_mmap_sync(address, size, false) && smf_mmap_advise(address, size, 3) && smf_mmap_lock(address, size));
        CHECK(smf_mmap_unlock(address, size) && smf_mmap_unmap(address, size) && !smf_mmap_unmap(address, size));
    }
    for (int empty = 0; empty < 2; empty++) {
        int64_t mapping = rt_mmap_file(empty ? text("") : NIL, SMF_PROT_READ, SMF_MAP_PRIVATE | SMF_MAP_ANONYMOUS, 0, 9);
        CHECK(says(rt_mmap_read_string(part(mapping, 0), 0, 0), "") && smf_mmap_unmap(part(mapping, 0), 9));
    }
    const int64_t no_texts[] = {0, TRUE_VALUE, FALSE_VALUE, ERROR_VALUE, -2, rt_value_int(6), rt_byte_array_new(2)};
    for (size_t i = 0; i < sizeof no_texts / sizeof *no_texts; i++) {
        REFUSED(FAILED(rt_mmap_file(no_texts[i], SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_VALUE);
        REFUSED(rt_file_size_for_mmap(no_texts[i]) == -1, SMF_ERROR_VALUE);
    }
    REFUSED(FAILED(rt_mmap_file(NIL, SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_ARGUMENT);
    REFUSED(FAILED(rt_mmap_file(text("/absent"), SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_FILE);
    int64_t nul = rt_string_new((const uint8_t *)"/tmp\0/x", 7);
    REFUSED(FAILED(rt_mmap_file(nul, SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0)), SMF_ERROR_FILE);
    CHECK(unlink(path) == 0);
}

/* Paths and names of loaders are C strings in both conventions, and integers are not tagged. */
static void modules(void) {
    uint64_t loader = smf_loader_open(NULL);
    uint64_t module = smf_loader_load(loader, "../tests/samples/packed.smf");
    const int64_t arguments[] = {40, 2};
    int64_t result = 0;
    CHECK(module && smf_loader_call(loader, module, "add", arguments, 2, &result) && result == 42);
    CHECK(rt_call_function_2(smf_loader_resolve(loader, "add", NULL), 40, 2) == 42);
    REFUSED(!smf_loader_load(loader, "absent"), SMF_ERROR_FILE);
    /* Lists are arrays of text; an empty one is a real array. */
    int64_t names = smf_loader_module_names(loader), archive = 0;
    CHECK(rt_array_len(names) == 1 && says(rt_array_get(names, 0), "../tests/samples/packed.smf"));
    names = smf_loader_symbol_names(loader, module);
    bool has_add = false;
    for (int64_t i = 0; i < rt_array_len(names); i++) {
        has_add |= says(rt_array_get(names, i), "add");
    }
    CHECK(has_add && rt_array_get(names, rt_array_len(names)) == NIL);
    archive = smf_loader_archive_names(loader, "../tests/samples/library.lsm");
    CHECK(rt_array_len(archive) > 0 && rt_string_len(rt_array_get(archive, 0)) > 0);
    REFUSED(smf_loader_archive_names(loader, "absent") == NIL, SMF_ERROR_FILE);
    uint64_t hold = smf_loader_hold(loader, module);
    names = smf_module_section_names(loader, hold);
    SmfModuleHeader header = {.size = sizeof header};
    CHECK(smf_module_header(loader, hold, &header) && rt_array_len(names) == header.sections);
    CHECK(smf_loader_release(loader, hold) && smf_loader_unload(loader, module));
    names = smf_loader_module_names(loader);
    CHECK(names != NIL && rt_array_len(names) == 0 && rt_array_push(names, text("x")) && rt_array_len(names) == 1);
    CHECK(smf_loader_close(loader));
    REFUSED(smf_loader_module_names(loader) == NIL && smf_module_section_names(loader, hold) == NIL, SMF_ERROR_HANDLE);
}

/* Text arguments and results are words, handles are not tagged. */
static void compilers(void) {
    int64_t context = compiler_create_context(), unifier = type_unifier_create();
    int64_t i64 = text("{\"kind\":\"int\",\"bits\":64,\"signed\":true}");
    int64_t types = text("[{\"kind\":\"int\",\"bits\":64,\"signed\":true}]");
    int64_t identity = text("{\"name\":\"id\",\"type_params\":[\"T\"]}");
    int64_t hints = text("[{\"source\":\"return\",\"ty\":{\"kind\":\"bool\"}}]");
    int64_t returns = text("{\"name\":\"id\",\"type_params\":[\"T\"],\"return_type\":{\"kind\":\"generic\",\"name\":\"T\"}}");
    int64_t ready = text("{\"name\":\"id\",\"type_params\":[\"T\"],\"body\":[77,65,67,72,29,0,0,0,1,0,1,0,"
                         "17,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,195]}");
    CHECK(context > 0 && unifier > 0);
    CHECK(says(smf_check_types(context, identity, types), "{\"success\":true,\"symbol\":\"id$i64\"}"));
    CHECK(says(compiler_infer_types(context, returns, hints), "[{\"kind\":\"bool\",\"name\":\"bool\"}]"));
    CHECK(says(compiler_instantiate_template(context, ready, types),
               "{\"success\":true,\"code\":[195],\"symbol\":\"id$i64\",\"relocations\":[]}"));
    CHECK(says(compiler_get_stats(context), "{\"type_inferences\":1,\"template_instantiations\":1,"
                                            "\"cache_hits\":0,\"cache_misses\":2}"));
    CHECK(says(type_unifier_unify(unifier, i64, i64),
               "{\"success\":true,\"type\":{\"kind\":\"int\",\"name\":\"i64\",\"bits\":64,\"signed\":true}}"));
    const uint8_t typed[] = {0, 1, 0, 1, 16, 8, 16, 32, 0, 16, 254, 255, 16};
    int64_t code = packed(typed, sizeof typed);
    CHECK(compiler_check_types(context, code) == 1);
#if !defined OLD_RUNTIME || defined RUST_RUNTIME
    CHECK(compiler_check_types(context, slots(typed, sizeof typed)) == 1);
#endif
    REFUSED(compiler_check_types(context, packed(typed, 12)) == 0, SMF_ERROR_FORMAT);
    REFUSED(compiler_check_types(context, NIL) == 0 && compiler_check_types(context, identity) == 0, SMF_ERROR_VALUE);
    REFUSED(compiler_check_types(-1, code) == 0, SMF_ERROR_HANDLE);
    const int64_t no_texts[] = {0, TRUE_VALUE, ERROR_VALUE, rt_value_int(6), rt_byte_array_new(2), NIL};
    for (size_t i = 0; i < sizeof no_texts / sizeof *no_texts; i++) {
        const int64_t answers[] = {smf_check_types(context, no_texts[i], types),
                                   type_unifier_unify(unifier, i64, no_texts[i])};
        for (int j = 0; j < 2; j++) {
            const char *failure = "\"success\":false";
            CHECK(rt_string_len(answers[j]) > 0);
            CHECK(memmem(rt_string_data(answers[j]), (size_t)rt_string_len(answers[j]), failure, strlen(failure)));
        }
    }
    CHECK(compiler_destroy_context(context) && type_unifier_destroy(unifier));
    const char *invalid = "{\"success\":false,\"error\":\"Invalid context handle\"}";
    CHECK(says(compiler_get_stats(context), invalid) && says(smf_check_types(context, identity, types), invalid));
}

/* Compiled programs test all 64 bits of a truth value. */
static void truth(int64_t block) {
    int64_t (*is_executable)(int64_t) = (int64_t(*)(int64_t))(intptr_t)rt_is_executable;
    CHECK(is_executable(block) == 1 && is_executable(ADDRESS(&block)) == 0);
}

/* Texts and lists are words; a failure is -1. */
static void execution_managers(void) {
    int64_t manager = rt_exec_manager_create(text("auto"));
    CHECK(manager > 0 && rt_exec_manager_is_valid(manager) == 1 && says(rt_exec_manager_backend_name(manager), "native"));
    CHECK(says(rt_get_jit_backend(), "auto") && rt_set_jit_backend(text("native")) == 1 && says(rt_get_jit_backend(), "native"));
    const char *source = "fn add(x, y): x + y\nfn same(a: text) -> text: a\nfn half(x): 10 / x\nfn nul() -> text: \"x\\0y\"\n";
    CHECK(says(rt_exec_manager_compile_source(manager, text(source)), ""));
    int64_t numbers = rt_array_new(0), texts = rt_array_new(0);
    CHECK(rt_array_push(numbers, rt_value_int(-10)) && rt_array_push(numbers, rt_value_int(52)));
    CHECK(rt_exec_manager_execute(manager, text("add"), numbers) == 42);
    CHECK(rt_array_push(texts, text("word")) && says(rt_exec_manager_execute_string(manager, text("same"), texts), "word"));
    int64_t nul = rt_exec_manager_execute_string(manager, text("nul"), rt_array_new(0));
    CHECK(rt_string_len(nul) == 3 && !memcmp(rt_string_data(nul), "x\0y", 3));
    int64_t names = rt_exec_manager_list_functions(manager);
    CHECK(rt_array_len(names) == 4 && says(rt_array_get(names, 0), "add"));
    CHECK(rt_exec_manager_has_function(manager, text("half")) == 1 && !rt_exec_manager_has_function(manager, text("x")));
    REFUSED(rt_exec_manager_execute(manager, text("half"), numbers) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_exec_manager_execute(manager, text("add"), texts) == -1, SMF_ERROR_VALUE);
    REFUSED(rt_exec_manager_execute(manager, text("add"), NIL) == -1, SMF_ERROR_VALUE);
    REFUSED(rt_exec_manager_execute(manager, NIL, numbers) == -1, SMF_ERROR_ARGUMENT);
    int64_t zero = rt_array_new(0);
    CHECK(rt_array_push(zero, rt_value_int(0)));
    REFUSED(rt_exec_manager_execute(manager, text("half"), zero) == -1, SMF_ERROR_TRAP);
    CHECK(says(rt_exec_manager_get_last_error(manager), "division by zero, at 3 in function `half`"));
    rt_exec_manager_clear_error(manager);
    CHECK(says(rt_exec_manager_get_last_error(manager), "") && rt_exec_manager_cleanup(manager) == 0);
    REFUSED(rt_exec_manager_execute(manager, text("add"), numbers) == -1, SMF_ERROR_HANDLE);
    CHECK(says(rt_exec_manager_compile(manager, text("fn f(): 1")), "Invalid execution manager"));
    int64_t jit = rt_jit_create_for_target(text("host"));
    CHECK(jit > 0 && says(rt_jit_compile_source(jit, text("fn one(): 1")), "") && rt_jit_call_void(jit, text("one")) == 1);
    CHECK(rt_jit_cleanup(jit) == 0 && rt_set_jit_backend(text("auto")) == 1);
}

int main(void) {
    const uint8_t seven[] = RETURNS(7);
    int64_t code = packed(seven, sizeof seven);
    /* Integer arguments and results are not tagged. */
    int64_t block = rt_alloc_exec_memory(6);
    CHECK(block % PAGE == 0 && rt_exec_memory_total() == 6 && rt_exec_memory_count() == 1);
    CHECK(rt_write_exec_memory(block, code, 0) == 6 && rt_call_function_0(block) == 7);
    CHECK(rt_write_exec_memory(block, code, 10) == 6 && rt_call_function_0(block + 10) == 7);
#ifndef OLD_RUNTIME
    CHECK(rt_write_exec_memory(block, rt_byte_array_new(0), 0) == 0);
#endif
    int64_t words = slots(seven, sizeof seven);
#if defined OLD_RUNTIME && !defined RUST_RUNTIME
    REFUSED(rt_write_exec_memory(block, words, 100) == -1, SMF_ERROR_VALUE);
    CHECK(strstr(smf_last_error().text, "rt_array_bytes_copy_checked"));
#else
    CHECK(rt_write_exec_memory(block, words, 100) == 6 && rt_call_function_0(block + 100) == 7);
#endif

    const int64_t no_arrays[] = {
        0, NIL, TRUE_VALUE, FALSE_VALUE, ERROR_VALUE, -1, INT64_MIN, INT64_MAX, rt_value_int(6), code - 1, code + 1,
        rt_string_new(seven, sizeof seven), rt_tuple_new(2),
    };
    for (size_t i = 0; i < sizeof no_arrays / sizeof *no_arrays; i++) {
        REFUSED(rt_write_exec_memory(block, no_arrays[i], 0) == -1, SMF_ERROR_VALUE);
    }
    REFUSED(rt_write_exec_memory(block, code, PAGE - 5) == -1, SMF_ERROR_OUT_OF_RANGE);
    REFUSED(rt_write_exec_memory(block, code, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(rt_write_exec_memory(block + 1, code, 0) == -1, SMF_ERROR_UNKNOWN_ADDRESS);
    REFUSED(rt_write_exec_memory(0, code, 0) == -1, SMF_ERROR_ARGUMENT);
    truth(block);
    CHECK(rt_make_writable(block, 6) && !rt_is_executable(block) && rt_make_executable(block, 6));
    CHECK(rt_call_function_0(block) == 7 && rt_free_exec_memory(block, 6));
    CHECK(watch() == 0);
    files();
    modules();
    compilers();
    execution_managers();
    puts("ok");
    return 0;
}
