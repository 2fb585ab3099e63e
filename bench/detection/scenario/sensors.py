"""What sensors do to the truth (row 48 of the noise catalogue, and the loss arms): lose and double events, know pods late."""

import dataclasses

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS, ColumnsBuilder, EventColumns
from peerwatch.subjects import NOBODY, Subject

__all__ = ["sensed"]

RUN = 40
"""Rows of a node that are lost together, about: a full ring loses what comes until somebody reads it."""
DOUBLED = 1e-4
LATE_PODS = 0.1
"""Share of the pods whose first events come before their metadata."""
UNKNOWN_NS = int(0.3 * NANOSECONDS)
SKEW_NS = int(0.03 * NANOSECONDS)
"""Clocks of nodes differ by so much."""


def sensed(
    table: EventColumns, marks: npt.NDArray[np.int64], rng: np.random.Generator, *, loss: float
) -> tuple[EventColumns, npt.NDArray[np.int64]]:
    """Return what arrives of a table in time order, with each row's marks."""
    nodes, node_of = np.unique([subject.node for subject in table.subjects], return_inverse=True)
    node = node_of[table.subject]
    skew = rng.integers(-SKEW_NS, SKEW_NS, len(nodes))
    table = dataclasses.replace(_known_late(table, rng), time=table.time + skew[node])
    kept, losses = _lost(table, node, nodes.tolist(), rng, loss)
    doubled = np.sort(rng.choice(kept, int(len(kept) * DOUBLED), replace=False))
    rows = np.concatenate([kept, doubled])
    whole = EventColumns.concatenate([table.take(rows), losses]) if len(losses) else table.take(rows)
    marks = np.concatenate([marks[rows], np.tile([48, -1], (len(losses), 1))])
    order = np.argsort(whole.time, kind="stable")
    return whole.take(order), marks[order]


def _known_late(table: EventColumns, rng: np.random.Generator) -> EventColumns:
    """Take a few pods' names from their first events: the first subjects of a table stay, the others come behind them."""
    late = rng.random(len(table.subjects)) < LATE_PODS
    started = np.array([subject.container.started_at for subject in table.subjects])
    unknown = late[table.subject] & (table.time - started[table.subject] < UNKNOWN_NS)
    nobody: dict[str, int] = {}
    subjects: list[Subject] = list(table.subjects)
    column = table.subject.copy()
    for row in np.flatnonzero(unknown).tolist():
        node = table.subjects[table.subject[row]].node
        if node not in nobody:
            nobody[node] = len(subjects)
            subjects.append(dataclasses.replace(NOBODY, cluster=table.subjects[0].cluster, node=node))
        column[row] = nobody[node]
    return dataclasses.replace(table, subjects=subjects, subject=column)


def _lost(
    table: EventColumns, node: npt.NDArray[np.int64], nodes: list[str], rng: np.random.Generator, loss: float
) -> tuple[npt.NDArray[np.int64], EventColumns]:
    """Return the rows that are left, and the losses as their nodes report them."""
    builder = ColumnsBuilder()
    keep = np.ones(len(table), bool)
    for number, name in enumerate(nodes):
        rows = np.flatnonzero(node == number)
        rows = rows[np.argsort(table.time[rows], kind="stable")]
        subject = builder.subject(dataclasses.replace(NOBODY, cluster=table.subjects[0].cluster, node=name))
        for run in np.array_split(rows, max(1, len(rows) // RUN)):
            if len(run) and rng.random() < loss:
                keep[run] = False
                begin, end = int(table.time[run[0]]), int(table.time[run[-1]])
                builder.loss(begin, subject, reason="RING_FULL", count=len(run), begin=begin, end=end)
    return np.flatnonzero(keep), builder.build()
