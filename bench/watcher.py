"""A program: the collector as `peerwatch collector` runs it, which also tells, on stdin and stdout, what its view holds.

Nothing of the collector is replaced. Questions are single words, answers lines of JSON among its own; until the first question
it only notes how long the first lists took. After `mark` it notes when each container became known.
"""

import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "proto")]

from peerwatch.addresses import address_text  # noqa: E402 — found by the line above, as all that follow
from peerwatch.subjects import Subject  # noqa: E402 — as above

from collector.cli import main as collector_main  # noqa: E402 — as above
from collector.cluster.objects import ClusterPod  # noqa: E402 — as above
from collector.cluster.view import ClusterView  # noqa: E402 — as above
from collector.cluster.watching import ClusterWatch  # noqa: E402 — as above

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S = 0.02


class Watcher:
    """Looks on."""

    def __init__(self) -> None:
        self._watch: ClusterWatch | None = None
        self._begun = 0.0
        self._marks: dict[str, int] | None = None

    def attach(self) -> None:
        """Learn which watch the collector starts, and what it is told."""
        start, apply_pod = ClusterWatch.start, ClusterView.apply_pod

        def started(watch: ClusterWatch) -> None:
            self._watch, self._begun = watch, time.monotonic()
            threading.Thread(target=self._until_synced, daemon=True).start()
            start(watch)

        def applied(view: ClusterView, found: ClusterPod, now: int, heard: int | None = None) -> None:
            apply_pod(view, found, now, heard)
            if self._marks is not None:
                at = time.time_ns()
                for each in found.record.containers:
                    self._marks.setdefault(each.id, at)

        ClusterWatch.start = started  # type: ignore[method-assign]  # to look on
        ClusterView.apply_pod = applied  # type: ignore[method-assign]  # as above

    def answer(self) -> None:
        """Answer until stdin ends."""
        questions: dict[str, Callable[[], object]] = {
            "how": self._how,
            "mark": self._mark,
            "marks": self._told,
            "what": self._what,
        }
        for line in sys.stdin:
            _say({"answer": questions[line.strip()]()})

    def _until_synced(self) -> None:
        assert self._watch is not None
        while not self._watch.synced:
            time.sleep(LOOK_S)
        _say({"synced_s": time.monotonic() - self._begun, "cpu_s": _cpu_s()})

    def _how(self) -> object:
        assert self._watch is not None
        requests = {each._resource.plural: each.requests for each in self._watch.reflectors}  # noqa: SLF001 — as below
        return {"version": self._watch.version, "cpu_s": _cpu_s(), "requests": requests}

    def _mark(self) -> object:
        self._marks = {}
        return None

    def _told(self) -> object:
        marks, self._marks = self._marks, {}
        return marks

    def _what(self) -> object:
        """Return all that the view knows, in the words of the API server."""
        view: Any = self._watch._view  # type: ignore[union-attr]  # noqa: SLF001 — it is the view that is asked about
        with self._watch._lock:  # type: ignore[union-attr]  # noqa: SLF001 — as above
            return {
                "pods": {key: _pod(view, key) for key in view.pods.keys()},  # noqa: SIM118 — no dictionary
                "services": {
                    key: [found.namespace, found.name, sorted(map(address_text, found.addresses))]
                    for key in view.services.keys()  # noqa: SIM118 — no dictionary
                    if (found := view.services.of_key(key))
                },
                "slices": sorted(view.slices.keys()),
                "nodes": {key: [node.name, sorted(map(address_text, node.addresses))] for key, (node, _) in view.nodes.items()},
                "replicasets": sorted(view.owners["ReplicaSet"]),
            }


def _pod(view: ClusterView, key: str) -> object:
    known = view.pods.of_key(key)
    assert known is not None
    found = [view.subject(known.node, known.pod.uid, each.id, final=False) for each in known.containers]
    subjects = [each for each in found if isinstance(each, Subject)]
    pods = {
        (each.pod.namespace, each.pod.name, each.pod.workload.kind, each.pod.workload.name, each.pod.ip) for each in subjects
    }
    return [known.node, sorted(pods), sorted(each.container.id for each in subjects), len(found)]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    watcher = Watcher()
    watcher.attach()
    threading.Thread(target=watcher.answer, daemon=True).start()
    collector_main()
