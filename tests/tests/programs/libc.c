// Calls the C library of the process that loads it.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t digits[5] = { 3, 1, 5, 2, 4 };

static int upwards(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int64_t sorted_digits(int64_t offset) {
    int64_t *copy = malloc(sizeof digits);
    memcpy(copy, digits, sizeof digits);
    for (int i = 0; i < 5; i++) copy[i] += offset;
    qsort(copy, 5, sizeof *copy, upwards);
    char text[32];
    int len = snprintf(text, sizeof text, "%d%d%d%d%d", (int)copy[0], (int)copy[1], (int)copy[2],
                       (int)copy[3], (int)copy[4]);
    free(copy);
    return len == 5 ? strtol(text, NULL, 10) : -1;
}
