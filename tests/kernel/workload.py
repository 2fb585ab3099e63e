"""What tests have containers do: programs in C that are in the image of the session's containers, under /app."""

from collections.abc import Mapping
from pathlib import Path

from harness.rootfs import compile_c

__all__ = ["NOTHING", "PYTHON", "PYTHON_EXE", "REPEAT", "THREADS", "files"]

PYTHON = "/usr/bin/python3"
PYTHON_EXE = str(Path(PYTHON).resolve())

NOTHING = "/app/nothing"
"""Ends at once."""

REPEAT = "/app/repeat"
"""`repeat NUMBER PROGRAM ARGUMENT…` executes a program so often, one after the other; its own code is that of the last."""

THREADS = "/app/threads"
"""`threads LEADER LAST`: its first thread ends with one code, 0.2 s later the other with the other code; `group` instead of a
code for the last: it ends the process with code 5."""

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
