"""Options that several commands have, with one wording each, and the values they take."""

import enum
import re
import time
from typing import Annotated

import typer
from peerwatch.columns import NANOSECONDS
from peerwatch.jsonlines import parse_time

from collector.commands.client import DEFAULT_SERVER
from collector.errors import InputError
from collector.records import Severity

__all__ = ["ListOutput", "NamespaceOption", "OutputOption", "ServerOption", "SeverityName", "parse_moment"]


class ListOutput(enum.StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"


class SeverityName(enum.StrEnum):
    """Severities by name."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def severity(self) -> Severity:
        """The value."""
        return Severity[self.name]


ServerOption = Annotated[
    str,
    typer.Option(
        "--server", envvar="PEERWATCH_SERVER", metavar="HOST:PORT", help="The collector to ask.", show_default=DEFAULT_SERVER
    ),
]
OutputOption = Annotated[ListOutput, typer.Option("--output", "-o", help="A table for people, or one JSON object a line.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Only this namespace.")]

_AGO = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_moment(text: str, option: str, now: int | None = None) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time or of a time ago such as 15m, 2h, 1d; nothing is 0.

    Raises:
        InputError: it is neither.
    """
    if not text:
        return 0
    ago = _AGO.fullmatch(text)
    if ago:
        return (time.time_ns() if now is None else now) - int(ago[1]) * _SECONDS[ago[2]] * NANOSECONDS
    try:
        return parse_time(text)
    except ValueError:
        raise InputError(
            f"{option} {text!r} is no time: use one like 2026-11-21T10:00:00Z, or how long ago: 90s, 15m, 2h, 1d"
        ) from None
