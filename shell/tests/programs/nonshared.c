/* Calls what C libraries link into every program: functions that register handlers, and those for the status of files, which
   libc.so.6 did not export before glibc 2.33. Returns a bit for each that fails. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void leave(void) {
    puts("left");
    fflush(stdout);
}

static void nothing(void) {}

long calls(long mode) {
    struct stat s;
    long failed = 0;
    int file = open("/", O_RDONLY | O_DIRECTORY);
    failed |= (atexit(leave) != 0) << 0;
    failed |= (at_quick_exit(nothing) != 0) << 1;
    failed |= (pthread_atfork(nothing, nothing, nothing) != 0) << 2;
    failed |= (stat("/", &s) || !S_ISDIR(s.st_mode)) << 3;
    failed |= (lstat("/", &s) || !S_ISDIR(s.st_mode)) << 4;
    failed |= (fstat(file, &s) || !S_ISDIR(s.st_mode)) << 5;
    failed |= (fstatat(AT_FDCWD, "/", &s, 0) || !S_ISDIR(s.st_mode)) << 6;
    /* A node that exists cannot be made. */
    failed |= (mknod("/", S_IFIFO | 0600, 0) == 0) << 7;
    failed |= (mknodat(AT_FDCWD, "/", S_IFIFO | 0600, 0) == 0) << 8;
    return failed + mode;
}
