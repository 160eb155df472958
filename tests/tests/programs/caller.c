// Uses functions and data of another object.
#include <stdint.h>

extern int64_t scale(int64_t);
extern int64_t scale_by;
extern const char *const scale_names[2];

int64_t scaled_sum(int64_t a, int64_t b) {
    return scale(a) + scale(b);
}

int64_t set_scale(int64_t by) {
    int64_t before = scale_by;
    scale_by = by;
    return before;
}

int64_t letter_of_name(int64_t name, int64_t letter) {
    return scale_names[name][letter];
}
