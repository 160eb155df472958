/* A shared object with thread-local symbols. */
__thread long shared_other;
__thread long shared_value = 40;

long shared_where_is(void) { return (long)&shared_other; }
