"""Which arguments of a program are the same: learned per position, from how many values each has met."""

from collections.abc import Iterator

from collector.detect.shell_commands import OPERATORS

__all__ = ["ANY", "Forms"]

ANY = "<any>"
"""A position, or all arguments, that may hold anything harmless."""

SLOT_VALUES = 5
"""Values that one position may have before it counts as free: more than the modes and targets that people write down."""

MOST_TEMPLATES = 32
"""Templates that one program and parent may have before its arguments count as free as a whole. A busy real shell has five."""


class Forms:
    """The templates of one program and parent, and which of their positions are free."""

    def __init__(self) -> None:
        self.free = False
        """The arguments vary without end: they are all one."""
        self._known: dict[tuple[str, ...], None] = {}
        self._patterns: dict[tuple[str, ...], None] = {}

    def __len__(self) -> int:
        """Return how many templates there are."""
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Return the templates."""
        return iter(((ANY,),) if self.free else self._known)

    def find(self, words: tuple[str, ...], fixed: frozenset[int]) -> tuple[str, ...]:
        """Return the template under which these words are known, themselves if they are new.

        Args:
            words: a template.
            fixed: positions that must not be covered by a free one, because of what they say.
        """
        if self.free:
            return (ANY,)
        if words in self._known:
            return words
        for pattern in self._patterns:
            if len(pattern) == len(words) and all(
                known == word or (known == ANY and index not in fixed and may_vary(word))
                for index, (known, word) in enumerate(zip(pattern, words, strict=True))
            ):
                return pattern
        return words

    def add(self, words: tuple[str, ...], fixed: frozenset[int]) -> tuple[str, ...]:
        """Add a template and return the one that it is known under from now on."""
        known = self.find(words, fixed)
        if known != words or known in self._known:
            return known
        if words == (ANY,) or len(self._known) >= MOST_TEMPLATES:
            self.free = True
            return (ANY,)
        self._known[words] = None
        if ANY in words:
            self._patterns[words] = None
            return words
        alike = [each for each in self._known if len(each) == len(words) and ANY not in each and self._same(each, words, fixed)]
        general = tuple(
            ANY if index not in fixed and may_vary(word) and len({each[index] for each in alike}) > SLOT_VALUES else word
            for index, word in enumerate(words)
        )
        if general == words:
            return words
        del self._known[words]
        self._known[general] = self._patterns[general] = None
        return general

    @staticmethod
    def _same(one: tuple[str, ...], other: tuple[str, ...], fixed: frozenset[int]) -> bool:
        return all(
            mine == theirs or (may_vary(mine) and may_vary(theirs) and index not in fixed)
            for index, (mine, theirs) in enumerate(zip(one, other, strict=True))
        )


def may_vary(word: str) -> bool:
    """Return whether a word may vary: options and a shell's operators say what is done, not with what."""
    return not word.startswith("-") and word not in OPERATORS
