"""From tables of events to incidents: behaviours, baselines, peers, verdicts. No clock, no input or output.

`Analysis` is the one door, used live and by `peerwatch backtest`. What it decides by is `collector.detect`.
"""

from collector.analysis.analysis import Analysis, Changes, Counters, Spending
from collector.analysis.settings import Settings

__all__ = ["Analysis", "Changes", "Counters", "Settings", "Spending"]
