"""Times and durations as proto3 JSON writes them, and nanoseconds. Imports next to nothing: every command needs it."""

import datetime
import functools
import re

__all__ = ["MOST_NS", "NANOSECONDS", "format_duration", "format_time", "parse_duration", "parse_time"]

NANOSECONDS = 1_000_000_000
"""In a second."""

MOST_NS = 2**63 - 1
"""Times are 64-bit nanoseconds since 1970, from 1677 to 2262; durations are bound by the same number."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The first second of the year 1 and the last of 9999."""

_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)


def parse_time(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is not one.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise _no_time(text)
    try:
        whole = datetime.datetime.fromisoformat(match[1].upper()).replace(tzinfo=datetime.UTC)
    except ValueError:  # a 13th month
        raise _no_time(text) from None
    seconds = (whole - _EPOCH) // datetime.timedelta(seconds=1)
    if match[3]:
        offset = int(match[4]) * 3600 + int(match[5]) * 60
        seconds -= offset if match[3] == "+" else -offset
    return seconds * NANOSECONDS + int((match[2] or "").ljust(9, "0"))


def _no_time(text: str) -> ValueError:
    return ValueError(f"not an RFC 3339 time: {text[:64]!r}")


@functools.lru_cache(maxsize=1024)  # events come in order: a second is asked for again and again
def _format_second(seconds: int) -> str:
    within = min(max(int(seconds), _FIRST), _LAST)  # RFC 3339 has no other years
    return (_EPOCH + datetime.timedelta(seconds=within)).isoformat()[:19]


def format_time(time_ns: int) -> str:
    """Return the RFC 3339 form, UTC, of nanoseconds since 1970; digits as proto3 JSON writes them (0, 3, 6 or 9)."""
    seconds, nanoseconds = divmod(time_ns, NANOSECONDS)
    return f"{_format_second(seconds)}{_fraction(nanoseconds)}Z"


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a duration like `1.5s`.

    Raises:
        ValueError: it is not one.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration in seconds, as 1.5s: {text[:64]!r}")
    duration = int(match[2]) * NANOSECONDS + int((match[3] or "").ljust(9, "0"))
    return -duration if match[1] else duration


def format_duration(duration: int) -> str:
    """Return the proto3 JSON form of nanoseconds: `1.5s` is 1,500,000,000 of them, written `1.500s`."""
    seconds, nanoseconds = divmod(abs(duration), NANOSECONDS)
    return f"{'-' if duration < 0 else ''}{seconds}{_fraction(nanoseconds)}s"


def _fraction(nanoseconds: int) -> str:
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"
