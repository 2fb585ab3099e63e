"""Build the two images with what is here: buildah, podman or docker. `make images` runs this.

Without an option: images peerwatch-agent and peerwatch-collector of this version, from Debian's slim image. `--base` takes
another: the name of an image, or a file with a root file system (tar; debootstrap makes one), for where no registry can be
reached. What stands after `--` goes to the engine's build command, for example: -- --network host
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SIDES = ("agent", "collector")
ENGINES = ("buildah", "podman", "docker")
LOCAL_BASE = "localhost/peerwatch-base:local"


def arguments() -> argparse.Namespace:
    """Return what the call asks for."""
    parser = argparse.ArgumentParser(
        prog="make images ARGS=…", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", metavar="NAME|FILE", help="Debian 12 in another place than its registry")
    parser.add_argument("--engine", choices=ENGINES, help="default: the first of these that is here")
    parser.add_argument("--registry", default="localhost", help="first part of the images' names (default: %(default)s)")
    parser.add_argument("--tag", help="last part of their names (default: the version in pyproject.toml)")
    parser.add_argument("--push", action="store_true", help="push them to the registry")
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="write NAME.tar, which `ctr images import` and `kind load` read"
    )
    parser.add_argument("--only", choices=SIDES, help="one image only")
    parser.add_argument("more", nargs="*", metavar="-- ARGUMENT", help="for the engine's build command")
    return parser.parse_args()


def git(*command: str) -> str:
    """Return what git says about this checkout, or nothing where it is none."""
    call = ["git", "-c", f"safe.directory={ROOT}", *command]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


class Engine:
    """One of the three programs, whose commands differ in little."""

    def __init__(self, name: str, more: list[str]) -> None:
        self._name = name
        self._more = more

    def build(self, file: Path, context: Path, name: str, *options: str) -> None:
        """Build an image from a Containerfile; a base that is here already is not asked for at a registry."""
        pull = [] if self._name == "docker" else ["--pull=missing" if self._name == "podman" else "--pull=false"]
        self._run("build", *pull, *self._more, *options, "--file", str(file), "--tag", name, str(context))

    def push(self, name: str) -> None:
        """Push an image to the registry in its name."""
        self._run("push", name)

    def save(self, name: str, file: Path) -> None:
        """Write an image into a file."""
        file.unlink(missing_ok=True)
        if self._name == "buildah":
            self._run("push", name, f"docker-archive:{file}:{name}")
        else:
            self._run("save", "--output", str(file), name)

    def timestamp(self, seconds: str) -> list[str]:
        """Return the options that give all files and the image one time, so that two builds of one state are alike."""
        return ["--build-arg", f"SOURCE_DATE_EPOCH={seconds}"] if self._name == "docker" else ["--timestamp", seconds]

    def _run(self, *command: str) -> None:
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        subprocess.run([self._name, *command], check=True, cwd=ROOT, env=environment)


def local_base(engine: Engine, file: Path) -> str:
    """Make an image of a root file system in a tar file and return its name."""
    with tempfile.TemporaryDirectory(prefix="peerwatch-base-") as folder:
        context = Path(folder)
        try:
            os.link(file, context / "base.tar")
        except OSError:  # another file system
            shutil.copy(file, context / "base.tar")
        (context / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        engine.build(context / "Containerfile", context, LOCAL_BASE)
    return LOCAL_BASE


def main() -> int:
    """Build, and save or push if that is wanted; 3 if there is nothing to build with."""
    wanted = arguments()
    name = wanted.engine or next((each for each in ENGINES if shutil.which(each)), None)
    if name is None or shutil.which(name) is None:
        print(f"images: needs one of {', '.join(ENGINES)}", file=sys.stderr)
        return 3
    engine = Engine(name, wanted.more)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    options = [f"--label=org.opencontainers.image.revision={git('rev-parse', 'HEAD') or 'unknown'}"]
    seconds = git("log", "-1", "--format=%ct")
    try:
        if wanted.base:
            base = local_base(engine, Path(wanted.base)) if Path(wanted.base).is_file() else wanted.base
            options += ["--build-arg", f"BASE={base}"]
        for side in (wanted.only,) if wanted.only else SIDES:
            image = f"{wanted.registry}/peerwatch-{side}:{wanted.tag or version}"
            engine.build(HERE / f"{side}.Containerfile", ROOT, image, *options, *(engine.timestamp(seconds) if seconds else []))
            print(f"images: {image}")
            if wanted.save:
                wanted.save.mkdir(parents=True, exist_ok=True)
                engine.save(image, wanted.save.resolve() / f"peerwatch-{side}.tar")
            if wanted.push:
                engine.push(image)
    except subprocess.CalledProcessError as error:
        print(f"images: {error.cmd[0]} {error.cmd[1]} failed; what it said stands above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
