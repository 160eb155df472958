// Calls the other programs, for a caller that can only pass integers and receive one.
#include <stdint.h>

typedef int64_t comparison(int64_t, int64_t);
extern int64_t quicksort(int64_t *values, int64_t len, comparison *compare);
extern int64_t bump(int64_t by), record(int64_t index, int64_t value), add_exported(int64_t value);
extern int64_t exported, exported_zero;

static int64_t values[1000];

static int64_t even_first(int64_t a, int64_t b) {
    int64_t odd = (a & 1) - (b & 1);
    return odd != 0 ? odd : (a > b) - (a < b);
}

int64_t sorted_checksum(int64_t len) {
    for (int64_t i = 0; i < len; i++) values[i] = (i * 7919 + 13) % 101 - 50;
    quicksort(values, len, even_first);
    uint64_t checksum = 0;
    for (int64_t i = 0; i < len; i++) checksum = checksum * 31 + (uint64_t)values[i];
    return (int64_t)checksum;
}

// Static data of other objects, and exported data.
int64_t state_after(int64_t by) {
    record(999, by);
    bump(by);
    add_exported(by);
    return bump(by) * 1000000 + record(999, 0) * 10000 + exported * 100 + exported_zero;
}

int64_t fibonacci(int64_t n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static int64_t (*const functions[])(int64_t) = { fibonacci, bump, add_exported, sorted_checksum };

int64_t by_table(int64_t which, int64_t value) {
    return functions[which & 3](value);
}
