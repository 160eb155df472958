/* smf_tls_reserve.o: static thread-local storage for modules, in a program that is linked with this object.

   Code of the initial-exec and local-exec models reaches its storage at a fixed distance from the thread pointer. The C
   library grants such storage, while a program runs, from what is left of the block that it makes for each thread: 1,664
   bytes. On x86-64 it rounds that block up to the largest alignment in the program. A variable of this alignment
   therefore makes the block 128 KiB, of which modules may have more than 60 KiB, and the C library initialises
   it in all threads. Untouched pages take no memory. A thread needs a stack larger than 128 KiB.

   It has a value other than zero, because some linkers misplace zeroes of this alignment. */

#ifndef __x86_64__
#error "the C library has no such reserve on this machine"
#endif

#if defined(__has_attribute)
#if __has_attribute(retain)
__attribute__((retain))
#endif
#endif
__attribute__((used, aligned(65536), visibility("hidden"))) __thread char smf_tls_reserve = 1;
