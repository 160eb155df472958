/* Execution managers: as the runtime calls them (rt_exec_manager_*, rt_jit_*), and with types (smf_exec_*). */
#define _GNU_SOURCE
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLES "../tests/samples/"
#define IS(text, expected) (strcmp((text), (expected)) == 0)
#define HAS(text, part) (strstr((text), (part)) != NULL)

static int64_t execute(int64_t manager, const char *name, int64_t a, int64_t b, int64_t count) {
    const int64_t arguments[] = {a, b};
    return rt_exec_manager_execute(manager, name, arguments, count);
}

/* What the runtime's specification of the facade does, with each back end. */
static void facade(const char *backend, const char *name) {
    int64_t manager = rt_exec_manager_create(backend);
    CHECK(manager > 0);
    CHECK(IS(rt_exec_manager_compile_source(manager, "fn add(x, y): x + y\n"), ""));
    CHECK(IS(rt_exec_manager_compile(manager, "fn sub(x, y): x - y"), ""));
    CHECK(IS(rt_exec_manager_compile_source(manager, "fn mul(x, y): x * y"), ""));
    CHECK(rt_exec_manager_has_function(manager, "mul") && !rt_exec_manager_has_function(manager, "div"));
    CHECK(IS(rt_exec_manager_backend_name(manager), name) && rt_exec_manager_is_valid(manager));
    CHECK(rt_exec_manager_get_opt_level(manager) == 2);
    for (int64_t level = 0; level < 4; level++) {
        CHECK(rt_exec_manager_set_opt_level(manager, level) && rt_exec_manager_get_opt_level(manager) == level);
        CHECK(IS(rt_exec_manager_compile_source(manager, "fn factorial(n): if n < 2: 1 else: n * factorial(n - 1)"), ""));
        CHECK(execute(manager, "factorial", 5, 0, 1) == 120);
    }
    REFUSED(!rt_exec_manager_set_opt_level(manager, 4) && !rt_exec_manager_set_opt_level(manager, -1), SMF_ERROR_ARGUMENT);
    CHECK(execute(manager, "add", 10, 32, 2) == 42 && execute(manager, "sub", 10, 32, 2) == -22);
    CHECK(execute(manager, "mul", 6, 7, 2) == 42);
    SmfValue names = rt_exec_manager_list_functions(manager);
    CHECK(smf_list_length(names) == 4);
    CHECK(!memcmp(smf_text_data(smf_list_get(names, 1)), "sub", 3) && smf_value_free(names));
    CHECK(rt_exec_manager_cleanup(manager) == 0 && !rt_exec_manager_is_valid(manager));
}

/* Every function with a handle that is none. */
static void invalid(int64_t manager) {
    const char *none = "Invalid execution manager";
    const int64_t one = 1;
    const char *text = "1";
    REFUSED(IS(rt_exec_manager_compile(manager, ""), none), SMF_ERROR_HANDLE);
    REFUSED(IS(rt_exec_manager_compile_source(manager, ""), none), SMF_ERROR_HANDLE);
    REFUSED(IS(rt_exec_manager_compile_mir(manager, ""), none), SMF_ERROR_HANDLE);
    REFUSED(IS(rt_exec_manager_compile_file(manager, ""), none), SMF_ERROR_HANDLE);
    REFUSED(rt_exec_manager_execute(manager, "f", &one, 1) == 0, SMF_ERROR_HANDLE);
    REFUSED(IS(rt_exec_manager_execute_string(manager, "f", &text, 1), ""), SMF_ERROR_HANDLE);
    REFUSED(!rt_exec_manager_execute_void(manager, "f"), SMF_ERROR_HANDLE);
    REFUSED(!rt_exec_manager_has_function(manager, "f"), SMF_ERROR_HANDLE);
    REFUSED(!rt_exec_manager_list_functions(manager), SMF_ERROR_HANDLE);
    REFUSED(IS(rt_exec_manager_backend_name(manager), "unknown"), SMF_ERROR_HANDLE);
    CHECK(!rt_exec_manager_is_valid(manager));
    REFUSED(!rt_exec_manager_set_opt_level(manager, 2), SMF_ERROR_HANDLE);
    REFUSED(rt_exec_manager_get_opt_level(manager) == -1, SMF_ERROR_HANDLE);
    CHECK(IS(rt_exec_manager_get_last_error(manager), none));
    rt_exec_manager_clear_error(manager);
    REFUSED(rt_exec_manager_cleanup(manager) == -1, SMF_ERROR_HANDLE);
    REFUSED(IS(rt_jit_compile_source(manager, ""), "invalid handle"), SMF_ERROR_HANDLE);
    REFUSED(rt_jit_call_i64(manager, "f", 1) == -1 && rt_jit_call_void(manager, "f") == -1, SMF_ERROR_HANDLE);
    REFUSED(rt_jit_call_i64_i64(manager, "f", 1, 2) == -1 && rt_jit_cleanup(manager) == -1, SMF_ERROR_HANDLE);
    REFUSED(!rt_jit_has_function(manager, "f") && IS(rt_jit_backend_name(manager), "unknown"), SMF_ERROR_HANDLE);
}

