"""Images of one layer, as the docker-archives that containerd imports: no registry is needed, and nothing is downloaded."""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["add_file", "add_folder", "add_link", "write_archive"]


def write_archive(file: Path, fill: Callable[[tarfile.TarFile], None], images: Mapping[tuple[str, ...], object]) -> None:
    """Write images that share one layer: `fill` puts its files in, `images` are their names, and how each is run."""
    with tempfile.TemporaryFile(dir=file.parent) as layer:
        with tarfile.open(fileobj=layer, mode="w") as archive:
            fill(archive)
        info = tarfile.TarInfo("layer.tar")
        info.size = layer.seek(0, os.SEEK_END)
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        layer.seek(0)
        with tarfile.open(file, "w") as archive:
            archive.addfile(info, layer)
            manifest = []
            for number, (names, run) in enumerate(images.items()):
                files = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
                config = {"architecture": "amd64", "os": "linux", "config": run, "rootfs": files}
                add_file(archive, f"{number}.json", json.dumps(config).encode())
                manifest.append({"Config": f"{number}.json", "RepoTags": names, "Layers": ["layer.tar"]})
            add_file(archive, "manifest.json", json.dumps(manifest).encode())


def add_file(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    """Put one file into a layer."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def add_folder(archive: tarfile.TarFile, name: str, *, mode: int = 0o755) -> None:
    """Put an empty folder into a layer."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    archive.addfile(info)


def add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    """Put a symbolic link into a layer."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)
