/* Uses the thread-local symbols of another module, in several threads. */
#include <pthread.h>

extern __thread char unaligned[3];
extern __thread long shared_value;
extern __thread long shared_zero;
__thread long user_value = 5;

long definer_bump(void);
long definer_where(void);
long definer_reads_user(void);

static long check_thread(void) {
    if (unaligned[0] != 'a' || unaligned[1] != 'b' || unaligned[2]) return 1;
    if (shared_value != 40 || shared_zero) return 2;
    if (definer_bump() != 41 || shared_value != 41) return 3;
    shared_value = 50;
    if (definer_bump() != 51 || definer_where() != (long)&shared_zero) return 4;
    user_value++;
    return definer_reads_user() == 6 ? 0 : 5;
}

static void *run(void *result) {
    *(long *)result = check_thread();
    return 0;
}

long check(void) {
    pthread_t thread;
    long result = 9;
    if (check_thread()) return check_thread();
    if (pthread_create(&thread, 0, run, &result) || pthread_join(thread, 0)) return 8;
    return result + (shared_value != 51);
}
