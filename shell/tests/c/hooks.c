/* A runtime with values of its own: the library creates and reads values only through its table. */
#include "check.h"

enum kind { TEXT, BYTES, PAIR, LIST };

struct RuntimeValue {
    enum kind kind;
    int64_t length;
    int64_t parts[2];
    uint8_t data[256];
    RuntimeValue *texts[4];
};

static int live;

static RuntimeValue *create(enum kind kind, int64_t length) {
    RuntimeValue *value = length <= 256 ? calloc(1, sizeof *value) : NULL;
    if (value) {
        value->kind = kind;
        value->length = length;
        live++;
    }
    return value;
}

static RuntimeValue *text_new(const uint8_t *bytes, int64_t length) {
    RuntimeValue *value = create(TEXT, length);
    if (value && length) {
        memcpy(value->data, bytes, (size_t)length);
    }
    return value;
}
static RuntimeValue *bytes_new(int64_t length) {
    RuntimeValue *value = create(BYTES, length);
    if (value) {
        memset(value->data, 0xee, sizeof value->data);
    }
    return value;
}
static bool has_data = true;
static uint8_t *bytes_data(const RuntimeValue *value) {
    return value->kind == BYTES && has_data ? (uint8_t *)(intptr_t)value->data : NULL;
}
static int64_t bytes_length(const RuntimeValue *value) {
    return value->kind == BYTES ? value->length : -1;
}
static const uint8_t *text_data(const RuntimeValue *value) {
    return value->kind == TEXT ? value->data : NULL;
}
static int64_t text_length(const RuntimeValue *value) {
    return value->kind == TEXT ? value->length : -1;
}
static RuntimeValue *pair_new(int64_t first, int64_t second) {
    RuntimeValue *value = create(PAIR, 0);
    if (value) {
        value->parts[0] = first;
        value->parts[1] = second;
    }
    return value;
}
static RuntimeValue *list_new(void) { return create(LIST, 0); }
static int64_t list_limit = 4;
static bool list_push(RuntimeValue *list, RuntimeValue *text) {
    CHECK(list->kind == LIST && text->kind == TEXT);
    if (list->length == list_limit) {
        return false;
    }
    list->texts[list->length++] = text;
    return true;
}
static void free_value(RuntimeValue *value) {
    for (int64_t i = 0; value->kind == LIST && i < value->length; i++) {
        free_value(value->texts[i]);
    }
    live--;
    free(value);
}

static void lists(bool has_lists) {
    const char *archive = "../tests/samples/library.lsm";
    uint64_t loader = smf_loader_open(NULL);
    RuntimeValue *names = smf_loader_archive_names(loader, archive);
    if (has_lists) {
        CHECK(names->kind == LIST && names->length == 3 && live == 4 && names->texts[2]->kind == TEXT);
        REFUSED(smf_list_length(names) == -1 && !smf_list_get(names, 0), SMF_ERROR_VALUE);
        CHECK(smf_value_free(names) && live == 0);
        list_limit = 2;
        REFUSED(!smf_loader_archive_names(loader, archive) && live == 0, SMF_ERROR_NO_MEMORY);
    } else {
        REFUSED(!smf_loader_archive_names(loader, archive) && live == 0, SMF_ERROR_UNSUPPORTED);
    }
    CHECK(smf_loader_close(loader));
}

int main(int count, char **arguments) {
    (void)arguments;
    /* Reading an invalid value does not select the built-in set. */
    CHECK(smf_bytes_length(NULL) == -1 && smf_bytes_data((RuntimeValue *)16) == NULL);
    SmfValueHooks hooks = {sizeof hooks,  text_new,    bytes_new, bytes_data, bytes_length,
                           text_data,     text_length, pair_new,  NULL,       list_new,
                           list_push};
    REFUSED(!smf_set_value_hooks(&hooks), SMF_ERROR_ARGUMENT);
    hooks.free = free_value;
    /* A program that was compiled with an older header has no lists. */
    bool has_lists = count == 1;
    if (!has_lists) {
        hooks.size = 72;
    }
    CHECK(smf_set_value_hooks(&hooks));
    REFUSED(!smf_set_value_hooks(&hooks), SMF_ERROR_STATE);

    const uint8_t seven[] = RETURNS(7);
    RuntimeValue *code = smf_bytes_new(seven, sizeof seven), *zeros = smf_bytes_new(NULL, 256);
    RuntimeValue *text = smf_text_new((const uint8_t *)"hi", 2), *pair = smf_pair_new(3, 4);
    CHECK(live == 4 && code->kind == BYTES && pair->parts[1] == 4 && zeros->data[255] == 0);
    CHECK(smf_bytes_data(code) == code->data && smf_bytes_length(code) == sizeof seven);
    CHECK(smf_text_data(text) == text->data && smf_text_length(text) == 2);
    REFUSED(smf_bytes_new(NULL, 257) == NULL, SMF_ERROR_NO_MEMORY);
    has_data = false;
    REFUSED(!smf_bytes_new(seven, sizeof seven) && live == 4, SMF_ERROR_VALUE);
    has_data = true;
    REFUSED(smf_text_length(code) == -1, SMF_ERROR_VALUE);
    REFUSED(smf_pair_first(pair) == 0, SMF_ERROR_VALUE);

    int64_t block = rt_alloc_exec_memory(6);
    CHECK(rt_write_exec_memory(block, code, 0) == 6 && rt_call_function_0(block) == 7);
    REFUSED(rt_write_exec_memory(block, text, 0) == -1, SMF_ERROR_VALUE);
    REFUSED(rt_write_exec_memory(block, pair, 0) == -1, SMF_ERROR_VALUE);
    REFUSED(rt_write_exec_memory(block, NULL, 0) == -1, SMF_ERROR_ARGUMENT);
    code->length = 0;
    CHECK(rt_write_exec_memory(block, code, 0) == 0 && rt_call_function_0(block) == 7);
    code->length = INT64_MIN;
    REFUSED(rt_write_exec_memory(block, code, 0) == -1, SMF_ERROR_VALUE);
    code->length = INT64_MAX;
    REFUSED(rt_write_exec_memory(block, code, 0) == -1, SMF_ERROR_OUT_OF_RANGE);
    CHECK(rt_free_exec_memory(block, 6));
    CHECK(smf_value_free(code) && smf_value_free(zeros) && smf_value_free(text) && smf_value_free(pair));
    CHECK(live == 0);
    lists(has_lists);
    puts("ok");
    return 0;
}
