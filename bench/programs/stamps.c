/* The load "latency": 50 execs a second, each with the time before it as its argument. So no two are alike, and who gets the
 * event needs no other clock than its own to say how late it is. */
static long operate(int worker, long turn) {
    char stamp[32];
    usleep(20000);
    snprintf(stamp, sizeof stamp, "@%lld", nanoseconds(CLOCK_REALTIME));
    pid_t child = vfork();
    if (child < 0)
        return -1;
    if (!child) {
        execl("/app/tiny", "tiny", stamp, (char *)0);
        _exit(1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status ? -1 : 1; /* what did not execute is no operation */
}
