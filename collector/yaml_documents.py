"""YAML from people, as nodes that know their lines: bounded, and without aliases, so that a small file stays small."""

from typing import Any

from collector.errors import InputError

__all__ = ["compose", "line_of"]

EVENTS_MAX = 1_000_000
"""Brackets and words of a file: three times those of 20,000 behaviours. A node of the parser takes half a kilobyte."""


def compose(text: bytes, name: str, *, depth_max: int, fix: str) -> Any:  # noqa: ANN401 — a node of PyYAML, which has no base class in its types
    """Return the root node of a document, None if it is empty.

    Args:
        text: content of the file.
        name: what errors call it.
        depth_max: levels of nesting that are read.
        fix: what errors say is to be done.

    Raises:
        InputError: it is no YAML, or more than is read; the text names file and line.
    """
    import yaml  # noqa: PLC0415 — 3 MB and 30 ms that most commands do not need

    def wrong(mark: Any, problem: str) -> InputError:  # noqa: ANN401 — see line_of
        return InputError(f"{name}{f', line {line_of(mark)}' if mark is not None else ''}: {problem[:500]}; {fix}")

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for number, event in enumerate(yaml.parse(text, loader)):
            if number > EVENTS_MAX:
                raise wrong(event.start_mark, "there is more in it than in any baseline")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > depth_max:
                raise wrong(event.start_mark, f"it is nested deeper than {depth_max} levels")
            if isinstance(event, yaml.AliasEvent):
                raise wrong(event.start_mark, "aliases (*name) are not read")
        return yaml.compose(text, loader)
    except yaml.MarkedYAMLError as error:
        raise wrong(error.problem_mark, error.problem or "it is no YAML") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())[:200]}; {fix}") from None


def line_of(mark: Any) -> int:  # noqa: ANN401 — two classes of PyYAML, one of which only C knows
    """Return the line of a mark, counted from 1."""
    return int(mark.line) + 1
