/* A module without imports. */
static long target(long x) { __asm__(".skip 4096, 0x90"); return x + 2; }
static long (*const volatile table[])(long) = { target, target };
long first(long x) { return table[x & 1](x); }
