"""What a container image has: where its distribution keeps the tools, and which there are."""

from dataclasses import dataclass

from scenario.pools import POOLS

__all__ = ["DISTRIBUTIONS", "Image"]

_BUSYBOX, _SBIN, _ADDED = (frozenset(POOLS[name]) for name in ("busybox", "sbin", "added"))


@dataclass(frozen=True, slots=True)
class Image:
    """A container image's user land."""

    distribution: str
    merged: bool = True
    """/bin is /usr/bin, as in newer releases."""

    @property
    def has_shell(self) -> bool:
        """Whether there is anything to run but the service."""
        return self.distribution != "distroless"

    def file_of(self, command: str) -> str:
        """Return the file that runs for a command, links resolved."""
        if command.startswith(("/", "memfd:")):
            return command
        if command.startswith("python"):
            return "/usr/bin/python3.9" if self.distribution == "rhel" else "/usr/local/bin/python3.11"
        if command == "sh" and self.distribution != "alpine":
            return f"{self._bin}/{'bash' if self.distribution == 'rhel' else 'dash'}"
        if self.distribution == "alpine" and command in _BUSYBOX:
            return "/bin/busybox"
        return f"{self._folder(command)}/{command}"

    @property
    def _bin(self) -> str:
        return "/usr/bin" if self.merged else "/bin"

    def _folder(self, command: str) -> str:
        if command in _ADDED:
            return "/usr/local/bin"
        if command in _SBIN:
            return "/usr/sbin"
        return self._bin if command in _BUSYBOX else "/usr/bin"


DISTRIBUTIONS = ("debian", "debian", "debian", "alpine", "alpine", "rhel")
"""As they are drawn: Debian and its kin in half of the images."""
