"""Next to last step of an image: write down everything that it is made of, as CycloneDX 1.5 JSON.

What is listed is what is there, not what was asked for: dpkg's own list of installed packages, and the metadata that pip left
beside each Python package. The same content gives the same bytes: nothing in it depends on when or where the image was built.
"""

import json
import sys
import uuid
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")
PYTHON = "/opt/peerwatch/lib"
RELEASE = Path("/etc/os-release")


def debian_packages(status: str, release: str) -> Iterator[dict[str, Any]]:
    """Return what dpkg's status file says is installed, of the release that os-release names."""
    lines = (line.partition("=") for line in release.splitlines())
    system = {name: value.strip('"') for name, _, value in lines}
    distribution = system.get("ID", "debian")
    qualifier = f"{distribution}-{system['VERSION_ID']}" if "VERSION_ID" in system else distribution
    for paragraph in status.split("\n\n"):
        fields = Parser().parsestr(paragraph, headersonly=True)
        if fields.get("Status", "").split()[-1:] != ["installed"]:
            continue
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/{distribution}/{quote(name)}@{quote(version, safe='')}"
        component = {"type": "library", "name": name, "version": version}
        # "Source: glibc (2.36-9)": vulnerabilities are reported for source packages.
        source = fields.get("Source", name).split()[0]
        properties = [{"name": "peerwatch:debian-source", "value": source}]
        yield component | {"purl": f"{purl}?arch={fields['Architecture']}&distro={qualifier}", "properties": properties}


def python_packages(path: str) -> Iterator[dict[str, Any]]:
    """Return the Python distributions below a folder of site-packages."""
    for distribution in distributions(path=[path]):
        metadata = distribution.metadata
        name, version = metadata["Name"].lower().replace("_", "-"), metadata["Version"]
        component: dict[str, Any] = {"type": "library", "name": name, "version": version}
        if "License-Expression" in metadata:
            component["licenses"] = [{"expression": metadata["License-Expression"]}]
        yield component | {"purl": f"pkg:pypi/{quote(name)}@{quote(version)}"}


def bill(name: str, version: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document for an image with these components."""
    ordered = sorted(components, key=lambda each: each["purl"])
    listed = [{"bom-ref": component["purl"]} | component for component in ordered]
    content = json.dumps([name, version, listed], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # Of the content, so that the same image has the same number; no time of making, for the same reason.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": listed,
    }


def main() -> None:
    """Write the document of this image to the file that is named, for the image that is named."""
    name, target = sys.argv[1:]
    [site] = Path(PYTHON).glob("python3*/site-packages")
    python = list(python_packages(str(site)))
    version = next(each["version"] for each in python if each["name"] == "peerwatch")
    debian = list(debian_packages(DPKG.read_text(), RELEASE.read_text()))
    Path(target).write_text(json.dumps(bill(name, version, debian + python), indent=1) + "\n")
    Path(__file__).unlink()


if __name__ == "__main__":
    main()
