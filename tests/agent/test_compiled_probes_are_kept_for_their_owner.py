"""What is loaded into the kernel comes from this file: whatever could be another's, or damaged, is as if it were not there."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.capture.compiled import Compiled, Program, Reference, keep, kept
from agent.capture.libbpf import Map

KEY = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
COMPILED = Compiled(
    (Map("small_events", 27, 0, 0, 8388608, 0), Map("folds", 2, 4, 952, 4096, 1024)),
    (Program("first", 5, bytes(range(24)), (Reference(4, 1), Reference(12, 0))), Program("first", 17, bytes(8), ())),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "above" / "cache"
    monkeypatch.setenv("PEERWATCH_CACHE", str(path))
    return path


@pytest.fixture
def file(folder: Path) -> Path:
    keep(KEY, COMPILED)
    (file,) = folder.iterdir()
    assert kept(KEY) == COMPILED
    return file


def test_what_was_kept_is_found_under_its_key_only(file: Path) -> None:
    assert kept(OTHER) is None

    file.rename(file.with_name(file.name.replace(KEY, OTHER)))
    assert kept(OTHER) is None


def test_nobody_else_may_read_or_write_it(file: Path) -> None:
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)] == [0o700, 0o600]


def test_any_damaged_byte_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert kept(KEY) is None

    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert kept(KEY) is None

    file.write_bytes(whole + b" ")
    assert kept(KEY) is None


def test_what_is_damaged_is_replaced(file: Path) -> None:
    file.write_bytes(b"damaged")

    keep(KEY, COMPILED)

    assert kept(KEY) == COMPILED


def _link_file(file: Path) -> None:
    real = file.rename(file.with_name("real"))
    file.symlink_to(real)


def _link_folder(file: Path) -> None:
    real = file.parent.rename(file.parent.with_name("real"))
    file.parent.symlink_to(real)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _give_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file to another user")
    os.chown(path, 4242, -1)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.chmod(0o620),
        lambda file: file.chmod(0o602),
        lambda file: file.parent.chmod(0o770),
        lambda file: file.parent.chmod(0o707),
        _give_away,
        lambda file: _give_away(file.parent),
        _link_file,
        _link_folder,
        _pipe,
    ],
    ids=[
        "the group may write",
        "others may write",
        "the group may write to the folder",
        "others may write to the folder",
        "another's file",
        "another's folder",
        "a link",
        "a link to the folder",
        "a pipe",
    ],
)
def test_what_another_may_have_written_is_ignored(file: Path, change: Callable[[Path], None]) -> None:
    change(file)

    assert kept(KEY) is None


def test_nothing_is_put_where_others_may_write(file: Path) -> None:
    file.parent.chmod(0o777)

    keep(OTHER, COMPILED)

    assert list(file.parent.iterdir()) == [file]


def test_the_oldest_are_removed_and_strangers_left_alone(folder: Path) -> None:
    keys = [f"{number:064x}" for number in range(11)]
    folder.mkdir(0o700, parents=True)
    stranger = folder / "probes-of-others"
    unfinished = folder / f"probes-{OTHER}.new-4194305"
    stranger.write_text("")
    unfinished.write_text("")
    os.utime(stranger, (0, 0))
    os.utime(unfinished, (0, 0))
    for age, key in enumerate(keys, start=1):
        keep(key, COMPILED)
        os.utime(folder / f"probes-{key}", (age, age))
    keep(KEY, COMPILED)

    assert [key for key in keys if kept(key)] == keys[-7:]
    assert kept(KEY) == COMPILED
    assert stranger.exists()
    assert not unfinished.exists()


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/below", "/proc/none"])
def test_where_nothing_can_be_kept_nothing_fails(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("PEERWATCH_CACHE", place)

    keep(KEY, COMPILED)

    assert kept(KEY) is None
