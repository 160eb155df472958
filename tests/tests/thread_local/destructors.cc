// thread_local with constructor and destructor.
#include <pthread.h>

static int destroyed;
static int constructed;

struct Guard {
    long value;
    Guard() : value(7) { __atomic_fetch_add(&constructed, 1, __ATOMIC_SEQ_CST); }
    ~Guard() { __atomic_fetch_add(&destroyed, 1, __ATOMIC_SEQ_CST); }
};

static thread_local Guard guard;

static void *run(void *)
{
    return reinterpret_cast<void *>(guard.value++);
}

// The guards that eight threads have made and destroyed; -1 if one had a wrong value.
extern "C" long check_guards()
{
    pthread_t threads[8];
    for (pthread_t &thread : threads)
        if (pthread_create(&thread, nullptr, run, nullptr)) return -2;
    for (pthread_t &thread : threads) {
        void *value = nullptr;
        pthread_join(thread, &value);
        if (value != reinterpret_cast<void *>(7)) return -1;
    }
    return constructed * 100 + destroyed;
}
