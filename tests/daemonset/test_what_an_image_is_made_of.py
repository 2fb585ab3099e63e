"""The list of parts in each image: what is installed, once each, the same bytes for the same content."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 Contains the standard libraries.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: python3
Status: install ok installed
Architecture: amd64
Source: python3-defaults (3.11.2-1)
Version: 3.11.2-1+b1
"""


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "daemonset/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packages_that_dpkg_has_installed_are_listed_with_their_source(sbom: ModuleType) -> None:
    libc, python = sbom.debian_packages(STATUS, RELEASE)
    assert libc["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"
    assert [each["properties"][0]["value"] for each in (libc, python)] == ["glibc", "python3-defaults"]
    assert python["version"] == "3.11.2-1+b1"


def test_python_packages_are_those_that_are_there(sbom: ModuleType) -> None:
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    found = {each["name"]: each for each in sbom.python_packages(str(site))}
    assert {"grpcio", "numpy", "protobuf", "peerwatch"} <= found.keys()
    assert found["grpcio"]["purl"] == f"pkg:pypi/grpcio@{found['grpcio']['version']}"


def test_the_same_parts_give_the_same_bytes_in_whatever_order_they_are_found(sbom: ModuleType) -> None:
    parts = list(sbom.debian_packages(STATUS, RELEASE))
    one, other = (json.dumps(sbom.bill("peerwatch-agent", "1", each)) for each in (parts, parts[::-1]))
    assert one == other
    assert json.dumps(sbom.bill("peerwatch-agent", "2", parts)) != one


def test_the_document_has_what_the_format_asks_for(sbom: ModuleType) -> None:
    bill = sbom.bill("peerwatch-agent", "1", list(sbom.debian_packages(STATUS, RELEASE)))
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert bill["serialNumber"].startswith("urn:uuid:")
    references = [each["bom-ref"] for each in bill["components"]]
    assert len(set(references)) == len(references) == 2
    for component in bill["components"]:
        assert component.keys() >= {"type", "name", "version", "purl"}


@pytest.mark.parametrize("side", ["agent", "collector"])
def test_it_is_written_before_the_image_is_stripped(side: str) -> None:
    lines = (ROOT / f"daemonset/{side}.Containerfile").read_text().splitlines()
    listed = lines.index(f'RUN ["/usr/bin/python3", "/sbom.py", "peerwatch-{side}", "/opt/peerwatch/sbom.cdx.json"]')
    stripped = lines.index('RUN ["/usr/bin/python3", "/strip-image.py"]')
    assert listed < stripped
