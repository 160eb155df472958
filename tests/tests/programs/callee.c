// Used by another object.
#include <stdint.h>

int64_t scale_by = 3;
const char *const scale_names[2] = { "major", "minor" };

int64_t scale(int64_t value) {
    return value * scale_by;
}
