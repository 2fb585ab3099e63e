"""What tests have containers do: programs in C that are in the image of the session's containers, under /app."""

from collections.abc import Mapping
from pathlib import Path

from harness.rootfs import compile_c

__all__ = ["FILES", "NOTHING", "PYTHON", "PYTHON_EXE", "REPEAT"]

PYTHON = "/usr/bin/python3"
PYTHON_EXE = str(Path(PYTHON).resolve())

NOTHING = "/app/nothing"
"""Ends at once."""

REPEAT = "/app/repeat"
"""`repeat NUMBER PROGRAM ARGUMENT…` executes a program so often, one after the other; its own code is that of the last."""

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
}


def FILES() -> Mapping[str, Path]:  # noqa: N802 — PLACEHOLDER
    return {}