static void backends(void) {
    CHECK(IS(rt_get_jit_backend(), "auto"));
    CHECK(rt_set_jit_backend("native") && IS(rt_get_jit_backend(), "native"));
    REFUSED(!rt_set_jit_backend("llvm"), SMF_ERROR_UNSUPPORTED);
    CHECK(HAS(smf_last_error().text, "needs the feature `llvm`"));
    REFUSED(!rt_set_jit_backend("gcc") && !rt_set_jit_backend(""), SMF_ERROR_ARGUMENT);
    REFUSED(!rt_set_jit_backend(NULL), SMF_ERROR_ARGUMENT);
    CHECK(IS(rt_get_jit_backend(), "native") && rt_set_jit_backend("auto"));
    REFUSED(rt_exec_manager_create("llvm") == 0, SMF_ERROR_UNSUPPORTED);
    REFUSED(rt_exec_manager_create("gcc") == 0 && rt_exec_manager_create(NULL) == 0, SMF_ERROR_ARGUMENT);
    facade("auto", "native");
    facade("", "native");
    facade("native", "native");
    if (rt_set_jit_backend("cranelift")) {
        facade("cranelift", "cranelift");
        facade("auto", "cranelift");
        CHECK(rt_set_jit_backend("auto"));
    } else {
        REFUSED(rt_exec_manager_create("cranelift") == 0, SMF_ERROR_UNSUPPORTED);
    }
}

/* The last error is that of the thread and the manager. */
static void *other_thread(void *manager) {
    CHECK(IS(rt_exec_manager_get_last_error((int64_t)manager), ""));
    return NULL;
}

static void errors(void) {
    int64_t manager = rt_exec_manager_create("auto"), other = rt_exec_manager_create("auto");
    CHECK(IS(rt_exec_manager_get_last_error(manager), ""));
    const char *said = rt_exec_manager_compile_source(manager, "fn f(x): y\n");
    CHECK(HAS(said, "source:1:10: error[E1301]: name `y` not found"));
    CHECK(smf_last_error().code == SMF_ERROR_COMPILE);
    CHECK(HAS(rt_exec_manager_get_last_error(manager), "name `y`") && IS(rt_exec_manager_get_last_error(other), ""));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, (void *)manager) == 0 && pthread_join(thread, NULL) == 0);
    rt_exec_manager_clear_error(manager);
    CHECK(IS(rt_exec_manager_get_last_error(manager), ""));
    CHECK(!rt_exec_manager_has_function(manager, "f"));

    CHECK(IS(rt_exec_manager_compile_source(manager, "fn half(x): 100 / x\nfn pi() -> f64: 3.5\n"), ""));
    REFUSED(execute(manager, "absent", 0, 0, 0) == 0, SMF_ERROR_NOT_FOUND);
    CHECK(IS(rt_exec_manager_get_last_error(manager), "no function `absent`"));
    REFUSED(execute(manager, "half", 1, 2, 2) == 0, SMF_ERROR_ARGUMENT);
    CHECK(IS(rt_exec_manager_get_last_error(manager), "function `half` takes 1 argument, and 2 are given"));
    REFUSED(execute(manager, "half", 0, 0, 1) == 0, SMF_ERROR_TRAP);
    CHECK(IS(rt_exec_manager_get_last_error(manager), "division by zero, at 1 in function `half`"));
    REFUSED(!rt_exec_manager_execute_void(manager, "half"), SMF_ERROR_ARGUMENT);
    REFUSED(execute(manager, "pi", 0, 0, 0) == 0, SMF_ERROR_ARGUMENT);
    REFUSED(rt_exec_manager_execute(manager, "half", NULL, 1) == 0, SMF_ERROR_ARGUMENT);
    REFUSED(rt_exec_manager_execute(manager, "half", NULL, -1) == 0, SMF_ERROR_ARGUMENT);
    REFUSED(rt_exec_manager_execute(manager, NULL, NULL, 0) == 0, SMF_ERROR_ARGUMENT);
    CHECK(IS(rt_exec_manager_get_last_error(manager), "the name of the function is null"));
    REFUSED(HAS(rt_exec_manager_compile_source(manager, NULL), "null"), SMF_ERROR_ARGUMENT);
    REFUSED(HAS(rt_exec_manager_compile_mir(manager, "function f("), "line 1"), SMF_ERROR_COMPILE);
    REFUSED(HAS(rt_exec_manager_compile_file(manager, "/absent.spl"), "/absent.spl"), SMF_ERROR_FILE);
    REFUSED(HAS(rt_exec_manager_compile_file(manager, "/absent.smf"), "/absent.smf"), SMF_ERROR_FILE);
    /* A success that returns 0 is no failure. */
    CHECK(IS(rt_exec_manager_compile_source(manager, "fn zero(): 0"), "") && execute(manager, "zero", 0, 0, 0) == 0);
    CHECK(IS(rt_exec_manager_get_last_error(manager), ""));
    CHECK(rt_exec_manager_cleanup(manager) == 0 && rt_exec_manager_cleanup(other) == 0);
    invalid(manager);
    invalid(0);
    invalid(-1);
    invalid(INT64_MAX);
}

