"""From tables of events to incidents: behaviours, baselines, peers, verdicts. No clock, no input or output.

`Analysis` is the one door, used live and by `peerwatch backtest`. What it decides by is `collector.detect`.

The way of an event: `batch` walks through its table, `behaviours` says what it shows (as text: `behaviour_keys`), and `groups`
finds the sighting that it belongs to in `sightings`. What is new is held by `verdicts`. `judging` has `cases` gather what is
known of it (what it means there: `meaning`; how new it is: `novelty`, `starts`; who else does it: `elsewhere`, `roles`), asks
the core, and makes it a finding; what the whole cluster knows of who comes from outside is in `errands` and `persons`. Of weak
findings `chains` makes one, of all of one cause (`deeds`) `incidents` does, within a budget (`spending`), and `reasons` says it
in a sentence. How often things are done goes a way of its own through `volume`, `counts` and `excess`.

Around it: `learning` and `decay` say what is on the allow list and what no longer is, `restoring` starts again from what was
saved, `curation`, `rulings` and `curated` put people's decisions first; `baselines`, `completeness` and `phases` are what
people see. `growing`, `index` and `notes` keep it small and quick.
"""

from collector.analysis.analysis import Analysis, Changes, Counters, Spending
from collector.analysis.settings import Settings

__all__ = ["Analysis", "Changes", "Counters", "Settings", "Spending"]
