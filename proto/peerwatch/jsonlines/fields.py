"""Fields of a line's JSON objects: a field is what it must be, its default where it is missing or null, or says why not."""

import enum
from typing import Any

from peerwatch.times import MOST_NS, parse_duration

__all__ = ["MOST_PORT", "WrongError", "duration", "integer", "items", "mapping", "number_of", "pairs", "text", "texts"]

MAX_DIGITS = 20
"""Digits of the largest 64-bit number: Python refuses to convert thousands, and none is meant."""

MOST_PORT = 65_535

Object = dict[str, Any]


class WrongError(ValueError):
    """A field is not what it must be: carries the sentence from the field to its line."""


def text(holder: Object, name: str) -> str:
    """Return a string."""
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongError(f"{name} must be a string")
    return value


def integer(holder: Object, name: str, most: int = 2**32 - 1) -> int:
    """Return a whole number."""
    value = holder.get(name)
    if value is None:
        return 0
    if (
        isinstance(value, str) and len(value) <= MAX_DIGITS and value.isascii() and value.isdigit()
    ):  # proto3 JSON takes numbers as strings
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise WrongError(f"{name} must be a whole number from 0 to {most}")
    return value


def mapping(holder: Object, name: str) -> Object:
    """Return an object."""
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WrongError(f"{name} must be an object")
    return value


def items(holder: Object, name: str) -> list[Any]:
    """Return a list of anything."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise WrongError(f"{name} must be a list")
    return value


def texts(holder: Object, name: str) -> tuple[str, ...]:
    """Return a list of strings."""
    value = holder.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise WrongError(f"{name} must be a list of strings")
    return tuple(value)


def pairs(holder: Object, name: str) -> tuple[tuple[str, str], ...]:
    """Return an object whose values are strings, as pairs sorted by key."""
    value = mapping(holder, name)
    if not all(isinstance(each, str) for each in value.values()):
        raise WrongError(f"{name} must map strings to strings")
    return tuple(sorted(value.items()))


def number_of(holder: Object, name: str, values: type[enum.IntEnum]) -> int:
    """Return the number of an enum's value, given by its name or number; a newer writer's value is 0."""
    value = holder.get(name)
    if isinstance(value, str):
        member = values.__members__.get(value)
        return int(member) if member is not None else 0
    number = integer(holder, name)
    return number if number < len(values) else 0


def duration(holder: Object, name: str) -> int:
    """Return nanoseconds."""
    value = text(holder, name)
    try:
        nanoseconds = parse_duration(value) if value else 0
    except ValueError as error:
        raise WrongError(f"{name}: {error}") from None
    if not -MOST_NS <= nanoseconds <= MOST_NS:
        raise WrongError(f"{name}: {value[:64]!r} is more than 292 years")
    return nanoseconds
