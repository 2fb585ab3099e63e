import subprocess
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program, compile_c
from harness.world import World
from peerwatch.columns import ARGS_TRUNCATED

pytestmark = pytest.mark.kernel

PYTHON = "/usr/bin/python3"


def test_a_prime_number_of_execs_of_each_container_with_its_id(capture: Capture, containers: list[Container]) -> None:
    first, second = containers
    for container, number in ((first, 23), (second, 13)):
        container.exec(
            PYTHON, "-c", f"import subprocess\nfor _ in range({number}): subprocess.run(['/usr/bin/tac', '/dev/null'])"
        )

    seen = capture.until(lambda seen: len(seen.execs("/usr/bin/tac")) >= 36)

    assert len(seen.execs("/usr/bin/tac", first.id)) == 23
    assert len(seen.execs("/usr/bin/tac", second.id)) == 13
    assert len(seen.execs("/usr/bin/tac")) == 36


def test_an_exec_carries_path_arguments_folder_user_and_lineage(capture: Capture, containers: list[Container]) -> None:
    script = """
import os, subprocess
os.chdir('/usr/share')
os.setuid(1234)
subprocess.run(['shown-name', 'a b', ''], executable='/bin/sh')
"""
    containers[0].exec(PYTHON, "-c", script, check=False)

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/dash")))

    (process,) = seen.execs("/usr/bin/dash")
    (python,) = seen.execs("/usr/bin/python3.11")
    columns, strings = seen.table.processes, seen.table.strings
    assert seen.args(process) == ["shown-name", "a b", ""]
    assert strings[columns.cwd[process]] == "/usr/share"
    assert int(columns.uid[process]) == 1234
    assert strings[columns.parent_exe[process]] == "/usr/bin/python3.11"
    assert seen.table.string_list(int(columns.ancestors[process])) == ["/usr/bin/python3.11"]
    assert int(columns.parent_pid[process]) == int(columns.pid[python])
    assert int(columns.parent_start_time[process]) == int(columns.start_time[python])


def test_a_script_is_its_interpreter_with_the_script_as_argument(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(
        PYTHON, "-c", "open('/tmp/s.sh', 'w').write('#!/bin/sh\\ntrue\\n'); import os; os.chmod('/tmp/s.sh', 0o755)"
    )
    containers[0].exec("/tmp/s.sh", "x")

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/dash")))

    (process,) = seen.execs("/usr/bin/dash")
    assert seen.args(process) == ["/bin/sh", "/tmp/s.sh", "x"]


def test_failed_execs_are_none(capture: Capture, containers: list[Container]) -> None:
    script = """
import os, subprocess
open('/tmp/broken', 'w').write('no program'); os.chmod('/tmp/broken', 0o755)
for path in ('/tmp/broken', '/tmp/missing', '/etc/passwd'):
    try: subprocess.run([path])
    except OSError: pass
subprocess.run(['/usr/bin/tac', '/dev/null'])
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    assert [seen.exe(process) for process in seen.execs()] == ["/usr/bin/python3.11", "/usr/bin/tac"]


def test_exec_by_a_thread_and_through_a_file_descriptor_count(capture: Capture, containers: list[Container]) -> None:
    script = """
import os, threading
if os.fork() == 0:
    threading.Thread(target=os.execv, args=('/usr/bin/tac', ['tac', '/dev/null'])).start()
else:
    os.wait()
if os.fork() == 0:
    os.execve(os.open('/usr/bin/tac', os.O_RDONLY), ['tac', '/dev/null'], {})
else:
    os.wait()
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: len(seen.execs("/usr/bin/tac")) >= 2)

    assert len(seen.execs("/usr/bin/tac")) == 2


def test_hostile_arguments_arrive_as_they_are_or_escaped(capture: Capture, containers: list[Container]) -> None:
    script = r"""
import os
if os.fork() == 0:
    os.execv(b'/usr/bin/tac', [b'tac', b'\xff\xfe', b'a\nb', b'\x1b[31mred', '\u202e'.encode(), b'/dev/null'])
os.wait()
"""
    containers[0].exec(PYTHON, "-c", script, check=False)

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    (process,) = seen.execs("/usr/bin/tac")
    assert seen.args(process) == ["tac", r"\xff\xfe", "a\nb", "\x1b[31mred", "\u202e", "/dev/null"]


def test_long_arguments_are_kept_up_to_4_kib_and_marked_when_cut(capture: Capture, containers: list[Container]) -> None:
    script = (
        "import subprocess\nfor size in (3000, 100000): subprocess.run(['/usr/bin/tac', '/dev/null', 'x' * size], stderr=-3)"
    )
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: len(seen.execs("/usr/bin/tac")) >= 2)

    whole, cut = seen.execs("/usr/bin/tac")
    flags = seen.table.processes.flags
    assert seen.args(whole) == ["/usr/bin/tac", "/dev/null", "x" * 3000]
    assert not flags[whole] & ARGS_TRUNCATED
    assert seen.args(cut)[:2] == ["/usr/bin/tac", "/dev/null"]
    assert 3900 < len(seen.args(cut)[2]) < 4096
    assert flags[cut] & ARGS_TRUNCATED


