/* A small runtime of the tagged convention, with the accessor functions that the library imports. */
#define _GNU_SOURCE
#define SMF_TAGGED
#include "check.h"

#include <unistd.h>

#define NIL 0x3
#define TRUE_VALUE 0xb
#define FALSE_VALUE 0x13
#define ERROR_VALUE 0x1b

struct object {
    int64_t kind; /* 1 text, 2 byte array, 3 tuple */
    int64_t length;
    int64_t words[4];
    uint8_t bytes[1024];
};

static int64_t tag(struct object *object) { return ADDRESS(object) | 1; }
static struct object *object(int64_t value, int64_t kind) {
    struct object *object = (struct object *)(intptr_t)(value & ~INT64_C(7));
    return (value & 7) == 1 && object->kind == kind ? object : NULL;
}

int64_t rt_string_new(const uint8_t *bytes, uint64_t length);
int64_t rt_string_len(int64_t value);
const uint8_t *rt_string_data(int64_t value);
int64_t rt_byte_array_new(uint64_t length);
uint8_t *rt_array_data_ptr_u8(int64_t value);
int64_t rt_array_len(int64_t value);
int64_t rt_tuple_new(int64_t length);
void rt_tuple_set(int64_t tuple, int64_t index, int64_t value);
int64_t rt_value_int(int64_t number);

int64_t rt_string_new(const uint8_t *bytes, uint64_t length) {
    struct object *text = calloc(1, sizeof *text);
    text->kind = 1;
    text->length = (int64_t)length;
    memcpy(text->bytes, bytes, length);
    return tag(text);
}
int64_t rt_string_len(int64_t value) { return object(value, 1) ? object(value, 1)->length : -1; }
const uint8_t *rt_string_data(int64_t value) { return object(value, 1) ? object(value, 1)->bytes : NULL; }
int64_t rt_byte_array_new(uint64_t length) {
    struct object *array = calloc(1, sizeof *array);
    array->kind = 2;
    array->length = (int64_t)length;
    return tag(array);
}
uint8_t *rt_array_data_ptr_u8(int64_t value) { return object(value, 2) ? object(value, 2)->bytes : NULL; }
int64_t rt_array_len(int64_t value) { return object(value, 2) ? object(value, 2)->length : -1; }
int64_t rt_tuple_new(int64_t length) {
    struct object *tuple = calloc(1, sizeof *tuple);
    tuple->kind = 3;
    tuple->length = length;
    return tag(tuple);
}
void rt_tuple_set(int64_t tuple, int64_t index, int64_t value) { object(tuple, 3)->words[index] = value; }
int64_t rt_value_int(int64_t number) { return (int64_t)((uint64_t)number << 3); }

static int64_t text(const char *bytes) { return rt_string_new((const uint8_t *)bytes, strlen(bytes)); }

static int64_t part(int64_t tuple, int i) {
    CHECK(object(tuple, 3) && object(tuple, 3)->length == 2 && object(tuple, 3)->words[i] % 8 == 0);
    return object(tuple, 3)->words[i] / 8;
}

#define FAILED(tuple) (part(tuple, 0) == 0 && part(tuple, 1) == 0)

static bool says(int64_t text, const char *expected) {
    struct object *found = object(text, 1);
    return found && found->length == (int64_t)strlen(expected) && !memcmp(found->bytes, expected, strlen(expected));
}

