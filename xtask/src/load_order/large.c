/* A module that the default policy maps, with imports, a constructor, relocated pointers and thread-local storage. */
#include <stdlib.h>
#include <string.h>

#define PAGE(name) long name(long x) { __asm__(".skip 4096, 0x90"); return x + 1; }
#define PAGES(name) PAGE(name##0) PAGE(name##1) PAGE(name##2) PAGE(name##3) PAGE(name##4) PAGE(name##5) PAGE(name##6) PAGE(name##7)
PAGES(a) PAGES(b) PAGES(c) PAGES(d) PAGES(e) PAGES(f) PAGES(g) PAGES(h)

static long (*const volatile table[])(long) = { a0, b1, c2, d3, e4, f5, g6, h7 };
static long added;
static void (*const volatile release)(void *) = free;

__attribute__((constructor)) static void start(void) {
    void *block = malloc(8);
    added = block != 0 && strlen("x") == 1;
    release(block);
}

long first(long x) { return table[x & 7](x) + added; }
