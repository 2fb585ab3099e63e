"""Settings of detection as files, TOML or YAML: what people try with `peerwatch backtest` and then run with.

A file names only what it changes. What is unknown, of the wrong kind or out of bounds is an error that names the file, the line
where the format tells it, and the field. The fields are those of `Settings`, so that nothing here has to be kept in step.
"""

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from collector.analysis import Settings
from collector.errors import InputError
from collector.yaml_documents import compose, line_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["FILE_MAX", "chosen", "parse", "read", "to_toml"]

FILE_MAX = 64 << 10
"""Largest file that is read, bytes: all settings with a page of comments take a tenth."""

DEPTH_MAX = 4
"""Levels of nesting of YAML; settings have two."""

MOST_SECONDS = 366 * 86_400.0
"""Longest duration: a year, far from where nanoseconds overflow."""

MOST_KEPT = 10_000_000
"""Largest bound: ten million things kept are some gigabytes."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_FIX = "peerwatch backtest --print-config shows all settings"


_Group = TypeVar("_Group", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class _Node:
    """A value of a file, and its line where that is known."""

    value: "str | int | float | bool | dict[str, _Node]"
    line: int = 0


def read(name: str) -> Settings:
    """Return the settings of a file; what it does not name is as by default.

    Raises:
        InputError: it cannot be read, or is no file of settings.
    """
    try:
        with Path(name).open("rb") as file:
            text = file.read(FILE_MAX + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise InputError(f"cannot read the settings of {name}: {getattr(error, 'strerror', None) or error}") from error
    return parse(text, name)


def chosen(config: str, budget: float | None) -> Settings:
    """Return the settings of a command: its file, if it has one, and its budget, if one is named.

    Raises:
        InputError: the file cannot be read, or is none of settings; the budget is no number.
    """
    settings = read(config) if config else Settings()
    if budget is None:
        return settings
    if not math.isfinite(budget):
        raise InputError(f"--budget {budget} is no number of alerts; 0.05 is one for each replica in 20 days")
    return dataclasses.replace(settings, budget=budget)


def parse(text: bytes, name: str) -> Settings:
    """Return the settings of a text.

    Args:
        text: content of the file.
        name: what errors call it; TOML if it ends so, else YAML.

    Raises:
        InputError: it has no settings; the text names file, line, field and what is wrong.
    """
    if len(text) > FILE_MAX:
        raise InputError(f"{name} has more than {FILE_MAX >> 10} KiB, and no settings have; {_FIX}")
    tree = _of_toml(text, name) if name.endswith(".toml") else _of_yaml(text, name)
    return _filled(Settings(), tree, name, "")


def to_toml(settings: Settings) -> str:
    """Return the text of settings, all of them."""
    plain, sections = [], []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            inner = [f"{each.name} = {_shown(getattr(value, each.name))}" for each in dataclasses.fields(value)]
            sections.append(f"\n[{field.name}]\n" + "\n".join(inner))
        else:
            plain.append(f"{field.name} = {_shown(value)}")
    return "\n".join([*plain, *sections]) + "\n"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _filled(defaults: _Group, tree: Mapping[str, _Node], name: str, section: str) -> _Group:
    """Return settings in which the values of a tree stand instead of the defaults."""
    known = {each.name: each.type for each in dataclasses.fields(defaults)}
    changed: dict[str, object] = {}
    for key, node in tree.items():
        where = f"{section}{key}"
        if key not in known:
            raise _wrong(name, node, f"{where}: no such setting; there are {', '.join(known)}")
        default = getattr(defaults, key)
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            if not isinstance(node.value, dict):
                raise _wrong(name, node, f"{where}: settings are expected in it, not {_kind(node.value)}")
            changed[key] = _filled(default, node.value, name, f"{where}.")
        else:
            changed[key] = _value(node, known[key], name, where, most=1 if section and default <= 1 else MOST_SECONDS)
    return dataclasses.replace(defaults, **changed)


def _value(node: _Node, kind: object, name: str, where: str, *, most: float) -> object:
    """Return a value of a kind, within bounds."""
    value = node.value
    if kind is bool:
        if not isinstance(value, bool):
            raise _wrong(name, node, f"{where}: true or false is expected, not {_kind(value)}")
        return value
    whole = kind is int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _wrong(name, node, f"{where}: a {'whole ' if whole else ''}number is expected, not {_kind(value)}")
    least, most = (1, MOST_KEPT) if whole else (0, most)
    if not least <= value <= most:  # NaN is not
        raise _wrong(name, node, f"{where}: {value} is not between {least} and {most:.0f}")
    return value if whole else float(value)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "several fields"
    return f"the text {value[:80]!r}" if isinstance(value, str) else str(value).lower()[:80]


def _of_toml(text: bytes, name: str) -> dict[str, _Node]:
    try:
        return _tree(tomllib.loads(text.decode()), name)
    except RecursionError:
        raise InputError(f"{name}: it is nested too deep; {_FIX}") from None
    except ValueError as error:  # a TOMLDecodeError is one, and says the line
        raise InputError(f"{name}: {_brief(error)}; {_FIX}") from None


def _tree(values: Mapping[str, Any], name: str) -> dict[str, _Node]:
    return {key: _Node(_tree(value, name) if isinstance(value, dict) else _scalar(value)) for key, value in values.items()}


def _scalar(value: object) -> str | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _of_yaml(text: bytes, name: str) -> dict[str, _Node]:
    node = compose(text, name, depth_max=DEPTH_MAX, fix=_FIX)
    return {} if node is None else _fields(node, name, "the file")


def _fields(node: Any, name: str, where: str) -> dict[str, _Node]:  # noqa: ANN401 — a node of PyYAML, which has no types for them
    at = _Node("", line_of(node.start_mark))
    if node.id != "mapping":
        raise _wrong(name, at, f"{where}: settings are expected in it, not a {node.id}")
    found: dict[str, _Node] = {}
    for key, value in node.value:
        line = line_of(key.start_mark)
        if key.id != "scalar":
            raise _wrong(name, _Node("", line), f"{where}: a name is expected, not a {key.id}")
        if key.value in found:
            raise _wrong(name, _Node("", line), f"{key.value}: it stands there twice")
        if value.id == "mapping":
            found[key.value] = _Node(_fields(value, name, key.value), line)
        elif value.id == "scalar":
            found[key.value] = _Node(_plain(value.value) if not value.style else value.value, line)
        else:
            raise _wrong(name, _Node("", line), f"{key.value}: a value is expected, not a {value.id}")
    return found


def _plain(text: str) -> str | float | bool:
    """Return what a plain word of YAML means: YAML itself takes `1e-3` for a text."""
    if text in {"true", "false"}:
        return text == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _wrong(name: str, node: _Node, problem: str) -> InputError:
    line = f", line {node.line}" if node.line else ""
    return InputError(f"{name}{line}: {problem[:500]}; {_FIX}")