static void files(void) {
    char path[] = "/tmp/smf-tagged-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && write(file, "hello\0world", 11) == 11 && close(file) == 0);
    int64_t name = text(path);
    CHECK(rt_file_size_for_mmap(name) == 11 && rt_get_page_size() == PAGE);
    for (int flags = SMF_MAP_SHARED; flags <= SMF_MAP_PRIVATE; flags++) {
        int64_t mapping = rt_mmap_file(name, SMF_PROT_READ, flags, 0, 0);
        int64_t address = part(mapping, 0), size = part(mapping, 1);
        CHECK(address % PAGE == 0 && size == 11);
        struct object *bytes = object(rt_mmap_read_bytes(address, 6, 5), 2);
        CHECK(bytes && bytes->length == 5 && !memcmp(bytes->bytes, "world", 5));
        CHECK(object(rt_mmap_read_bytes(address, 11, 0), 2)->length == 0);
        CHECK(says(rt_mmap_read_string(address, 0, 0), "hello") && says(rt_mmap_read_string(address, 6, 2), "wo"));
        REFUSED(rt_mmap_read_bytes(address, 6, 6) == NIL, SMF_ERROR_OUT_OF_RANGE);
        REFUSED(rt_mmap_read_bytes(0, 6, 6) == NIL, SMF_ERROR_ARGUMENT);
        REFUSED(rt_mmap_read_string(address, -1, 0) == NIL, SMF_ERROR_ARGUMENT);
        CHECK(rt_msync(address, size, false) && rt_madvise(address, size, 3) && rt_mlock(address, size));
        CHECK(rt_munlock(address, size) && rt_munmap(address, size) && !rt_munmap(address, size));
    }
    for (int empty = 0; empty < 2; empty++) {
        int64_t mapping = rt_mmap_file(empty ? text("") : NIL, SMF_PROT_READ, SMF_MAP_PRIVATE | SMF_MAP_ANONYMOUS, 0, 9);
        CHECK(says(rt_mmap_read_string(part(mapping, 0), 0, 0), "") && rt_munmap(part(mapping, 0), 9));
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
    CHECK(smf_loader_close(loader));
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
    CHECK(says(compiler_check_types(context, identity, types), "{\"success\":true,\"symbol\":\"id$i64\"}"));
    CHECK(says(compiler_infer_types(context, returns, hints), "[{\"kind\":\"bool\"}]"));
    CHECK(says(compiler_instantiate_template(context, ready, types),
               "{\"code\":[195],\"relocations\":[],\"success\":true,\"symbol\":\"id$i64\"}"));
    CHECK(says(compiler_get_stats(context), "{\"cache_hits\":0,\"cache_misses\":1,\"template_instantiations\":1,"
                                            "\"type_inferences\":1}"));
    CHECK(says(type_unifier_unify(unifier, i64, i64),
               "{\"success\":true,\"type\":{\"bits\":64,\"kind\":\"int\",\"signed\":true}}"));
    const int64_t no_texts[] = {0, TRUE_VALUE, ERROR_VALUE, rt_value_int(6), rt_byte_array_new(2), NIL};
    for (size_t i = 0; i < sizeof no_texts / sizeof *no_texts; i++) {
        struct object *answer = object(compiler_check_types(context, no_texts[i], types), 1);
        CHECK(answer && strstr((char *)answer->bytes, "\"success\":false"));
        answer = object(type_unifier_unify(unifier, i64, no_texts[i]), 1);
        CHECK(answer && strstr((char *)answer->bytes, "\"success\":false"));
    }
    CHECK(compiler_destroy_context(context) && type_unifier_destroy(unifier));
    const char *invalid = "{\"error\":\"Invalid context handle\",\"success\":false}";
    CHECK(says(compiler_get_stats(context), invalid) && says(compiler_check_types(context, identity, types), invalid));
}

int main(void) {
    const uint8_t seven[] = RETURNS(7);
    int64_t code = rt_byte_array_new(sizeof seven);
    memcpy(rt_array_data_ptr_u8(code), seven, sizeof seven);
    /* Integer arguments and results are not tagged. */
    int64_t block = rt_alloc_exec_memory(6);
    CHECK(block % PAGE == 0 && rt_exec_memory_total() == 6 && rt_exec_memory_count() == 1);
    CHECK(rt_write_exec_memory(block, code, 0) == 6 && rt_call_function_0(block) == 7);
    CHECK(rt_write_exec_memory(block, code, 10) == 6 && rt_call_function_0(block + 10) == 7);
    CHECK(rt_write_exec_memory(block, rt_byte_array_new(0), 0) == 0);

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
    CHECK(rt_make_writable(block, 6) && !rt_is_executable(block) && rt_make_executable(block, 6));
    CHECK(rt_call_function_0(block) == 7 && rt_free_exec_memory(block, 6));
    CHECK(watch() == 0);
    files();
    modules();
    compilers();
    puts("ok");
    return 0;
}
