/* What all loads have in common: workers that begin at a sign, run for a time, and are counted before anything of them ends.
 *
 *     LOAD SECONDS WORKERS MOST [PARAMETER…]
 *
 * It says "ready" when all workers wait, so that who measures reads its counters with nothing else under way; a byte on stdin
 * lets them go. When all are done it prints {"operations": …, "elapsed_ns": …, "cpu_ns": …} and waits for stdin to close, so that
 * the ends of its processes are no part of what is measured. cpu_ns is of the workers and the children that they waited for. With MOST, the workers end after so many operations together; 0: no bound.
 *
 * A load defines operate(), which does some operations and returns how many, or -1 when there is nothing left to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX 64

static double seconds;
static long most;
static int workers;
static char **parameters;
/* Each on a cache line of its own: workers that share one would slow each other. */
static struct {
    volatile long done;
    volatile long long cpu_ns;
    char room[48];
} *counts;

static long operate(int worker, long turn);

static long long nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long cpu_nanoseconds(void) {
    struct rusage children;
    getrusage(RUSAGE_CHILDREN, &children);
    long long seconds_of = children.ru_utime.tv_sec + children.ru_stime.tv_sec;
    long long microseconds = children.ru_utime.tv_usec + children.ru_stime.tv_usec;
    return nanoseconds(CLOCK_PROCESS_CPUTIME_ID) + seconds_of * 1000000000LL + microseconds * 1000LL;
}

static void work(int worker, int go, int finished) {
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(go, &byte, 1) != 1)
        _exit(1);
    long long end = nanoseconds(CLOCK_MONOTONIC) + (long long)(seconds * 1e9);
    long own = most ? most / workers + (worker < most % workers) : 0, done = 0;
    long long cpu = cpu_nanoseconds();
    for (long turn = 0; (!most || done < own) && nanoseconds(CLOCK_MONOTONIC) < end; turn++) {
        long more = operate(worker, turn);
        if (more < 0)
            break;
        done += more;
    }
    counts[worker].cpu_ns = cpu_nanoseconds() - cpu;
    counts[worker].done = done;
    if (write(finished, "d", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

int main(int count, char **arguments) {
    if (count < 4)
        return 2;
    seconds = atof(arguments[1]);
    workers = atoi(arguments[2]);
    most = atol(arguments[3]);
    parameters = arguments + 4;
    if (workers < 1 || workers > WORKERS_MAX)
        return 2;
    counts = mmap(0, WORKERS_MAX * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int go[2], finished[2];
    pid_t children[WORKERS_MAX];
    char byte;
    if (counts == MAP_FAILED || pipe(go) || pipe(finished))
        return 1;
    for (int i = 0; i < workers; i++)
        if (!(children[i] = fork()))
            work(i, go[0], finished[1]);
    puts("ready");
    fflush(stdout);
    if (read(0, &byte, 1) != 1)
        return 1;
    long long begin = nanoseconds(CLOCK_MONOTONIC);
    for (int i = 0; i < workers; i++)
        if (write(go[1], "g", 1) != 1)
            return 1;
    for (int i = 0; i < workers; i++)
        if (read(finished[0], &byte, 1) != 1)
            return 1;
    long long end = nanoseconds(CLOCK_MONOTONIC);
    long done = 0;
    long long cpu = 0;
    for (int i = 0; i < workers; i++) {
        done += counts[i].done;
        cpu += counts[i].cpu_ns;
    }
    printf("{\"operations\": %ld, \"elapsed_ns\": %lld, \"cpu_ns\": %lld}\n", done, end - begin, cpu);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    for (int i = 0; i < workers; i++)
        kill(children[i], SIGKILL);
    while (wait(0) > 0)
        ;
    return 0;
}
