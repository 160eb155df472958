/* Thread-local symbols for another module, which defines one for this one. */
__thread char unaligned[3] = "ab";
__thread long shared_value = 40;
__thread long shared_zero;
extern __thread long user_value;

long definer_bump(void) { return ++shared_value; }
long definer_where(void) { return (long)&shared_zero; }
long definer_reads_user(void) { return user_value; }
