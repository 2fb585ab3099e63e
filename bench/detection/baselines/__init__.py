"""The rules of others on the same tables as peerwatch: small re-implementations of what is published about them.

None is tuned to a recording; where a rule has a parameter, its published values stand side by side. Learning periods of
minutes, which none of them uses, are there for recordings that are shorter than an hour.
"""

from collections.abc import Callable

import numpy as np
from detector import Detector
from peerwatch.columns import NANOSECONDS

from baselines.allow_lists import AllowList, arguments, edge, ever_new, executable, late_execution, network, new_and_alone
from baselines.frame import Frame, Hits, codes, detector_of
from baselines.replica_watcher import ReplicaWatcher
from baselines.static_rules import static_rules
from baselines.statistics_of_windows import Outliers, Rarity, Trigrams

__all__ = ["ALL", "RULES"]

MINUTES, HOUR, DAY = 300, 3_600, 86_400

WATCHER = ReplicaWatcher(300, 0.5)
"""The window and threshold with which B4 finds most on real software at a bearable noise."""


def union(allow: Callable[[Frame], Hits], watcher: Callable[[Frame], Hits]) -> Callable[[Frame], Hits]:
    """Return B10's union: what either of two rules says."""
    return lambda frame: allow(frame) | watcher(frame)


def intersection(allow: Callable[[Frame], Hits], watcher: ReplicaWatcher) -> Callable[[Frame], Hits]:
    """Return B10's intersection: what is not on the list, on a replica that the other accuses in that window."""

    def rule(frame: Frame) -> Hits:
        listed, accused = allow(frame), watcher(frame)
        width = int(watcher.window_s * NANOSECONDS)
        place = codes(frame.pod, frame.time // width)
        kept = listed.of(np.isin(place[listed.row], place[accused.row]))
        return Hits(kept.row, (frame.time[kept.row] // width + 1) * width)

    return rule


def _learning(suffix: str, seconds: float) -> dict[str, Callable[[Frame], Hits]]:
    stackrox = AllowList([executable], seconds)
    return {
        f"B1 StackRox{suffix}": stackrox,
        f"B2 Kubescape literal{suffix}": AllowList([executable, arguments, edge], seconds, again_s=3_600),
        f"B2 Kubescape wildcards{suffix}": AllowList([executable, network], seconds, again_s=3_600),
        f"B3 network{suffix}": AllowList([network], seconds),
        f"B5 IsolationForest{suffix}": Outliers("forest", seconds),
        f"B5 LOF{suffix}": Outliers("lof", seconds),
        f"B6 rarity{suffix}": Rarity(seconds),
        f"B7 trigrams{suffix}": Trigrams(seconds),
        f"B10 B1 or B4{suffix}": union(stackrox, WATCHER),
        f"B10 B1 and B4{suffix}": intersection(stackrox, WATCHER),
        f"B10 new and alone{suffix}": new_and_alone(MINUTES, seconds),
    }


RULES: dict[str, Callable[[Frame], Hits]] = {
    "B0 everything new": ever_new,
    **_learning(", 1 h", HOUR),
    "B1 StackRox, 24 h": AllowList([executable], DAY),
    "B2 Kubescape literal, 24 h": AllowList([executable, arguments, edge], DAY, again_s=3_600),
    "B2 Kubescape wildcards, 24 h": AllowList([executable, network], DAY, again_s=3_600),
    **_learning(", 5 min", MINUTES),
    "B4 ReplicaWatcher, 10 s": ReplicaWatcher(10, 0.5),
    "B4 ReplicaWatcher, 60 s": ReplicaWatcher(60, 0.5),
    "B4 ReplicaWatcher, 5 min": WATCHER,
    "B4n with destinations, 5 min": ReplicaWatcher(300, 0.5, destinations=True),
    "B8 late execution": late_execution,
    "B9 static rules": static_rules,
}
"""Each rule by its name in science's table, with its learning period."""

ALL: dict[str, Detector] = {name: detector_of(rule) for name, rule in RULES.items()}
"""The same as detectors."""
