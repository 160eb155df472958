/* smf_call, in a library with the feature `libffi`: every type as an argument and as a result, and structures. */
#define _GNU_SOURCE
#include "check.h"

struct pair { double a, b; };
struct mixed { int64_t whole; float part; };
struct three { float x, y, z; };
struct small { int8_t a; uint16_t b; };
struct one { char letter; };
struct large { int64_t a, b, c; };

static int64_t many(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h, float i, double j,
                    const char *k, bool l, float m, double n, float o, double p, float q, double r, float s, double t) {
    double floats = i + 2 * j + 3 * m + 4 * n + 5 * o + 6 * p + 7 * q + 8 * r + 9 * s + 10 * t;
    return a + b + c + d + e + f + g + (int64_t)h + (int64_t)floats + k[0] + l;
}
static double half(float x) { return x / 2; }
static float quarter(double x) { return (float)(x / 4); }
static int8_t lowest(void) { return INT8_MIN; }
static uint16_t highest(void) { return UINT16_MAX; }
static uint32_t unsigned_word(int32_t x) { return (uint32_t)x; }
static bool is_zero(int64_t x) { return x == 0; }
static const char *next(const char *text) { return text + 1; }
static void bump(int64_t *at) { ++*at; }
static struct pair swapped(struct pair p) { return (struct pair){p.b, p.a}; }
static struct mixed mix(float part, int64_t whole) { return (struct mixed){whole, part}; }
static struct three scaled(struct three v, float by) { return (struct three){v.x * by, v.y * by, v.z * by}; }
static struct small packed(int8_t a, uint16_t b) { return (struct small){a, b}; }
static struct one letter(char c) { return (struct one){c}; }
static struct large sums(struct large l, int64_t by) { return (struct large){l.a + by, l.b + by, l.c + by}; }

static int64_t block, used;

/* The address of code that jumps to a function. Each is at another place: emulators miss changes of code in memory that
 * is mapped twice. */
static int64_t at(void (*function)(void)) {
    uint8_t code[JUMP_SIZE];
    jump_to(code, ADDRESS(function));
    RuntimeValue *bytes = smf_bytes_new(code, sizeof code);
    CHECK(rt_write_exec_memory(block, bytes, used) == sizeof code && smf_value_free(bytes));
    used += 16;
    return block + used - 16;
}

#define AT(function) at((void (*)(void))(function))
#define CALL(function, signature, result, ...) CHECK(smf_call(AT(function), signature, (void *[]){__VA_ARGS__}, result))

static void scalars(void) {
    int8_t a = -1;
    uint8_t b = 255;
    int16_t c = -300;
    uint16_t d = 65535;
    int32_t e = -70000;
    uint32_t f = UINT32_MAX;
    int64_t g = INT64_MIN / 2;
    uint64_t h = 1ull << 62;
    float i = 1, m = 3, o = 5, q = 7, s = 9;
    double j = 2, n = 4, p = 6, r = 8, t = 10;
    const char *k = "k";
    bool l = true;
    int64_t result = 0;
    CALL(many, "int64_t(int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float, double, const char *, "
         "bool, float, double, float, double, float, double, float, double)", &result, &a, &b, &c, &d, &e, &f, &g, &h, &i, &j, &k,
         &l, &m, &n, &o, &p, &q, &r, &s, &t);
    CHECK(result == many(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t));
    /* Exactly the bytes of the result are written. */
    double halved[2] = {0, -1};
    CALL(half, "double(float)", halved, &m);
    CHECK(halved[0] == 1.5 && halved[1] == -1);
    float quartered[2] = {0, -1};
    CALL(quarter, "float(double)", quartered, &t);
    CHECK(quartered[0] == 2.5f && quartered[1] == -1);
    int8_t low[2] = {0, 7};
    CHECK(smf_call(AT(lowest), "signed char(void)", NULL, low) && low[0] == INT8_MIN && low[1] == 7);
    uint16_t high[2] = {0, 7};
    CHECK(smf_call(AT(highest), "unsigned short()", NULL, high) && high[0] == UINT16_MAX && high[1] == 7);
    uint32_t word[2] = {0, 7};
    CALL(unsigned_word, "uint32_t(int)", word, &e);
    CHECK(word[0] == (uint32_t)-70000 && word[1] == 7);
    bool truth[2] = {true, true};
    CALL(is_zero, "bool(int64_t)", truth, &g);
    CHECK(!truth[0] && truth[1]);
    const char *text = "text", *rest = NULL;
    CALL(next, "const char *(const char *)", &rest, &text);
    CHECK(rest == text + 1);
    int64_t count = 4, *pointer = &count;
    CALL(bump, "void(int64_t *)", NULL, &pointer);
    CALL(bump, "void(int64_t *)", &result, &pointer);
    CHECK(count == 6 && result == many(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t));
    /* A result that is not wanted. */
    CALL(half, "double(float)", NULL, &m);
}

