/* The load "getppid": the cheapest system call, which nobody who watches execs and connects should make dearer. */
#include <sys/syscall.h>

static long operate(int worker, long turn) {
    for (int i = 0; i < 1000; i++)
        syscall(SYS_getppid);
    return 1000;
}
