"""Times as they stand in lines: each second is worked out once."""

from typing import Any

from peerwatch.columns import NANOSECONDS
from peerwatch.jsonlines.fields import WrongError
from peerwatch.times import MOST_NS, parse_time

__all__ = ["Moments"]

MOST_SECONDS = 65_536
"""Seconds that are remembered: start times of processes are among them."""

Object = dict[str, Any]


class Moments:
    """Reads times of fields and of lines that were not parsed."""

    def __init__(self) -> None:
        self.seconds: dict[str, int] = {}
        self.instants: dict[bytes, int] = {}
        """The same with the point or the Z that follows, before they are text."""

    def field(self, holder: Object, name: str) -> int:
        """Return a field's time as nanoseconds since 1970, 0 where there is none."""
        moment = holder.get(name)
        if moment is None:
            return 0
        if not isinstance(moment, str):
            raise WrongError(f"{name} must be an RFC 3339 time")
        return self._of_text(moment, name)

    def plain(self, moment: bytes, name: str) -> int:
        """Return the nanoseconds of a time as it stands between its quotes, which must not hold an escape.

        Raises:
            LookupError: it does.
            UnicodeDecodeError: it is no time, and not ASCII.
        """
        known = self.instants.get(moment[:20])
        if known is not None:
            size, digits = len(moment), moment[20:-1]
            if size <= 30 and moment[-1] == _Z and digits.isdigit():
                return known + int(digits) * _SCALE[size]
            if size == 20:
                return known
        text = moment.decode("ascii")
        if "\\" in text:
            raise LookupError
        return self._of_text(text, name)

    def _of_text(self, moment: str, name: str) -> int:
        # "2026-11-21T10:00:00" is worked out once a second; what follows is a point, digits and Z.
        second, rest = moment[:19], moment[19:]
        known = self.seconds.get(second)
        if known is not None and rest[-1:] == "Z":
            digits = rest[1:-1]
            if not digits and rest == "Z":
                return known
            if rest[0] == "." and len(digits) <= 9 and digits.isascii() and digits.isdigit():
                return known + int(digits.ljust(9, "0"))
        try:
            time = parse_time(moment)
        except ValueError as error:
            raise WrongError(f"{name}: {error}") from None
        if not -MOST_NS <= time <= MOST_NS:
            if name == "time":
                raise WrongError(f"time: {moment[:64]!r} is before 1678 or after 2261")
            return 0  # year 1 is how some programs write that they do not know
        if rest[-1:] == "Z":
            self._remember(second, time // NANOSECONDS * NANOSECONDS)
        return time

    def _remember(self, text: str, time: int) -> None:
        if len(self.seconds) > MOST_SECONDS:
            self.seconds.clear()
            self.instants.clear()
        second = text.encode()
        self.seconds[text] = self.instants[second + b"."] = self.instants[second + b"Z"] = time


_SCALE = (0,) * 21 + tuple(int(10 ** (9 - digits)) for digits in range(10))
"""Nanoseconds in the last digit of a time of so many characters, of which 21 are none of a second's part."""

_Z = ord("Z")