static void structures(void) {
    struct pair p = {1, 2}, q = {0, 0};
    CALL(swapped, "{double, double}({double, double})", &q, &p);
    CHECK(q.a == 2 && q.b == 1);
    struct mixed m = {0, 0};
    float part = 0.5;
    int64_t whole = -7;
    CALL(mix, "struct {int64_t, float}(float, int64_t)", &m, &part, &whole);
    CHECK(m.whole == -7 && m.part == 0.5f);
    struct three v = {1, 2, 3};
    CALL(scaled, "{float, float, float}({float, float, float}, float)", &v, &v, &part);
    CHECK(v.x == 0.5f && v.y == 1 && v.z == 1.5f);
    struct small s = {0, 0};
    int8_t a = -5;
    uint16_t b = 40000;
    CALL(packed, "{int8_t, uint16_t}(int8_t, uint16_t)", &s, &a, &b);
    CHECK(s.a == -5 && s.b == 40000);
    struct one o = {0};
    char c = 'c';
    CALL(letter, "{char}(char)", &o, &c);
    CHECK(o.letter == 'c');
    struct large l = {1, 2, 3};
    CALL(sums, "{long, long, long}({long, long, long}, int64_t)", &l, &l, &whole);
    CHECK(l.a == -6 && l.b == -5 && l.c == -4);
}

/* Functions of modules, and traps. */
static void modules(const char *directory) {
    char path[512];
    snprintf(path, sizeof path, "%s/quotients.smf", directory);
    uint64_t loader = smf_loader_open(NULL);
    CHECK(smf_loader_load(loader, path) && smf_loader_load(loader, "../tests/samples/packed.smf"));
    int64_t quotient = smf_loader_resolve(loader, "quotient", NULL), add = smf_loader_resolve(loader, "add", NULL);
    int64_t a = 84, b = 2, zero = 0, result = 0;
    CHECK(smf_call(quotient, "int64_t(int64_t, int64_t)", (void *[]){&a, &b}, &result) && result == 42);
    CHECK(smf_call(add, "int64_t(int64_t, int64_t)", (void *[]){&a, &b}, &result) && result == 86);
    for (int i = 0; i < 3; i++) {
        REFUSED(!smf_call(quotient, "int64_t(int64_t, int64_t)", (void *[]){&a, &zero}, &result), SMF_ERROR_TRAP);
        CHECK(result == 86);
    }
    CHECK(smf_loader_close(loader));
    REFUSED(!smf_call(add, "int64_t(int64_t, int64_t)", (void *[]){&a, &b}, &result), SMF_ERROR_NOT_EXECUTABLE);
}

int main(int count, char **arguments) {
    block = rt_alloc_exec_memory(PAGE);
    scalars();
    structures();
    if (count == 2) {
        modules(arguments[1]);
    }
    REFUSED(!smf_call(block, "int(int", NULL, NULL), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_call(block, "int(int)", NULL, NULL), SMF_ERROR_ARGUMENT);
    CHECK(rt_free_exec_memory(block, PAGE));
    puts("ok");
    return 0;
}
