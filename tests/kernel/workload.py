"""What tests have containers do: programs in C that are in the image of the session's containers, under /app."""

from collections.abc import Mapping
from pathlib import Path

from harness.rootfs import compile_c

__all__ = ["AGAIN", "BECOME", "MESSAGES", "NOTHING", "PYTHON", "PYTHON_EXE", "REPEAT", "THREADS", "VISIT", "files"]

PYTHON = "/usr/bin/python3"
PYTHON_EXE = str(Path(PYTHON).resolve())

NOTHING = "/app/nothing"
"""Ends at once."""

REPEAT = "/app/repeat"
"""`repeat NUMBER PROGRAM ARGUMENT…` executes a program so often, one after the other; its own code is that of the last."""

THREADS = "/app/threads"
"""`threads LEADER LAST`: its first thread ends with one code, 0.2 s later the other with the other code; `group` instead of a
code for the last: it ends the process with code 5."""

BECOME = "/app/become"
"""`become NUMBER PROGRAM` executes itself so often, each time the same, and each becomes `PROGRAM WORD`, with a new word."""

MESSAGES = "/app/messages"
"""`messages PORT NUMBER HOW` sends so many messages by one sendmmsg(): `apart` to 127.0.0.1, 127.0.0.2, …; `connected` without
addresses; `stream` through a TCP connection to itself. Its code is 0 if all of them were sent."""

VISIT = "/app/visit"
"""`visit PORT` connects to it on the loopback interface, once."""

AGAIN = "/app/again"
"""`again PROGRAM…` runs `PROGRAM PORT` one after the other, all with the same pid, for ports 7901, 7902, …; `-` is no program:
the forked process itself connects. Its output is the pid as the host sees it. Its code is 3 if it may not choose pids."""

_VISIT = r"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void visit(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, (struct sockaddr *)&to, sizeof to);
    close(fd);
}
"""

_SOURCES = {
    NOTHING: "int main(void) { return 0; }",
    REPEAT: r"""
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

int main(int count, char **args) {
    int status = 0;
    for (int left = atoi(args[1]); left; left--) {
        pid_t child;
        if (posix_spawn(&child, args[2], 0, 0, args + 2, environ) || waitpid(child, &status, 0) != child) return 125;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
""",
    VISIT: _VISIT + "int main(int count, char **args) { visit(atoi(args[1])); }",
    # A pid is chosen in each of the two namespaces, the container's and the host's.
    AGAIN: _VISIT
    + r"""
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int main(int count, char **args) {
    pid_t pids[2] = {20000, 0};
    for (int i = 1; i < count; i++) {
        pid_t child = -1;
        for (pid_t outer = i == 1 ? 32000 : pids[1]; outer > 300; outer--) {
            pids[1] = outer;
            struct clone_args how = {.exit_signal = SIGCHLD, .set_tid = (unsigned long)pids, .set_tid_size = 2};
            child = syscall(SYS_clone3, &how, sizeof how);
            if (child >= 0 || i > 1 || errno != EEXIST) break;
        }
        if (child < 0) return errno == EPERM ? 3 : 4;
        char port[8];
        sprintf(port, "%d", 7900 + i);
        if (child == 0) {
            if (strcmp(args[i], "-")) return execl(args[i], args[i], port, (char *)0);
            visit(atoi(port));
            return 0;
        }
        if (waitpid(child, 0, 0) != child) return 5;
    }
    printf("%d\n", pids[1]);
    return 0;
}
""",
    BECOME: r"""
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **args) {
    if (count == 1) return execl(getenv("PROGRAM"), getenv("PROGRAM"), getenv("WORD"), (char *)0);
    char program[256], word[32], *own[] = {args[0], 0}, *environment[] = {program, word, 0};
    snprintf(program, sizeof program, "PROGRAM=%s", args[2]);
    for (int left = atoi(args[1]); left; left--) {
        pid_t child;
        snprintf(word, sizeof word, "WORD=%d-%d", getpid(), left);
        if (posix_spawn(&child, args[0], 0, 0, own, environment) || waitpid(child, 0, 0) != child) return 125;
    }
    return 0;
}
""",
    MESSAGES: r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **args) {
    struct sockaddr_in to[64] = {};
    struct mmsghdr messages[64] = {};
    struct iovec word = {.iov_base = "word", .iov_len = 4};
    int number = atoi(args[2]), stream = strcmp(args[3], "stream") == 0, apart = strcmp(args[3], "apart") == 0;
    for (int i = 0; i < number; i++) {
        to[i].sin_family = AF_INET;
        to[i].sin_port = htons(atoi(args[1]));
        to[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
        messages[i].msg_hdr.msg_iov = &word;
        messages[i].msg_hdr.msg_iovlen = 1;
        if (apart) {
            messages[i].msg_hdr.msg_name = &to[i];
            messages[i].msg_hdr.msg_namelen = sizeof to[i];
        }
    }
    int kind = stream ? SOCK_STREAM : SOCK_DGRAM, other = socket(AF_INET, kind, 0), own = socket(AF_INET, kind, 0);
    if (!apart && bind(other, (struct sockaddr *)&to[0], sizeof to[0])) return 1;
    if (stream && listen(other, 1)) return 2;
    if (!apart && connect(own, (struct sockaddr *)&to[0], sizeof to[0])) return 3;
    return sendmmsg(own, messages, number, 0) == number ? 0 : 4;
}
""",
    THREADS: r"""
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *last_code;

static void *last(void *unused) {
    usleep(200000);
    if (strcmp(last_code, "group") == 0) syscall(SYS_exit_group, 5);
    syscall(SYS_exit, atoi(last_code));
    return 0;
}

int main(int count, char **args) {
    pthread_t thread;
    last_code = args[2];
    if (pthread_create(&thread, 0, last, 0)) return 125;
    syscall(SYS_exit, atoi(args[1]));
}
""",
}


def files() -> Mapping[str, Path]:
    """Return the programs, compiled, by their place in a container."""
    return {path: compile_c(source) for path, source in _SOURCES.items()}
