"""The images that pods of tests are made of, written by ourselves."""

import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.rootfs import compile_c

from cluster.archives import add_file, add_folder, add_link, write_archive

__all__ = ["LOAD", "WORK", "Image", "busybox", "pause", "work"]

BUSYBOX = Path("/bin/busybox")
USERS = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"

_PAUSE = """
#include <signal.h>
#include <unistd.h>
int main(void) { signal(SIGTERM, _exit); signal(SIGINT, _exit); for (;;) pause(); }
"""

_NOTHING = "int main(void) { return 0; }"

WORK = "/bin/work"
"""Executes and connects as often as it is told, and tells each process that it starts whose it is."""

# work UID NAMESPACE/POD CONTAINER EXECS CONNECTS SECONDS: a negative number of seconds means until it is ended. Probes and
# `kubectl exec` cannot fill in the first two; given as -, they are what the container's environment says.
_WORK = """
#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words) {
    if (count != 7) return 2;
    signal(SIGTERM, _exit);
    char *uid = words[1], *pod = words[2];
    if (*uid == '-' && (!(uid = getenv("POD_UID")) || !(pod = getenv("POD")))) return 2;
    for (int i = 0; i < atoi(words[4]); i++) {
        char number[16], *arguments[] = {"nothing", uid, pod, words[3], number, NULL}, *none[] = {NULL};
        snprintf(number, sizeof number, "%d", i);
        pid_t child;
        int status;
        if (posix_spawn(&child, "/bin/nothing", NULL, NULL, arguments, none)) return 3;
        if (waitpid(child, &status, 0) != child || status) return 4;
    }
    for (int i = 0; i < atoi(words[5]); i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int client = socket(AF_INET, SOCK_STREAM, 0);
        connect(client, (struct sockaddr *)&address, sizeof address);
        close(client);
    }
    int seconds = atoi(words[6]);
    if (seconds < 0) for (;;) pause();
    sleep(seconds);
    return 0;
}
"""


LOAD = "/bin/load"
"""Executes all the time until it is told to end, then says how often and how fast that was."""

# load UID NAMESPACE/POD CONTAINER RATE: RATE execs a second at most; who was held up catches up. Up to 32 run at a time: what
# else there is to do on a machine slows down each of them, but not so much all of them.
_LOAD = """
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static volatile sig_atomic_t ended;
static void end(int number) { ended = 1; }
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}
int main(int count, char **words) {
    if (count != 5) return 2;
    signal(SIGTERM, end);
    double rate = atof(words[4]), begin = now();
    long made = 0, reaped = 0;
    int status;
    while (!ended) {
        while (made > reaped && waitpid(-1, &status, made - reaped < 32 ? WNOHANG : 0) > 0)
            { if (status) return 4; reaped++; }
        if (made >= rate * (now() - begin)) {
            usleep(2000);
            continue;
        }
        char number[16], *arguments[] = {"nothing", words[1], words[2], words[3], number, NULL}, *none[] = {NULL};
        snprintf(number, sizeof number, "%ld", made);
        pid_t child;
        if (posix_spawn(&child, "/bin/nothing", NULL, NULL, arguments, none)) return 3;
        made++;
    }
    printf("%ld %.3f\\n", made, now() - begin);
    return 0;
}
"""


@dataclass(frozen=True)
class Image:
    """An image of one layer. A file's content is bytes, a file of the host, or text: where a symbolic link leads."""

    reference: str
    command: tuple[str, ...]
    files: Mapping[str, bytes | Path | str] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write it as a docker-archive."""
        run = {"Cmd": list(self.command), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
        write_archive(file, self._fill, {(self.reference,): run})

    def _fill(self, archive: tarfile.TarFile) -> None:
        folders = {str(each)[1:] for name in self.files for each in list(Path(name).parents)[:-1]}
        for name in sorted(folders | {"dev", "etc", "proc", "sys", "tmp"}):
            add_folder(archive, name, mode=0o1777 if name == "tmp" else 0o755)
        for name, content in sorted(self.files.items()):
            if isinstance(content, str):
                add_link(archive, name[1:], content)
            else:
                add_file(archive, name[1:], content if isinstance(content, bytes) else content.read_bytes(), mode=0o755)


def pause() -> Image:
    """Return what holds a pod's namespaces."""
    return Image("localhost/pause:1", ("/bin/pause",), {"/bin/pause": compile_c(_PAUSE)})


def busybox() -> Image:
    """Return a shell and its tools."""
    listing = subprocess.run([BUSYBOX, "--list-full"], capture_output=True, text=True, check=True).stdout
    links = {f"/{applet}": "/bin/busybox" for applet in listing.split()}
    return Image("localhost/busybox:1", ("/bin/sh",), {**links, "/bin/busybox": BUSYBOX, "/etc/passwd": USERS})


def work(tag: str = "1") -> Image:
    """Return an image with `WORK`, `LOAD` and nothing else."""
    files = {WORK: compile_c(_WORK), LOAD: compile_c(_LOAD), "/bin/nothing": compile_c(_NOTHING), "/etc/version": tag.encode()}
    return Image(f"localhost/work:{tag}", (WORK,), files)
