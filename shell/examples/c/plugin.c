/* A plugin that imports a function of its host. The version is chosen when it is compiled: -DSTEP=1. */
#ifndef STEP
#define STEP 1
#endif

void host_log(const char *text, long number);

long calls; /* a reload with SMF_DATA_KEEP continues with this number */

long plugin_step(void) {
    calls += STEP;
    host_log("calls", calls);
    return calls;
}
