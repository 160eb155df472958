/* A thread-local symbol of a shared object. */
extern __thread long shared_value;
extern __thread long shared_other;

long bump_shared(void) { return ++shared_value; }
long shared_where(void) { return (long)&shared_other; }