static void texts(void) {
    int64_t manager = rt_exec_manager_create("auto"), other = rt_exec_manager_create("auto");
    const char *source = "fn pick(first: bool, a: text, b: text) -> text:\n    if first: a else: b\n"
                         "fn greeting() -> text: \"hello\"\nfn half(x: f64) -> f64: x / 2.0\nfn nothing():\n    pass\n";
    CHECK(IS(rt_exec_manager_compile_source(manager, source), ""));
    CHECK(IS(rt_exec_manager_compile_source(other, "fn name() -> text: \"other\""), ""));
    const char *arguments[] = {"true", "yes", "no"};
    const char *kept = rt_exec_manager_execute_string(other, "name", NULL, 0);
    CHECK(IS(rt_exec_manager_execute_string(manager, "pick", arguments, 3), "yes"));
    arguments[0] = "false";
    CHECK(IS(rt_exec_manager_execute_string(manager, "pick", arguments, 3), "no"));
    CHECK(IS(rt_exec_manager_execute_string(manager, "greeting", NULL, 0), "hello"));
    const char *number = "3";
    CHECK(IS(rt_exec_manager_execute_string(manager, "half", &number, 1), "1.5"));
    CHECK(IS(rt_exec_manager_execute_string(manager, "nothing", NULL, 0), ""));
    CHECK(IS(rt_exec_manager_get_last_error(manager), "") && rt_exec_manager_execute_void(manager, "nothing"));
    REFUSED(IS(rt_exec_manager_execute_string(manager, "pick", NULL, 0), ""), SMF_ERROR_ARGUMENT);
    CHECK(HAS(rt_exec_manager_get_last_error(manager), "takes 3 arguments"));
    arguments[1] = NULL;
    REFUSED(IS(rt_exec_manager_execute_string(manager, "pick", arguments, 3), ""), SMF_ERROR_ARGUMENT);
    REFUSED(execute(manager, "greeting", 0, 0, 0) == 0 && execute(manager, "pick", 1, 2, 2) == 0, SMF_ERROR_ARGUMENT);
    CHECK(IS(rt_exec_manager_get_last_error(manager), "parameter `a` of function `pick` is a text, so that the function is called with texts only "
                                                          "(`call_text`, `rt_exec_manager_execute_string`)"));
    SmfExecValue result;
    REFUSED(!smf_exec_call((uint64_t)manager, "greeting", NULL, 0, &result), SMF_ERROR_ARGUMENT);
    CHECK(HAS(smf_last_error().text, "function `greeting` returns a text, "));
    REFUSED(!smf_exec_call((uint64_t)manager, "half", NULL, 1, &result), SMF_ERROR_ARGUMENT);
    CHECK(IS(smf_last_error().text, "the list of arguments is null"));
    /* A text of C has no NUL but its last. */
    CHECK(IS(rt_exec_manager_compile_source(manager, "fn nul() -> text: \"x\\0y\"\n"), ""));
    REFUSED(IS(rt_exec_manager_execute_string(manager, "nul", NULL, 0), ""), SMF_ERROR_UNSUPPORTED);
    CHECK(HAS(rt_exec_manager_get_last_error(manager), "the text that function `nul` returns contains a NUL"));
    REFUSED(IS(rt_exec_manager_execute_string(manager, "pick", NULL, 0), ""), SMF_ERROR_ARGUMENT);
    CHECK(HAS(rt_exec_manager_get_last_error(manager), "takes 3 arguments"));
    /* The text of another manager is unchanged. */
    CHECK(IS(kept, "other"));
    CHECK(rt_exec_manager_cleanup(manager) == 0 && rt_exec_manager_cleanup(other) == 0);
}

static void files(const char *directory) {
    char path[512];
    int64_t manager = rt_exec_manager_create("auto");
    const char *ir = "function seven() -> i64\nlocal a: i64\nconst i64 a, 7\nreturn i64 a\nend\n";
    CHECK(IS(rt_exec_manager_compile_mir(manager, ir), "") && execute(manager, "seven", 0, 0, 0) == 7);
    snprintf(path, sizeof path, "%s/program.spl", directory);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs("fn eight(): seven() + 1\n", file) >= 0 && fclose(file) == 0);
    CHECK(IS(rt_exec_manager_compile_file(manager, path), "") && execute(manager, "eight", 0, 0, 0) == 8);
    CHECK(IS(rt_exec_manager_compile_file(manager, SAMPLES "bcod.smf"), ""));
    CHECK(rt_exec_manager_has_function(manager, "sum") && execute(manager, "sum", 10, 0, 1) == 55);
    REFUSED(!smf_exec_find((uint64_t)manager, "sum"), SMF_ERROR_UNSUPPORTED);
    /* Functions of bytecode take as many arguments as they have parameters, and trap as others do. */
    snprintf(path, sizeof path, "%s/quotients.smf", directory);
    CHECK(IS(rt_exec_manager_compile_file(manager, path), "") && execute(manager, "quotient", 84, 2, 2) == 42);
    SmfExecValue values[] = {{SMF_TYPE_I64, 0, 84}, {SMF_TYPE_I64, 0, 0}, {SMF_TYPE_I64, 0, 0}}, result;
    REFUSED(!smf_exec_call((uint64_t)manager, "quotient", values, 2, &result), SMF_ERROR_TRAP);
    CHECK(HAS(smf_last_error().text, "division by zero"));
    REFUSED(!smf_exec_call((uint64_t)manager, "quotient", values, 3, &result), SMF_ERROR_ARGUMENT);
    CHECK(HAS(smf_last_error().text, "takes 2 arguments"));
    REFUSED(!smf_exec_call((uint64_t)manager, "quotient", values, 1, &result), SMF_ERROR_ARGUMENT);
    const char *calls = "extern fn sum(n: i64) -> i64\nextern fn getpid() -> i32\n"
                        "fn more(n: i64) -> i64: sum(n) + 1\nfn pid() -> i32: getpid()\n";
    CHECK(IS(rt_exec_manager_compile_source(manager, calls), ""));
    CHECK(execute(manager, "more", 4, 0, 1) == 11 && execute(manager, "pid", 0, 0, 0) == getpid());
    CHECK(rt_exec_manager_cleanup(manager) == 0);
}

