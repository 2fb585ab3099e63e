"""The pools of words, as `pools.toml` has them."""

import tomllib
from pathlib import Path

__all__ = ["POOLS"]

POOLS: dict[str, list[str]] = {
    name: words.split() for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}
