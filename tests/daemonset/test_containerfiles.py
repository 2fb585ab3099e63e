"""The images: hash-locked, without what an intruder could use, made only of what is in the repository."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILES = sorted((ROOT / "daemonset").glob("*.Containerfile"))


def _instructions(path: Path) -> list[str]:
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def _stages(path: Path) -> list[list[str]]:
    stages: list[list[str]] = []
    for instruction in _instructions(path):
        if instruction.startswith("FROM "):
            stages.append([])
        if stages:
            stages[-1].append(instruction)
    return stages


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.stem)
def test_copies_only_what_exists_and_is_not_ignored(path: Path) -> None:
    copies = [line.split()[1:-1] for line in _instructions(path) if line.startswith("COPY ") and "--from=" not in line]
    sources = [source for copy in copies for source in copy]
    assert len(sources) > 5
    assert [source for source in sources if not (ROOT / source).exists()] == []
    ignore_file = (ROOT / ".containerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignore_file if line.startswith("!")]
    assert [source for source in sources if not any((source + "/").startswith(name + "/") for name in allowed)] == []


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.stem)
def test_installs_from_lock_files_or_from_its_own_wheel_only(path: Path) -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&]+)", " ".join(_instructions(path)))
    assert len(installs) == 3
    assert [install for install in installs if "--require-hashes" not in install and "--no-index" not in install] == []
    assert [install for install in installs if "--no-cache-dir" not in install] == []


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.stem)
def test_the_image_is_what_is_left_after_everything_but_python_was_removed(path: Path) -> None:
    *_, root, last = _stages(path)
    assert root[-1] == 'RUN ["/usr/bin/python3", "/strip-image.py"]'
    assert last[0] == "FROM scratch"
    assert last[1] == "COPY --from=root / /"
    assert [line for line in last if line.startswith("RUN")] == []
    assert not any("pip" in line for line in root)


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.stem)
def test_the_entry_point_is_a_program_and_not_a_shell_line(path: Path) -> None:
    for word in ("ENTRYPOINT", "CMD"):
        [line] = [line for line in _stages(path)[-1] if line.startswith(word)]
        assert line.startswith(f"{word} [")


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.stem)
def test_the_label_says_the_version_that_pyproject_says(path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in path.read_text()


def test_the_collector_is_not_root() -> None:
    assert "USER 65532:65532" in _stages(ROOT / "daemonset/collector.Containerfile")[-1]
