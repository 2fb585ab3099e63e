"""The demo's plot: normal life, a break-in, the finding, the verdict. The same for both stages."""

import time
from concurrent.futures import ThreadPoolExecutor

from peerwatch.v1 import incident_pb2

from demo.screen import Screen
from demo.shop import NAMESPACE
from demo.stages import Stage
from demo.verdict import Verdict, alerts_of, judge
from demo.watcher import Watcher

__all__ = ["tell"]

WORKLOAD = "cart"
FINDING_LIMIT_S = 10.0
"""How long after the attack the demo waits for an alert before it says that there is none."""

QUIET_S = 3.0
"""How long it then waits for alerts that should not come."""


def tell(stage: Stage, screen: Screen, watcher: Watcher) -> Verdict:
    """Play the story on a stage and judge it."""
    screen.heading("Normal life: five replicas of one service should behave alike" if stage.replicas == 5 else "Normal life")
    _normal_life(stage, screen, watcher)
    told = _Teller(screen, watcher)
    told.new()
    screen.heading("The attack: somebody breaks into one replica")
    with ThreadPoolExecutor(1, thread_name_prefix="attack") as pool:
        playing = pool.submit(stage.attack, lambda line: screen.say(line, "red"))
        while not playing.done():
            told.new()
            time.sleep(0.02)
        playing.result()
    begin = time.monotonic()
    quiet_from = 0.0
    while not quiet_from or time.monotonic() < quiet_from + QUIET_S:
        stage.check()
        told.new()
        if not quiet_from and (told.alerted or time.monotonic() > begin + FINDING_LIMIT_S):
            quiet_from = time.monotonic()
        time.sleep(0.05)
    arrivals, held = watcher.arrivals(), watcher.incidents()
    picture = watcher.picture(NAMESPACE, WORKLOAD)
    screen.heading("The finding")
    for alert in alerts_of([*held, *(each.incident for each in arrivals)]):
        screen.incident(alert, picture.baseline, stage.replicas)
    verdict = judge(arrivals, held, stage.attacked, stage.limit_s)
    screen.verdict(verdict, stage.attacked)
    return verdict


def _normal_life(stage: Stage, screen: Screen, watcher: Watcher) -> None:
    with screen.learning():
        while (left := stage.normal_life_left()) > 0:
            stage.check()
            picture = watcher.picture(NAMESPACE, WORKLOAD)
            screen.picture(picture, f"{left:.0f} s of normal life left; incidents so far: {len(watcher.arrivals())}")
            time.sleep(min(1.0, left))


class _Teller:
    """Says each revision of an incident once, when it has arrived."""

    def __init__(self, screen: Screen, watcher: Watcher) -> None:
        self.alerted = False
        self._screen, self._watcher, self._told = screen, watcher, 0

    def new(self) -> None:
        arrivals = self._watcher.arrivals()
        for arrival in arrivals[self._told :]:
            incident = arrival.incident
            severity = incident_pb2.Incident.Severity.Name(incident.severity)
            self.alerted = self.alerted or incident.severity >= incident_pb2.Incident.LOW
            pods = ", ".join(replica.pod for replica in incident.replicas)
            after = arrival.at - incident.first_event.ToNanoseconds() / 1e9
            newest = incident.behaviours[-1].key if incident.behaviours else ""
            self._screen.say(
                f"{severity} {pods}: {len(incident.behaviours)} behaviours, {after:.2f} s in: {newest}", "bold yellow"
            )
        self._told = len(arrivals)