static void jits(void) {
    int64_t jit = rt_jit_create();
    CHECK(jit > 0 && IS(rt_jit_backend_name(jit), "native"));
    CHECK(IS(rt_jit_compile_source(jit, "fn one(): 1\nfn twice(x): 2 * x\nfn add(x, y): x + y\n"), ""));
    CHECK(rt_jit_call_void(jit, "one") == 1 && rt_jit_call_i64(jit, "twice", 21) == 42);
    CHECK(rt_jit_call_i64_i64(jit, "add", 40, 2) == 42);
    CHECK(rt_jit_has_function(jit, "add") && !rt_jit_has_function(jit, "absent"));
    CHECK(HAS(rt_jit_compile_source(jit, "fn f(:\n"), "parse: source:1:"));
    CHECK(HAS(rt_jit_compile_source(jit, "fn f(): x\n"), "hir: source:1:"));
    CHECK(HAS(rt_jit_compile_source(jit, "extern fn absent_symbol()\nfn f(): absent_symbol()\n"), "codegen: "));
    REFUSED(rt_jit_call_void(jit, "absent") == -1 && rt_jit_call_i64(jit, "one", 1) == -1, smf_last_error().code);
    REFUSED(rt_jit_call_i64_i64(jit, "twice", 1, 2) == -1, SMF_ERROR_ARGUMENT);
    CHECK(rt_jit_cleanup(jit) == 0 && rt_jit_cleanup(jit) == -1);
    jit = rt_jit_create_for_target("host");
    CHECK(jit > 0 && rt_jit_cleanup(jit) == 0);
    int ours = 0;
    const char *targets[] = {"x86_64", "x86_32", "x86", "i686", "aarch64", "arm64", "arm32", "arm",
                             "armv7", "riscv64", "rv64", "riscv32", "rv32"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        jit = rt_jit_create_for_target(targets[i]);
        CHECK(jit > 0 || jit == -1);
        if (jit > 0) {
            ours++;
            CHECK(rt_jit_cleanup(jit) == 0);
        }
    }
    CHECK(ours > 0 && ours < 3);
    REFUSED(rt_jit_create_for_target("vax") == -2, SMF_ERROR_ARGUMENT);
    REFUSED(rt_jit_create_for_target(NULL) == -1, SMF_ERROR_ARGUMENT);
}

static SmfExecValue integer(int64_t kind, int64_t value) { return (SmfExecValue){kind, value, 0}; }
static SmfExecValue number(int64_t kind, double value) { return (SmfExecValue){kind, 0, value}; }

static bool compile(uint64_t manager, const char *source) {
    return smf_exec_compile(manager, "test.spl", source, (int64_t)strlen(source));
}

