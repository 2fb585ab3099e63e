"""Both images of the product as one archive that containerd imports, made of this checkout and this machine's packages.

What the Containerfiles build, without a registry, a download and five minutes: Debian's packages from where dpkg has put them,
Python's from the environment that runs this, and the code as it is now. Other than there, both images hold the same files.
"""

import compileall
import functools
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from cluster.archives import add_file, add_folder, add_link, write_archive

__all__ = ["NEXT", "TAG", "add_packages", "write"]

ROOT = Path(__file__).resolve().parents[2]
TAG = "checkout"
NEXT = "next"
"""A second name of the same images: what an upgrade does, without another version."""

PACKAGES = ("python3", "python3-bpfcc", "libbpf1")
"""What the Containerfiles install with apt."""

NOT_COPIED = re.compile(r"/usr/share/(doc|man|locale|info|perl5|bash-completion|lintian)/|/etc/|/var/")
PROGRAMS_NOT_COPIED = re.compile(r"/usr/s?bin/(?!python3)")
NOT_PYTHON = {"kubernetes"}
"""For kubeconfigs only, which no pod has; half of all that would be copied."""

HOME = "opt/peerwatch"
SITE = f"{HOME}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
ENVIRONMENT = [f"PATH=/{HOME}/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"]
PROGRAMS = {"peerwatch": "collector.cli", "peerwatch-agent": "agent.cli"}


def write(file: Path, *tags: str) -> None:
    """Write an archive with localhost/peerwatch-agent and localhost/peerwatch-collector, under each of the tags.

    Raises:
        RuntimeError: this machine has not what the images are made of.
    """
    if subprocess.run(["dpkg-query", "--version"], capture_output=True, check=False).returncode:
        raise RuntimeError("needs dpkg: the images are made of Debian's packages")
    images = {
        f"localhost/peerwatch-{side}": {"Entrypoint": [f"/{HOME}/bin/{program}"], "User": user, "Env": ENVIRONMENT}
        for side, program, user in (("agent", "peerwatch-agent", "0:0"), ("collector", "peerwatch", "65532:65532"))
    }
    tagged = {tuple(f"{name}:{tag}" for tag in tags or (TAG,)): run for name, run in images.items()}
    write_archive(file, _fill, tagged)


def add_packages(archive: tarfile.TarFile, *packages: str, programs: bool = True) -> None:
    """Fill an empty root file system with Debian's packages and all that they depend on.

    Raises:
        RuntimeError: they are not installed here.
    """
    for name in ("bin", "sbin", "lib", "lib64"):
        add_link(archive, name, f"usr/{name}")
    for name in ("dev", "proc", "sys", "etc", "run", "var/lib"):
        add_folder(archive, name)
    for name in ("tmp", "var/tmp"):
        add_folder(archive, name, mode=0o1777)
    for path in sorted(set(_debian_files(packages))):
        if programs or not PROGRAMS_NOT_COPIED.match(path):
            archive.add(path, path[1:], recursive=False, filter=_root_s)


def _fill(archive: tarfile.TarFile) -> None:
    add_packages(archive, *PACKAGES, programs=False)
    for name, path in _python_files():
        archive.add(path, f"{SITE}/{name}", recursive=False, filter=_root_s)
    add_link(archive, f"{SITE}/bcc", "/usr/lib/python3/dist-packages/bcc")
    add_file(archive, f"{HOME}/pyvenv.cfg", b"home = /usr/bin\ninclude-system-site-packages = false\n")
    add_link(archive, f"{HOME}/bin/python", "/usr/bin/python3")
    for program, module in PROGRAMS.items():
        text = f"#!/{HOME}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        add_file(archive, f"{HOME}/bin/{program}", text.encode(), mode=0o755)


def _debian_files(packages: Iterable[str]) -> Iterator[str]:
    """Yield the files of the packages and of all that they depend on, where they really are."""
    listing = _output("dpkg-query", "--show", "--showformat=${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n")
    needs: dict[str, set[str]] = {}
    for name, provides, depends in (line.split("\t") for line in listing.splitlines()):
        for each in {name, *_names(provides)}:
            needs.setdefault(each, set()).update({name, *_names(depends)} - {each})
    wanted, new = set[str](), set(packages)
    while new:
        wanted |= new
        new = set[str]().union(*(needs.get(name, set()) for name in new)) - wanted
    absent = [name for name in packages if name not in needs]
    if absent:
        raise RuntimeError(f"needs the packages {', '.join(absent)}: run `make setup`")
    installed = _output("dpkg-query", "--show", "--showformat=${Package}\n").split()
    real = functools.cache(os.path.realpath)  # of 1,000 folders with 9,000 files; many are still listed below /lib and /bin
    for line in _output("dpkg-query", "--listfiles", *sorted(wanted & set(installed))).splitlines():
        folder, _, name = line.rpartition("/")
        path = Path(real(folder)) / name
        if name and not NOT_COPIED.match(str(path)) and (path.is_symlink() or path.is_file()):
            yield str(path)


def _names(field: str) -> set[str]:
    return {name for each in re.split(r"[,|]", field) if (name := re.split(r"[ :(]", each.strip())[0])}


def _python_files() -> Iterator[tuple[str, Path]]:
    """Yield the files of the locked packages and our own, with their names in site-packages; compiled ones, too."""
    locked = {name for side in ("agent", "collector") for name in _locked(ROOT / f"requirements/{side}.lock")}
    for name in sorted(locked - NOT_PYTHON):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or system
        files = [file for file in distribution.files or () if file.parts[0] != ".." and file.suffix != ".pyc"]
        yield from _with_compiled((str(file), Path(str(distribution.locate_file(file)))) for file in files)
    own = importlib.metadata.distribution("peerwatch")
    metadata = f"peerwatch-{own.version}.dist-info/METADATA"
    yield metadata, Path(str(own.locate_file(metadata)))
    for folder, base in (("agent", ROOT), ("collector", ROOT), ("peerwatch", ROOT / "proto")):
        yield from _with_compiled(
            (str(path.relative_to(base)), path)
            for path in sorted((base / folder).rglob("*"))
            if path.is_file() and path.suffix not in {".pyc", ".pyi", ".proto"}
        )


def _with_compiled(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    for name, path in files:
        yield name, path
        if path.suffix != ".py":
            continue
        # Where it is not there or too old; a container whose root cannot be written would do it at each start.
        compileall.compile_file(path, quiet=2)
        compiled = Path(importlib.util.cache_from_source(str(path)))
        if compiled.exists():
            yield str(PurePosixPath(name).parent / "__pycache__" / compiled.name), compiled


def _locked(file: Path) -> list[str]:
    return re.findall(r"^([A-Za-z0-9._-]+)==", file.read_text(), re.MULTILINE)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _root_s(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
