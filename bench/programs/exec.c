/* The load "tiny": vfork and execve in a closed loop. */
static long operate(int worker, long turn) {
    pid_t child = vfork();
    if (child < 0)
        return -1;
    if (!child) {
        execl("/app/tiny", "tiny", "argument", (char *)0);
        _exit(1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status ? -1 : 1; /* what did not execute is no operation */
}
