/* Thread-local storage of all shapes. Compiled with each access model. */
#include <pthread.h>
#include <stdint.h>

#ifndef ALIGNMENT
#define ALIGNMENT 64
#endif

static long target = 9;

static __thread int counter = 3;
static __thread long zeroes[16];
static __thread char aligned __attribute__((aligned(ALIGNMENT))) = 5;
static __thread long *pointer = &target;
#ifdef EXTRA
static __thread unsigned char extra[EXTRA] = {[EXTRA - 1] = 7};
#endif
__thread long visible = 11;
__thread long visible_zero;

/* Adds 1 to the counter of the calling thread. */
long bump(void) { return ++counter; }

/* The address of the counter of the calling thread. */
long where(void) { return (long)&counter; }

/* 0 if the storage of the calling thread has its initial contents; otherwise the number of the first that is wrong.
   Changes all of it. */
long check(void)
{
    if (counter != 3) return 1;
    for (int i = 0; i < 16; i++) if (zeroes[i] != 0) return 2;
    if (aligned != 5) return 3;
    if ((uintptr_t)&aligned % ALIGNMENT != 0) return 4;
    if (pointer != &target || *pointer != 9) return 5;
    if (visible != 11 || visible_zero != 0) return 6;
#ifdef EXTRA
    for (int i = 0; i < EXTRA; i++) if (extra[i] != (i == EXTRA - 1 ? 7 : 0)) return 9;
    for (int i = 0; i < EXTRA; i++) *(volatile unsigned char *)&extra[i] = 1;
#endif
    counter = 100;
    for (int i = 0; i < 16; i++) zeroes[i] = i + 1;
    aligned = 6;
    pointer = 0;
    visible = visible_zero = -1;
    /* Nothing overlaps. */
    if (counter != 100 || aligned != 6 || pointer || visible != -1 || visible_zero != -1) return 7;
    for (int i = 0; i < 16; i++) if (zeroes[i] != i + 1) return 8;
    return 0;
}

static void *run(void *unused) { (void)unused; return (void *)check(); }

/* Checks the storage of eight threads that live at once, and of the calling one. */
long check_threads(void)
{
    pthread_t threads[8];
    long wrong = check();
    for (int i = 0; i < 8; i++) if (pthread_create(&threads[i], 0, run, 0)) return 99;
    for (int i = 0; i < 8; i++) {
        void *result = 0;
        pthread_join(threads[i], &result);
        if (!wrong) wrong = (long)result;
    }
    return wrong;
}

/* Values in registers stay across accesses to storage. */
double mixed(long n)
{
    double a = 1.5, b = 2.5, c = 3.5, d = 4.5;
    long e = 1, f = 2, g = 3, h = 4, i = 5;
    for (long round = 0; round < n; round++) {
        zeroes[round % 16] += round;
        a += b * c - d; b += 0.25; c += 0.5; d += a;
        e += f ^ g; f += h * i; g += e; h ^= f; i += zeroes[round % 16];
    }
    return a + b + c + d + (double)((e + f + g + h + i) & 0xffff);
}
long mixed_bits(long n)
{
    union { double d; long l; } u = { .d = mixed(n) };
    for (int i = 0; i < 16; i++) zeroes[i] = 0;
    return u.l;
}