def test_a_process_cannot_rename_its_programs_with_chroot(capture: Capture, containers: list[Container]) -> None:
    program = compile_c("int main(void) { return 0; }")
    (containers[0].rootfs / "tmp/jail/usr/bin").mkdir(parents=True)
    fake = containers[0].rootfs / "tmp/jail/usr/bin/nginx"
    fake.write_bytes(program.read_bytes())
    fake.chmod(0o755)
    containers[0].exec(PYTHON, "-c", "import os; os.chroot('/tmp/jail'); os.execv('/usr/bin/nginx', ['nginx'])")

    seen = capture.until(lambda seen: any("nginx" in seen.exe(process) for process in seen.execs()))

    assert [seen.exe(process) for process in seen.execs() if "nginx" in seen.exe(process)] == ["/tmp/jail/usr/bin/nginx"]


def test_the_host_is_not_seen(capture: Capture, containers: list[Container]) -> None:
    subprocess.run(["/usr/bin/tac", "/dev/null"], check=True)
    containers[0].exec("/usr/bin/tac", "/dev/null")

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    assert len(seen.execs("/usr/bin/tac")) == 1


@pytest.mark.parametrize(
    ("script", "exe", "flags"),
    [
        ("subprocess.run(['/usr/bin/tac', '/dev/null'])", "/usr/bin/tac", {"INJECTED"}),
        (
            "shutil.copy('/usr/bin/tac', '/tmp/own'); subprocess.run(['/tmp/own', '/dev/null'])",
            "/tmp/own",
            {"INJECTED", "UPPER_LAYER"},
        ),
        (
            "shutil.copy('/usr/bin/tac', '/dev/shm/own'); subprocess.run(['/dev/shm/own', '/dev/null'])",
            "/dev/shm/own",
            {"INJECTED", "UPPER_LAYER"},
        ),
        (
            """f = os.memfd_create('own', 0); os.write(f, open('/usr/bin/tac', 'rb').read())
subprocess.run(['tac', '/dev/null'], executable=f'/proc/self/fd/{f}', pass_fds=[f])""",
            "memfd:own",
            {"INJECTED", "MEMFD"},
        ),
        (
            "a, b = socket.socketpair(); subprocess.run(['/usr/bin/tac', '/dev/null'], stdin=a)",
            "/usr/bin/tac",
            {"INJECTED", "STDIO_SOCKET"},
        ),
        (
            "pid, master = pty.fork(); os.execv('/usr/bin/tac', ['tac', '/dev/null']) if pid == 0 else os.waitpid(pid, 0)",
            "/usr/bin/tac",
            {"INJECTED", "TTY"},
        ),
    ],
    ids=["plain", "upper layer", "shared memory", "memfd", "socket", "terminal"],
)
def test_flags(capture: Capture, containers: list[Container], script: str, exe: str, flags: set[str]) -> None:
    containers[0].exec(PYTHON, "-c", f"import os, pty, shutil, socket, subprocess; {script}")

    seen = capture.until(lambda seen: bool(seen.execs(exe)))

    assert [seen.flags(process) for process in seen.execs(exe)] == [flags]


def test_children_of_the_first_process_are_not_injected(capture: Capture, world: World) -> None:
    script = "import subprocess, time\nsubprocess.run(['/usr/bin/tac', '/dev/null'])\ntime.sleep(1000)"
    with world.deploy("lively", program=Program(argv=(PYTHON, "-c", script))):
        seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

        (process,) = seen.execs("/usr/bin/tac")
        assert seen.flags(process) == set()
        (first,) = seen.execs("/usr/bin/python3.11")
        assert seen.flags(first) == set()
        assert seen.table.strings[seen.table.processes.parent_exe[first]] == ""


def test_a_container_that_is_in_v1_hierarchies_only_is_known(capture: Capture, world: World) -> None:
    unified = next(
        (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line), ""
    )
    if not unified or not any(" - cgroup " in line for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        pytest.skip("needs a hybrid host: cgroup v1 hierarchies beside v2")
    script = "import os, subprocess, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.05)\n"
    script += "subprocess.run(['/usr/bin/tac', '/dev/null'])\ntime.sleep(1000)"
    with world.deploy("older", program=Program(argv=(PYTHON, "-c", script))) as deployment:
        container = deployment.replicas[0].container
        # As older runtimes leave it on such hosts: nothing of theirs in the unified hierarchy.
        (Path(unified) / "cgroup.procs").write_text(str(container.pid))
        (container.rootfs / "tmp/go").touch()

        seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

        assert len(seen.execs("/usr/bin/tac", container.id)) == 1