/* Arguments and results of every type. */
static void typed(const char *backend) {
    SmfExecOptions options = {.size = sizeof options, .backend = backend, .level = 3};
    uint64_t manager = smf_exec_open(&options);
    CHECK(manager && smf_exec_backend(manager));
    CHECK(compile(manager,
                  "fn scaled(a: f64, b: f32, c: i8, d: u16, e: bool, f: i64) -> f64:\n"
                  "    val sign = if e: 1.0 else: -1.0\n"
                  "    sign * (a + (b as f64) + (c as f64) + (d as f64) + (f as f64))\n"
                  "fn largest() -> u64: 18446744073709551615\n"
                  "fn is_less(a: f32, b: f32) -> bool: a < b\n"
                  "fn narrow(a: i8, b: i8) -> i8: a + b\n"
                  "fn nothing(a: i64):\n    pass\n"));
    SmfExecValue arguments[] = {number(SMF_TYPE_F64, 0.5),  number(SMF_TYPE_F32, 0.25), integer(SMF_TYPE_I8, -3),
                                integer(SMF_TYPE_U16, 65535), integer(SMF_TYPE_BOOL, 0),  integer(SMF_TYPE_I64, 10)};
    SmfExecValue result = integer(77, 77);
    CHECK(smf_exec_call(manager, "scaled", arguments, 6, &result));
    CHECK(result.kind == SMF_TYPE_F64 && result.number == -65542.75 && result.integer == 0);
    arguments[4].integer = 1;
    CHECK(smf_exec_call(manager, "scaled", arguments, 6, &result) && result.number == 65542.75);
    CHECK(smf_exec_call(manager, "scaled", arguments, 6, NULL));
    CHECK(smf_exec_call(manager, "largest", NULL, 0, &result) && result.kind == SMF_TYPE_U64 && result.integer == -1);
    SmfExecValue floats[] = {number(SMF_TYPE_F32, 1), number(SMF_TYPE_F32, 2)};
    CHECK(smf_exec_call(manager, "is_less", floats, 2, &result) && result.kind == SMF_TYPE_BOOL && result.integer == 1);
    floats[1].number = NAN;
    CHECK(smf_exec_call(manager, "is_less", floats, 2, &result) && result.integer == 0);
    SmfExecValue bytes[] = {integer(SMF_TYPE_I8, 127), integer(SMF_TYPE_I8, 1)};
    CHECK(smf_exec_call(manager, "narrow", bytes, 2, &result) && result.kind == SMF_TYPE_I8 && result.integer == -128);
    CHECK(smf_exec_call(manager, "nothing", &arguments[5], 1, &result) && result.kind == SMF_TYPE_NONE);

    /* Errors leave the result unchanged. */
    result = integer(77, 77);
    bytes[1].integer = 128;
    REFUSED(!smf_exec_call(manager, "narrow", bytes, 2, &result), SMF_ERROR_ARGUMENT);
    CHECK(HAS(smf_last_error().text, "argument 2: 128 is no value of type i8"));
    REFUSED(!smf_exec_call(manager, "narrow", floats, 2, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_call(manager, "narrow", bytes, 1, &result), SMF_ERROR_ARGUMENT);
    bytes[1].kind = 13;
    REFUSED(!smf_exec_call(manager, "narrow", bytes, 2, &result), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_exec_call(manager, "absent", NULL, 0, &result), SMF_ERROR_NOT_FOUND);
    REFUSED(!smf_exec_call(manager, NULL, NULL, 0, &result), SMF_ERROR_ARGUMENT);
    CHECK(result.kind == 77 && result.integer == 77);

    /* More arguments than registers, and than the stack of the library holds. */
    char source[4096] = "fn many(p0: i64", *end = source + strlen(source);
    for (int i = 1; i < 20; i++) {
        end += sprintf(end, ", p%d: i64", i);
    }
    end += sprintf(end, ") -> i64: p0");
    for (int i = 1; i < 20; i++) {
        end += sprintf(end, " + p%d * %d", i, i + 1);
    }
    SmfExecValue all[20];
    int64_t expected = 0;
    for (int i = 0; i < 20; i++) {
        all[i] = integer(SMF_TYPE_I64, i + 100);
        expected += (i + 100) * (i + 1);
    }
    CHECK(compile(manager, source) && smf_exec_call(manager, "many", all, 20, &result) && result.integer == expected);

    /* By handle, and what a function is. */
    uint64_t scaled = smf_exec_find(manager, "scaled");
    CHECK(scaled && smf_exec_find(manager, "scaled") == scaled);
    SmfExecFunction types = {.size = sizeof types};
    CHECK(smf_exec_function(manager, scaled, &types) && types.parameters == 6 && types.result == SMF_TYPE_F64 && types.address);
    CHECK(smf_exec_parameter(manager, scaled, 1) == SMF_TYPE_F32 && smf_exec_parameter(manager, scaled, 4) == SMF_TYPE_BOOL);
    REFUSED(!smf_exec_parameter(manager, scaled, 6) && !smf_exec_parameter(manager, scaled, -1), SMF_ERROR_ARGUMENT);
    CHECK(smf_exec_call_function(manager, scaled, arguments, 6, &result) && result.number == 65542.75);
    REFUSED(!smf_exec_call_function(manager, 99, arguments, 6, &result), SMF_ERROR_HANDLE);
    REFUSED(!smf_exec_find(manager, "absent"), SMF_ERROR_NOT_FOUND);
    SmfValue names = smf_exec_function_names(manager);
    CHECK(smf_list_length(names) == 6 && smf_value_free(names));
    CHECK(smf_exec_close(manager));
    REFUSED(!smf_exec_close(manager), SMF_ERROR_HANDLE);
}

/* A new version is reached by name, by handle and by earlier callers; another signature is not. */
static void replacement(void) {
    uint64_t manager = smf_exec_open(NULL);
    SmfExecValue result;
    CHECK(compile(manager, "fn f(): 1\n") && compile(manager, "fn g(): f() * 10\n"));
    uint64_t f = smf_exec_find(manager, "f");
    CHECK(smf_exec_call(manager, "g", NULL, 0, &result) && result.integer == 10);
    CHECK(compile(manager, "fn f(): 2\n"));
    CHECK(smf_exec_call_function(manager, f, NULL, 0, &result) && result.integer == 2);
    CHECK(smf_exec_call(manager, "g", NULL, 0, &result) && result.integer == 20);
    /* Frees replaced code. */
    CHECK(!compile(manager, "fn f(x): x\n") && smf_last_error().code == SMF_ERROR_COMPILE);
    CHECK(compile(manager, "fn h(): 1\n"));
    uint64_t h = smf_exec_find(manager, "h");
    CHECK(compile(manager, "fn h(x): x\n"));
    REFUSED(!smf_exec_call_function(manager, h, NULL, 0, &result), SMF_ERROR_STATE);
    uint64_t again = smf_exec_find(manager, "h");
    SmfExecValue seven = integer(SMF_TYPE_I64, 7);
    CHECK(again != h && smf_exec_call_function(manager, again, &seven, 1, &result) && result.integer == 7);
    for (int i = 0; i < 1000; i++) {
        char source[64];
        sprintf(source, "fn f(): %d\n", i);
        CHECK(compile(manager, source) && smf_exec_call(manager, "g", NULL, 0, &result) && result.integer == i * 10);
    }
    /* Replaced code is freed. */
    SmfExecStatistics statistics = {.size = sizeof statistics};
    CHECK(smf_exec_statistics(manager, &statistics));
    CHECK(statistics.functions == 3 && statistics.units < 6 && statistics.code_bytes < 4096);
    CHECK(smf_exec_close(manager));
}

static void diagnostics(void) {
    uint64_t manager = smf_exec_open(NULL);
    CHECK(smf_exec_diagnostics(manager) == 0);
    REFUSED(!compile(manager, "fn a(): 1\nfn b(): cout\nfn c(): a(1)\n"), SMF_ERROR_COMPILE);
    CHECK(smf_exec_diagnostics(manager) == 2);
    SmfExecDiagnostic first = {.size = sizeof first}, second = first;
    CHECK(smf_exec_diagnostic(manager, 0, &first) && smf_exec_diagnostic(manager, 1, &second));
    CHECK(IS(first.code, "E1301") && IS(first.message, "name `cout` not found") && IS(first.file, "test.spl"));
    CHECK(first.severity == SMF_SEVERITY_ERROR && first.line == 2 && first.column == 9 && first.length == 4);
    CHECK(IS(first.source_line, "fn b(): cout") && second.line == 3 && second.note);
    REFUSED(!smf_exec_diagnostic(manager, 2, &first) && !smf_exec_diagnostic(manager, -1, &first), SMF_ERROR_ARGUMENT);
    const char *ir = "function f() -> i64\nlocal a: i64\nnothing\nend\n";
    REFUSED(!smf_exec_compile_ir(manager, (const uint8_t *)ir, (int64_t)strlen(ir)), SMF_ERROR_COMPILE);
    CHECK(smf_exec_diagnostics(manager) == 1 && smf_exec_diagnostic(manager, 0, &first) && first.line == 3);
    CHECK(compile(manager, "fn a(): 1\n") && smf_exec_diagnostics(manager) == 0);
    REFUSED(smf_exec_diagnostics(0) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_exec_compile(manager, "x", "\xff", 1), SMF_ERROR_COMPILE);
    REFUSED(!smf_exec_compile(manager, "x", NULL, 1) && !smf_exec_compile(manager, "x", "", -1), SMF_ERROR_ARGUMENT);
    CHECK(strstr(smf_last_error().text, "the length of the source is negative (-1)"));
    REFUSED(!smf_exec_compile(manager, "", "fn b(): 1\n", 10), SMF_ERROR_ARGUMENT);
    CHECK(strstr(smf_last_error().text, "the name is empty"));
    /* The numbers are those of a loader. */
    REFUSED(!smf_exec_compile_file(manager, SAMPLES "app.smf"), SMF_ERROR_MISSING);
    CHECK(smf_exec_compile_file(manager, SAMPLES "packed.smf"));
    REFUSED(!smf_exec_compile_file(manager, SAMPLES "packed.smf"), SMF_ERROR_NAME_TAKEN);
    CHECK(smf_exec_close(manager));
}

static _Thread_local char ir_text[256];

/* IR that is none: text of each kind, invalid IR, and calls of what does not exist. */
static const char *const GARBAGE[] = {
    "function f(\nlocal", "\xff\xfe", "template f<T>(a: T) -> T\n return T a\nend\n", "fn main(): 1\n",
    "function f() -> i64\nlocal a: f64\nreturn i64 a\nend\n", "function f() -> i64\nlocal a: i64\nconst i64 a, 1\nend\n",
    "function f() -> i64\nlocal a: i64\ncall_host a = absent_function()\nreturn i64 a\nend\n",
};

static const char *garbage(const char *name, const char *source, int64_t length, const char **error, void *user) {
    CHECK(name && length == 1 && error && !user);
    return GARBAGE[*source - '0'];
}

/* A language of numbers. */
static const char *numbers(const char *name, const char *source, int64_t length, const char **error, void *user) {
    CHECK(name && (int64_t)strlen(source) == length && user == (void *)42);
    char *end;
    long value = strtol(source, &end, 10);
    if (end == source) {
        *error = *source ? "no number" : NULL;
        return NULL;
    }
    snprintf(ir_text, sizeof ir_text, "function main() -> i64\nlocal a: i64\nconst i64 a, %ld\nreturn i64 a\nend\n", value);
    return ir_text;
}

/* Fails with an empty error. */
static const char *no_reason(const char *name, const char *source, int64_t length, const char **error, void *user) {
    (void)name, (void)source, (void)length, (void)user;
    *error = "";
    return NULL;
}

static void front_ends(void) {
    uint64_t manager = smf_exec_open(NULL);
    SmfExecValue result;
    CHECK(smf_exec_set_frontend(manager, numbers, (void *)42));
    CHECK(compile(manager, "42") && smf_exec_call(manager, "main", NULL, 0, &result) && result.integer == 42);
    REFUSED(!compile(manager, "x"), SMF_ERROR_COMPILE);
    CHECK(IS(smf_last_error().text, "no number") && smf_exec_diagnostics(manager) == 1);
    REFUSED(!compile(manager, ""), SMF_ERROR_COMPILE);
    CHECK(smf_exec_set_frontend(manager, garbage, NULL));
    for (size_t i = 0; i < sizeof GARBAGE / sizeof *GARBAGE; i++) {
        const char source[] = {(char)('0' + i), 0};
        REFUSED(!compile(manager, source), SMF_ERROR_COMPILE);
        CHECK(smf_exec_diagnostics(manager) == 1);
        CHECK(smf_exec_call(manager, "main", NULL, 0, &result) && result.integer == 42);
    }
    CHECK(smf_exec_set_frontend(manager, no_reason, NULL));
    REFUSED(!compile(manager, "42"), SMF_ERROR_COMPILE);
    CHECK(strstr(rt_exec_manager_compile_source((int64_t)manager, "42"), "without a reason"));
    CHECK(smf_exec_set_frontend(manager, NULL, NULL) && compile(manager, "fn main(): 7"));
    CHECK(smf_exec_set_frontend(0, numbers, (void *)42));
    int64_t later = rt_exec_manager_create("auto");
    CHECK(smf_exec_set_frontend(0, NULL, NULL));
    CHECK(IS(rt_exec_manager_compile_source(later, "43"), "") && execute(later, "main", 0, 0, 0) == 43);
    REFUSED(!smf_exec_set_frontend(99, numbers, NULL), SMF_ERROR_HANDLE);
    CHECK(smf_exec_close((uint64_t)later) && smf_exec_close(manager));
}

enum { THREADS = 8, ROUNDS = 200 };
static uint64_t shared;

/* Texts and errors of a manager belong to the thread; managers of threads are independent. */
static void *own_texts(void *number_) {
    int64_t number = (int64_t)(intptr_t)number_, manager = (int64_t)shared;
    char source[128], name[16], expected[32];
    sprintf(name, "text%d", (int)number);
    for (int i = 0; i < ROUNDS; i++) {
        sprintf(expected, "%d-%d", (int)number, i);
        sprintf(source, "fn %s() -> text: \"%s\"\n", name, expected);
        CHECK(IS(rt_exec_manager_compile_source(manager, source), ""));
        const char *returned = rt_exec_manager_execute_string(manager, name, NULL, 0);
        CHECK(IS(returned, expected));
        int64_t own = rt_exec_manager_create("auto");
        CHECK(own && HAS(rt_exec_manager_compile_source(own, "fn f(:\n"), "source:1:"));
        CHECK(IS(returned, expected) && IS(rt_exec_manager_get_last_error(manager), ""));
        CHECK(HAS(rt_exec_manager_get_last_error(own), "source:1:") && rt_exec_manager_cleanup(own) == 0);
    }
    return NULL;
}

static void many_managers(void) {
    shared = smf_exec_open(NULL);
    pthread_t all[THREADS];
    for (intptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&all[i], NULL, own_texts, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(all[i], NULL) == 0);
    }
    CHECK(smf_exec_close(shared));
}

