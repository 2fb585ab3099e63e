/* A container's whole life: one exec with the container's host name behind `#` as its argument, 20 ms, the end. By its host
 * name, so that a thousand of them share one image. */
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    char mark[66] = "#";
    if (gethostname(mark + 1, 64))
        return 1;
    pid_t child = vfork();
    if (!child) {
        execl("/app/tiny", "tiny", mark, (char *)0);
        _exit(1);
    }
    waitpid(child, 0, 0);
    usleep(20000);
    return 0;
}
