/* The programs of this directory in C, with the same checks: each takes memory and a size, and returns a number. */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Traps unless the index is below the length, as `trap_ge` does. */
#define AT(array, index, length) (*((uint64_t)(index) >= (uint64_t)(length) ? (__builtin_trap(), (array)) : &(array)[index]))

int64_t sum(void *memory, int64_t n) {
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) total += i;
    return total;
}

int64_t nested(void *memory, int64_t n) {
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) total += i * j;
    return total;
}

int64_t primes(void *memory, int64_t n) {
    int64_t count = 0;
    for (int64_t candidate = 2; candidate < n; candidate++)
        for (int64_t divisor = 2;; divisor++) {
            if (divisor * divisor > candidate) {
                count++;
                break;
            }
            if (candidate % divisor == 0) break;
        }
    return count;
}

static int64_t fib_of(int64_t n) { return n < 2 ? n : fib_of(n - 1) + fib_of(n - 2); }

int64_t fib(void *memory, int64_t n) { return fib_of(n); }

int64_t matrix(void *memory, uint64_t n) {
    uint64_t size = n * n;
    double *a = memory, *b = a + size, *c = b + size, sum;
    for (uint64_t i = 0; i < size; i++) {
        AT(a, i, size) = (double)(i % 7);
        AT(b, i, size) = (double)(i % 5) - 2.0;
    }
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < n; j++) {
            sum = 0.0;
            for (uint64_t k = 0; k < n; k++) sum += AT(a, i * n + k, size) * AT(b, k * n + j, size);
            AT(c, i * n + j, size) = sum;
        }
    sum = 0.0;
    for (uint64_t i = 0; i < size; i++) sum += AT(c, i, size) * (double)(i % 3);
    return (int64_t)sum;
}

int64_t sieve(void *memory, uint64_t n) {
    uint8_t *composite = memory;
    int64_t count = 0;
    memset(composite, 0, n);
    for (uint64_t i = 2; i < n; i++)
        if (AT(composite, i, n) == 0) {
            count++;
            for (uint64_t j = i * i; j < n; j += i) AT(composite, j, n) = 1;
        }
    return count;
}

int64_t mandelbrot(void *memory, int64_t n) {
    int64_t total = 0;
    double scale = 2.0 / (double)n;
    for (int64_t y = 0; y < n; y++) {
        double ci = (double)y * scale - 1.0;
        for (int64_t x = 0; x < n; x++) {
            double cr = (double)x * scale - 1.5, zr = 0.0, zi = 0.0, rr = 0.0, ii = 0.0;
            int64_t iterations = 0;
            while (iterations < 50) {
                if (rr + ii > 4.0) break;
                zi = zr * zi * 2.0 + ci;
                zr = rr - ii + cr;
                rr = zr * zr;
                ii = zi * zi;
                iterations++;
            }
            total += iterations;
        }
    }
    return total;
}

static const double BODIES[35] = {
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 39.47841760435743,
    4.841431442464721, -1.1603200440274284, -0.10362204447112311, 0.606326392995832, 2.81198684491626, -0.02521836165988763, 0.03769367487038949,
    8.34336671824458, 4.124798564124305, -0.4035234171143214, -1.0107743461771437, 1.8256623712304119, 0.008415761376584154, 0.011286326131968767,
    12.894369562139131, -15.111151401698631, -0.22330757889265573, 1.0827910064415354, 0.8687130181696082, -0.010832637401363636, 0.0017237240570597112,
    15.379697114850917, -25.919314609987964, 0.17925877295037118, 0.979090732243898, 0.5946989986476762, -0.034755955504078104, 0.0020336868699246304,
};

static void offset(double *b) {
    double x = 0.0, y = 0.0, z = 0.0;
    for (uint64_t i = 0; i < 35; i += 7) {
        double mass = AT(b, i + 6, 35);
        x += AT(b, i + 3, 35) * mass;
        y += AT(b, i + 4, 35) * mass;
        z += AT(b, i + 5, 35) * mass;
    }
    b[3] = -x / b[6];
    b[4] = -y / b[6];
    b[5] = -z / b[6];
}