static volatile bool stop;

/* Calls while another thread replaces; compiles a function of its own. */
static void *call_and_compile(void *number_) {
    char source[64], name[16];
    sprintf(name, "own%d", (int)(intptr_t)number_);
    SmfExecValue result;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(smf_exec_call(shared, "g", NULL, 0, &result) && result.integer % 10 == 0);
        sprintf(source, "fn %s(): %d\n", name, i);
        CHECK(compile(shared, source) && smf_exec_call(shared, name, NULL, 0, &result) && result.integer == i);
        CHECK(!compile(shared, "fn broken(): x\n") && smf_exec_diagnostics(shared) == 1);
    }
    return NULL;
}

static void *replace(void *unused) {
    char source[64];
    for (int i = 0; !stop; i++) {
        sprintf(source, "fn f(): %d\n", i);
        CHECK(compile(shared, source));
    }
    return unused;
}

static void threads(const char *backend) {
    SmfExecOptions options = {.size = sizeof options, .backend = backend};
    shared = smf_exec_open(&options);
    CHECK(compile(shared, "fn f(): 0\n") && compile(shared, "fn g(): f() * 10\n"));
    pthread_t replacing, calling[THREADS];
    stop = false;
    CHECK(pthread_create(&replacing, NULL, replace, NULL) == 0);
    for (intptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&calling[i], NULL, call_and_compile, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(calling[i], NULL) == 0);
    }
    stop = true;
    CHECK(pthread_join(replacing, NULL) == 0 && smf_exec_close(shared));
}

