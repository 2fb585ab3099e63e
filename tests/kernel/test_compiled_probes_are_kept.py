"""The second start needs no compiler: it is taken away here, so that whoever looks for it fails."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.session import run
from harness.world import World
from kernel.conftest import PIN_FOLDER

from agent.capture.compiled import keep, kept
from agent.capture.pins import unpin_all
from agent.capture.probes import Mode, Probes, uninstall
from agent.errors import UnsupportedError

pytestmark = pytest.mark.kernel

NO_COMPILER = "bcc is missing"

FOLDED = Mode()

Taken = Callable[[], contextlib.AbstractContextManager[None]]

CONNECT = """
import socket, sys
with socket.socket() as client: client.connect_ex(("127.0.0.1", int(sys.argv[1])))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what is compiled."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEERWATCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def first_start(_attached: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first start left; its probes are gone. It takes two seconds, so there is one."""
    folder = tmp_path_factory.mktemp("first") / "cache"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PEERWATCH_CACHE", str(folder))
        start(PIN_FOLDER.with_name(PIN_FOLDER.name + "-first"))
    (file,) = folder.iterdir()
    return file


@pytest.fixture
def file(cache: Path, first_start: Path) -> Path:
    """What a first start left, for this test alone."""
    shutil.copytree(first_start.parent, cache)
    return cache / first_start.name


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A folder that hides bcc from a program that has it in its path."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "bcc.py").write_text("raise ImportError('hidden')")
    return folder


@pytest.fixture
def no_compiler(hidden: Path) -> Taken:
    """Take the compiler away for as long as a context lasts."""

    @contextlib.contextmanager
    def taken() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PYTHONPATH", str(hidden), prepend=os.pathsep)
            yield

    return taken


def start(pins: Path, mode: Mode = FOLDED) -> None:
    """Load, attach, and remove all of it."""
    with Probes(pins, mode):
        pass
    uninstall(pins)


@pytest.mark.usefixtures("file")
def test_probes_from_the_file_capture_as_those_just_compiled(
    world: World, containers: list[Container], own_pins: Path, no_compiler: Taken
) -> None:
    with no_compiler(), Probes(own_pins) as probes:
        for _ in range(7):
            containers[0].exec("/usr/bin/tac", "/dev/null")
        containers[0].exec("/usr/bin/python3", "-c", CONNECT, "7601")
        capture = Capture(probes, world)
        seen = capture.until(lambda seen: len(seen.execs("/usr/bin/tac")) >= 7 and bool(seen.connects(7601)))

    assert len(seen.execs("/usr/bin/tac")) == 7
    assert len(seen.connects(7601)) == 1


@pytest.mark.usefixtures("file")
def test_another_mode_is_another_file(cache: Path, own_pins: Path, no_compiler: Taken) -> None:
    start(own_pins, Mode(full=True))
    assert len(list(cache.iterdir())) == 2

    with no_compiler():
        start(own_pins)
        start(own_pins, Mode(full=True))
        with pytest.raises(UnsupportedError, match=NO_COMPILER):
            start(own_pins, Mode(host=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"),
        lambda file: shutil.chown(file, 4242),
        lambda file: file.chmod(0o666),
    ],
    ids=["damaged", "another's", "written by anyone"],
)
def test_a_file_that_is_not_to_be_trusted_is_compiled_and_written_anew(
    file: Path, own_pins: Path, no_compiler: Taken, change: Callable[[Path], None]
) -> None:
    change(file)
    with no_compiler(), pytest.raises(UnsupportedError, match=NO_COMPILER):
        start(own_pins)

    start(own_pins)

    with no_compiler():
        start(own_pins)


def test_what_the_kernel_refuses_is_compiled_and_written_anew(file: Path, own_pins: Path) -> None:
    key = file.name.removeprefix("probes-")
    good = kept(key)
    assert good is not None
    first, *others = good.programs
    keep(key, replace(good, programs=(replace(first, code=bytes(len(first.code))), *others)))

    start(own_pins)

    assert kept(key) == good


@pytest.fixture
def loader(file: Path, hidden: Path, own_pins: Path) -> Iterator[Callable[[], subprocess.CompletedProcess[str]]]:
    """Run the loader of a copy of the agent, without the compiler."""
    assert file.exists()
    with resources.as_file(resources.files("agent")) as agent:
        shutil.copytree(agent, hidden / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    pins = own_pins.with_name(own_pins.name + "-copy")
    command = [sys.executable, "-P", "-m", "agent.capture.loader", str(pins), "FOLDING"]
    yield lambda: subprocess.run(
        command,
        env={"PYTHONPATH": str(hidden), "PEERWATCH_CACHE": str(file.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    unpin_all(pins)


@pytest.mark.parametrize("source", ["bpf/exec.h", "bpf/include/linux/types.h", "offsets.py", "sizes.py"])
def test_other_sources_are_compiled(loader: Callable[[], subprocess.CompletedProcess[str]], hidden: Path, source: str) -> None:
    changed = hidden / "agent" / "capture" / source
    same = changed.read_text()
    changed.write_text(same + "\n")
    done = loader()
    assert (done.returncode, NO_COMPILER in done.stderr) == (3, True)

    changed.write_text(same)
    done = loader()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", ["ro", "size=16k"], ids=["read-only", "full"])
def test_a_disk_that_takes_nothing_costs_nothing_else(cache: Path, own_pins: Path, options: str) -> None:
    cache.mkdir(mode=0o700)
    run("mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "none", str(cache))
    try:
        start(own_pins)
        left = list(cache.iterdir())
    finally:
        run("umount", "-l", str(cache))

    assert left == []