static void advance(double *b, double dt) {
    for (uint64_t i = 0; i < 35; i += 7)
        for (uint64_t j = i + 7; j < 35; j += 7) {
            double x = AT(b, i, 35) - AT(b, j, 35);
            double y = AT(b, i + 1, 35) - AT(b, j + 1, 35);
            double z = AT(b, i + 2, 35) - AT(b, j + 2, 35);
            double square = x * x + y * y + z * z;
            double distance = sqrt(square);
            double pull = dt / (square * distance);
            double mass = AT(b, i + 6, 35) * pull, other = AT(b, j + 6, 35) * pull;
            AT(b, i + 3, 35) -= x * other;
            AT(b, i + 4, 35) -= y * other;
            AT(b, i + 5, 35) -= z * other;
            AT(b, j + 3, 35) += x * mass;
            AT(b, j + 4, 35) += y * mass;
            AT(b, j + 5, 35) += z * mass;
        }
    for (uint64_t i = 0; i < 35; i += 7) {
        AT(b, i, 35) += dt * AT(b, i + 3, 35);
        AT(b, i + 1, 35) += dt * AT(b, i + 4, 35);
        AT(b, i + 2, 35) += dt * AT(b, i + 5, 35);
    }
}

static double energy(const double *b) {
    double sum = 0.0;
    for (uint64_t i = 0; i < 35; i += 7) {
        double mass = AT(b, i + 6, 35);
        double x = AT(b, i + 3, 35), y = AT(b, i + 4, 35), z = AT(b, i + 5, 35);
        sum += mass * 0.5 * (x * x + y * y + z * z);
        for (uint64_t j = i + 7; j < 35; j += 7) {
            x = AT(b, i, 35) - AT(b, j, 35);
            y = AT(b, i + 1, 35) - AT(b, j + 1, 35);
            z = AT(b, i + 2, 35) - AT(b, j + 2, 35);
            sum -= mass * AT(b, j + 6, 35) / sqrt(x * x + y * y + z * z);
        }
    }
    return sum;
}

int64_t nbody(void *memory, int64_t n) {
    double *bodies = memory;
    memcpy(bodies, BODIES, sizeof BODIES);
    offset(bodies);
    for (; n > 0; n--) advance(bodies, 0.01);
    return (int64_t)(energy(bodies) * 1000000000.0);
}

static double element_of(uint64_t i, uint64_t j) {
    uint64_t sum = i + j;
    return 1.0 / (double)(sum * (sum + 1) / 2 + i + 1);
}

static void multiply(const double *from, double *to, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (uint64_t j = 0; j < n; j++) sum += element_of(i, j) * AT(from, j, n);
        AT(to, i, n) = sum;
    }
}

static void multiply_transposed(const double *from, double *to, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (uint64_t j = 0; j < n; j++) sum += element_of(j, i) * AT(from, j, n);
        AT(to, i, n) = sum;
    }
}

static void multiply_both(const double *from, double *to, double *between, uint64_t n) {
    multiply(from, between, n);
    multiply_transposed(between, to, n);
}

int64_t spectral(void *memory, uint64_t n) {
    double *u = memory, *v = u + n, *w = v + n, vbv = 0.0, vv = 0.0;
    for (uint64_t i = 0; i < n; i++) AT(u, i, n) = 1.0;
    for (uint64_t i = 0; i < 10; i++) {
        multiply_both(u, v, w, n);
        multiply_both(v, u, w, n);
    }
    for (uint64_t i = 0; i < n; i++) {
        double x = AT(v, i, n);
        vbv += AT(u, i, n) * x;
        vv += x * x;
    }
    return (int64_t)(sqrt(vbv / vv) * 1000000000.0);
}