static uint64_t running;
static int64_t close_running(void) { return !smf_exec_close(running) && smf_last_error().code == SMF_ERROR_IN_USE; }

/* A manager cannot be closed by a function of its own. */
static void in_use(void) {
    const SmfHostSymbol symbol = {"close_running", ADDRESS(close_running)};
    const SmfSymbolTable table = {sizeof table, &symbol, 1};
    CHECK(smf_register_symbols(&table));
    running = smf_exec_open(NULL);
    SmfExecValue result;
    CHECK(compile(running, "extern fn close_running() -> i64\nfn f() -> i64: close_running()\n"));
    CHECK(smf_exec_call(running, "f", NULL, 0, &result) && result.integer == 1 && smf_exec_close(running));
    const char *name = "close_running";
    CHECK(smf_unregister_symbols(&name, 1));
    /* Without the flag, names of the process are undefined. */
    uint64_t manager = smf_exec_open(NULL);
    REFUSED(!compile(manager, "extern fn getpid() -> i32\nfn f() -> i32: getpid()\n"), SMF_ERROR_COMPILE);
    CHECK(smf_exec_close(manager));
}

static volatile bool is_inside, may_return;
static int64_t wait_inside(void) {
    is_inside = true;
    while (!may_return) {
        usleep(100);
    }
    return 1;
}

