// Floating-point constants, which compilers place in read-only data.
#include <stdint.h>

int64_t circle_in_thousandths(int64_t radius) {
    return (int64_t)(3.141592653589793 * (double)radius * (double)radius * 1000.0);
}

// The sign is changed by a mask of 16 bytes.
int64_t mirrored(int64_t value) {
    double x = -((double)value * 0.5);
    float y = -((float)value * 0.25f);
    return (int64_t)(x * 1000.0) + (int64_t)(y * 100.0f);
}
