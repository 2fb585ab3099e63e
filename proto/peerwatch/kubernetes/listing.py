"""One page of a list, item by item. Pure.

A page of 500 pods is 5 MB of JSON, and 40 MB as objects. Worse, the few texts that are kept of each pod would lie between all
the others of the page and keep their memory from being given back: four times what is kept. Item by item they lie close.
"""

import json
import re
from collections.abc import Iterator, Mapping

from peerwatch.kubernetes.errors import ServerError

__all__ = ["Page"]

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()  # orjson reads whole texts only


class Page:
    """The server's answer to a list. `metadata` is complete once `items` is through."""

    def __init__(self, body: bytes) -> None:
        self.metadata: Mapping[str, object] = {}
        self._body = body

    def items(self) -> Iterator[object]:
        """Yield each item; of what else there is only `metadata` is kept.

        Raises:
            ServerError: it is no list.
        """
        try:
            text = _Text(self._body.decode())
            self._body = b""
            for key in text.keys():  # noqa: SIM118 — no dictionary
                if key == "items" and text.next() == "[":
                    yield from text.array()
                    continue
                value = text.value()
                if key == "metadata" and isinstance(value, dict):
                    self.metadata = value
                elif key == "items" and value is not None:
                    raise ServerError("its answer to a list is no list")
        except (ValueError, RecursionError) as error:
            raise ServerError(f"its answer to a list makes no sense: {error}") from None


class _Text:
    """JSON that is read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def next(self) -> str:
        """Return the next character that is no space, without going on; empty at the end."""
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def value(self) -> object:
        """Return the value that comes next."""
        self.next()
        value, self._at = _DECODER.raw_decode(self._text, self._at)
        return value

    def keys(self) -> Iterator[object]:
        """Yield each key of an object; its value must be read before the next."""
        for _ in self._members("{", "}"):
            key = self.value()
            self._expect(":")
            yield key

    def array(self) -> Iterator[object]:
        """Yield each value of an array."""
        for _ in self._members("[", "]"):
            yield self.value()

    def _members(self, begin: str, end: str) -> Iterator[None]:
        """Stop before each member of an object or array; it must be read before the next."""
        self._expect(begin)
        goes_on = self.next() != end
        if not goes_on:
            self._expect(end)
        while goes_on:
            yield
            goes_on = self._goes_on(end)

    def _goes_on(self, end: str) -> bool:
        found = self.next()
        if found not in {",", end}:
            raise ValueError(f"expected , or {end} at character {self._at}")
        self._at += 1
        return found == ","

    def _expect(self, wanted: str) -> None:
        if self.next() != wanted:
            raise ValueError(f"expected {wanted} at character {self._at}")
        self._at += 1
