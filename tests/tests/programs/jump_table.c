// A switch that compiles to a jump table.
#include <stdint.h>

int64_t calculate(int64_t operation, int64_t a, int64_t b) {
    switch (operation) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return b == 0 ? 0 : a / b;
    case 4: return a & b;
    case 5: return a | b;
    case 6: return a ^ b;
    case 7: return a << (b & 31);
    case 8: return a >> (b & 31);
    case 9: return a < b;
    default: return -1;
    }
}
