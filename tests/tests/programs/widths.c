// Loads and stores of every width, whose instructions scale offsets by the access size.
#include <stdint.h>

typedef int64_t pair __attribute__((vector_size(16)));

int8_t byte = -1;
uint16_t half = 2;
int32_t word = -3;
int64_t whole = 4;
float single = 0.5f;
double twice = 0.25;
pair both = { 5, 6 };
static uint8_t bytes[7] = { 1, 2, 3, 4, 5, 6, 7 };
static uint16_t halves[3] = { 8, 9, 10 };

int64_t widths(int64_t by) {
    byte += by;
    half += by;
    word += by;
    whole += by;
    single += by;
    twice += by;
    both += (pair){ by, -by };
    bytes[5] += by;
    halves[1] += by;
    int64_t sum = byte + half + word + whole + (int64_t)(single * 2) + (int64_t)(twice * 4);
    return sum + both[0] * 1000 + both[1] * 100000 + bytes[5] + halves[1];
}