int64_t fannkuch(void *memory, uint64_t n) {
    int64_t *perm = memory, *first = perm + 16, one, most = 0, checksum = 0, sign = 1;
    uint64_t *count = (uint64_t *)(perm + 32), r = n;
    for (uint64_t i = 0; i < n; i++) AT(first, i, 16) = (int64_t)i;
    for (;;) {
        for (; r > 1; r--) AT(count, r - 1, 16) = r;
        for (uint64_t i = 0; i < n; i++) AT(perm, i, 16) = AT(first, i, 16);
        int64_t flips = 0;
        for (;;) {
            int64_t k = AT(perm, 0, 16);
            if (k == 0) break;
            for (uint64_t low = 0, high = (uint64_t)k; low < high; low++, high--) {
                one = AT(perm, low, 16);
                AT(perm, low, 16) = AT(perm, high, 16);
                AT(perm, high, 16) = one;
            }
            flips++;
        }
        if (flips > most) most = flips;
        checksum += sign * flips;
        sign = -sign;
        for (;; r++) {
            if (r == n) return checksum * 100 + most;
            one = AT(first, 0, 16);
            for (uint64_t i = 0; i < r; i++) AT(first, i, 16) = AT(first, i + 1, 16);
            AT(first, r, 16) = one;
            if (--AT(count, r, 16) > 0) break;
        }
    }
}

static void sort_range(int64_t *items, uint64_t n, int64_t low, int64_t high) {
    while (low < high) {
        int64_t pivot = AT(items, (low + high) >> 1, n), i = low, j = high;
        while (i <= j) {
            int64_t one = AT(items, i, n), other;
            while (one < pivot) {
                i++;
                one = AT(items, i, n);
            }
            other = AT(items, j, n);
            while (other > pivot) {
                j--;
                other = AT(items, j, n);
            }
            if (i <= j) {
                AT(items, i, n) = other;
                AT(items, j, n) = one;
                i++;
                j--;
            }
        }
        sort_range(items, n, low, j);
        low = i;
    }
}

int64_t sort(void *memory, uint64_t n) {
    int64_t *items = memory, sum = 0;
    uint64_t state = 1;
    for (uint64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        AT(items, i, n) = (int64_t)(state >> 20);
    }
    sort_range(items, n, 0, (int64_t)n - 1);
    for (uint64_t i = 0; i < n; i++) sum = sum * 31 + AT(items, i, n);
    return sum;
}

static uint64_t rotl(uint64_t value, int count) { return value << count | value >> (64 - count); }

int64_t hash(void *memory, uint64_t n) {
    uint64_t *items = memory, words = n / 8, state = 88172645463325252u, h = 3;
    uint64_t one = 14029467366897019727u, two = 11400714785074694791u, bytes = 14695981039346656037u;
    for (uint64_t i = 0; i < words; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        AT(items, i, words) = state;
    }
    for (uint64_t i = 0; i < words; i++)
        h = rotl(h ^ rotl(AT(items, i, words) * one, 31) * two, 27) * two + 9650029242287828579u;
    uint8_t *each = memory;
    for (uint64_t i = 0; i < n; i++) bytes = (bytes ^ AT(each, i, n)) * 1099511628211u;
    h ^= h >> 33;
    return (int64_t)(h * one ^ bytes);
}

static const uint8_t LETTERS[4] = "abca";

int64_t scan(void *memory, uint64_t n) {
    uint8_t *text = memory;
    const uint8_t *pattern = LETTERS;
    uint32_t state = 12345;
    int64_t words = 0, found = 0, inside = 0;
    for (uint64_t i = 0; i < n; i++) {
        state = state * 1103515245u + 12345;
        uint32_t letter = (state >> 16) % 5;
        uint8_t byte = 32;
        if (letter > 0) byte = (uint8_t)(letter + 96);
        AT(text, i, n) = byte;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint8_t byte = AT(text, i, n);
        if (byte >= 97 && byte <= 122) {
            if (inside == 0) words++;
            inside = 1;
        } else {
            inside = 0;
        }
    }
    for (uint64_t i = 0; i + 4 <= n; i++) {
        uint64_t j = 0;
        while (j < 4) {
            if (AT(text, i + j, n) != AT(pattern, j, 4)) break;
            j++;
        }
        if (j == 4) found++;
    }
    return words * 1000 + found;
}

static int64_t not_less(int64_t a, int64_t b) { return a < b ? 0 : 1; }

static int64_t before(int64_t a) { return a - 1; }

static int64_t tak(int64_t x, int64_t y, int64_t z) {
    if (not_less(y, x) == 1) return z;
    return tak(tak(before(x), y, z), tak(before(y), z, x), tak(before(z), x, y));
}

int64_t calls(void *memory, int64_t n) { return tak(n, n * 2 / 3, n / 3); }