static void *call_waiting(void *manager) {
    SmfExecValue result;
    CHECK(smf_exec_call((uint64_t)manager, "wait", NULL, 0, &result) && result.integer == 1);
    return NULL;
}

/* In a child, a manager that no thread was using calls what was compiled; one in use is refused. */
static void forks(void) {
    const SmfHostSymbol symbol = {"wait_inside", ADDRESS(wait_inside)};
    const SmfSymbolTable table = {sizeof table, &symbol, 1};
    CHECK(smf_register_symbols(&table));
    uint64_t idle = smf_exec_open(NULL), busy = smf_exec_open(NULL);
    CHECK(compile(idle, "fn one(): 1\n"));
    CHECK(compile(busy, "extern fn wait_inside() -> i64\nfn wait() -> i64: wait_inside()\n"));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, call_waiting, (void *)busy) == 0);
    while (!is_inside) {
        usleep(100);
    }
    pid_t child = fork();
    if (child == 0) {
        SmfExecValue result;
        CHECK(smf_exec_call(idle, "one", NULL, 0, &result) && result.integer == 1);
        CHECK(!compile(idle, "fn two(): 2\n") && smf_last_error().code == SMF_ERROR_FORKED);
        CHECK(smf_exec_call(idle, "one", NULL, 0, &result) && result.integer == 1);
        CHECK(!smf_exec_call(busy, "wait", NULL, 0, &result) && smf_last_error().code == SMF_ERROR_FORKED);
        CHECK(!smf_exec_close(busy) && smf_last_error().code == SMF_ERROR_FORKED);
        uint64_t own = smf_exec_open(NULL);
        CHECK(own && compile(own, "fn three(): 3\n") && smf_exec_call(own, "three", NULL, 0, &result));
        CHECK(result.integer == 3 && smf_exec_close(own));
        _exit(0);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    may_return = true;
    CHECK(pthread_join(thread, NULL) == 0 && compile(idle, "fn two(): 2\n"));
    CHECK(smf_exec_close(idle) && smf_exec_close(busy));
    const char *name = "wait_inside";
    CHECK(smf_unregister_symbols(&name, 1));
}

static void limits(void) {
    uint64_t managers[64];
    for (int i = 0; i < 64; i++) {
        managers[i] = smf_exec_open(NULL);
        CHECK(managers[i]);
    }
    REFUSED(!smf_exec_open(NULL), SMF_ERROR_FULL);
    for (int i = 0; i < 64; i++) {
        CHECK(smf_exec_close(managers[i]));
    }
    SmfExecOptions options = {.size = sizeof options, .max_code_bytes = 300};
    uint64_t manager = smf_exec_open(&options);
    bool compiled = true;
    for (int i = 0; compiled && i < 100; i++) {
        char source[64];
        sprintf(source, "fn f%d(x): x * %d\n", i, i);
        compiled = compile(manager, source);
    }
    CHECK(!compiled && smf_last_error().code == SMF_ERROR_CEILING && smf_exec_close(manager));
    const SmfExecOptions wrong[] = {
        {.size = 8}, {.size = sizeof options, .level = 4}, {.size = sizeof options, .level = -1},
        {.size = sizeof options, .flags = 2}, {.size = sizeof options, .max_code_bytes = -1},
        {.size = sizeof options, .backend = "gcc"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        REFUSED(!smf_exec_open(&wrong[i]), SMF_ERROR_ARGUMENT);
    }
    options.backend = "llvm";
    REFUSED(!smf_exec_open(&options), SMF_ERROR_UNSUPPORTED);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    backends();
    errors();
    texts();
    files(arguments[1]);
    jits();
    bool has_cranelift = rt_set_jit_backend("cranelift") && rt_set_jit_backend("auto");
    typed("native");
    replacement();
    diagnostics();
    front_ends();
    threads("native");
    if (has_cranelift) {
        typed("cranelift");
        threads("cranelift");
    }
    many_managers();
    in_use();
    forks();
    limits();
    CHECK(rt_exec_memory_count() == 0);
    watch();
    puts("ok");
    return 0;
}
