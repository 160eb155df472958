// Mutable data: initialised, zeroed, private, and exported.
#include <stdint.h>

static int64_t counter = 100;
static int64_t records[1000];
int64_t exported = 7;
int64_t exported_zero;

int64_t bump(int64_t by) {
    return counter += by;
}

int64_t record(int64_t index, int64_t value) {
    int64_t before = records[index];
    records[index] = value;
    return before;
}

int64_t add_exported(int64_t value) {
    exported_zero += value;
    return exported += value;
}
