"""How often an address may have a new question asked on its behalf: who guesses tokens uses up their own share only."""

from collections import OrderedDict

__all__ = ["Budget"]

ADDRESSES_MAX = 8_192
"""Addresses that are remembered: more than nodes; the one unheard of longest goes, and begins with a full share again."""


class Budget:
    """A bucket for each address: `burst` questions at once, `per_s` more each second."""

    def __init__(self, *, burst: float, per_s: float, addresses_max: int = ADDRESSES_MAX) -> None:
        self._burst = burst
        self._per_s = per_s
        self._addresses_max = addresses_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> bool:
        """Take one question from an address's share; say whether there was one."""
        left, since = self._buckets.pop(address, (self._burst, now_s))
        left = min(self._burst, left + (now_s - since) * self._per_s)
        enough = left >= 1
        self._buckets[address] = (left - enough, now_s)
        if len(self._buckets) > self._addresses_max:
            self._buckets.popitem(last=False)
        return enough
