// Quicksort with a comparison function of the caller, and with one of its own.
#include <stdint.h>

typedef int64_t comparison(int64_t, int64_t);

static int64_t downwards(int64_t a, int64_t b) {
    return a < b ? 1 : a > b ? -1 : 0;
}

int64_t quicksort(int64_t *values, int64_t len, comparison *compare) {
    while (len > 1) {
        int64_t pivot = values[len / 2], left = 0, right = len - 1;
        while (left <= right) {
            while (compare(values[left], pivot) < 0) left++;
            while (compare(values[right], pivot) > 0) right--;
            if (left <= right) {
                int64_t held = values[left];
                values[left++] = values[right];
                values[right--] = held;
            }
        }
        quicksort(values, right + 1, compare);
        values += left;
        len -= left;
    }
    return 0;
}

int64_t sort_downwards(int64_t *values, int64_t len) {
    return quicksort(values, len, downwards);
}
