"""Who started whom: the processes of each container as a tree, with what they connected to."""

from dataclasses import dataclass, field

from peerwatch.columns import EventKind

from collector.commands.rows import EventRow
from collector.commands.show import clock, command, times
from collector.commands.terminal import Cell, print_line
from collector.commands.timeline import whose
from collector.errors import InputError

__all__ = ["ProcessTree"]

ENTRIES_MAX = 200_000
"""A tree is held in memory until all is read; nobody reads a longer one."""


@dataclass(slots=True)
class _Node:
    """One process. `lines` are its images and connections in time order; its first image is its label."""

    pid: int
    begin: int
    exe: str
    label: list[Cell] = field(default_factory=list)
    ends: list[Cell] = field(default_factory=list)
    lines: list[list[Cell]] = field(default_factory=list)
    children: list["_Node"] = field(default_factory=list)


class _Container:
    """The processes of one container on one node."""

    def __init__(self, first: EventRow) -> None:
        self.subject = first.subject
        self.begin = first.time
        self.roots: list[_Node] = []
        self.losses: list[list[Cell]] = []
        self._processes: dict[tuple[int, int], _Node] = {}
        self._latest: dict[int, _Node] = {}

    def add(self, row: EventRow) -> None:
        if row.kind is EventKind.LOSS:
            self.losses.append([Cell(f"{clock(row.time)} {row.detail}", "bold red")])
            return
        key = (row.pid, row.start_time)
        node = self._processes.get(key) or self._new(row)
        if row.kind is EventKind.EXEC:
            label = [Cell(clock(row.time)[11:-1], "dim"), Cell(f" {command(row.args) or row.exe}{times(row.count)}")]
            if row.args and row.args[0] != row.exe:
                label.append(Cell(f"  ({row.exe})", "dim"))
            if row.detail:
                label.append(Cell(f"  {row.detail}", "yellow"))
            if row.flags:
                label.append(Cell("  " + " ".join(flag.name for flag in row.flags), "magenta"))
            if node.label:
                node.lines.append([Cell("then ", "dim"), *label])
            else:
                node.label = label
            node.exe = row.exe
            return
        style = "" if row.good else "yellow"
        text = f"{row.detail}{times(row.count)}"
        if row.kind is EventKind.EXIT:
            node.ends.append(Cell(f"  exit {text}", style or "dim"))
        else:
            word = row.kind.name.lower()
            node.lines.append([Cell(clock(row.time)[11:-1], "dim"), Cell(f" {word} ", "blue"), Cell(text, style)])

    def _new(self, row: EventRow) -> _Node:
        node = _Node(row.pid, row.start_time, row.exe)
        parent = self._parent(row)
        (self.roots if parent is None else parent.children).append(node)
        self._processes[row.pid, row.start_time] = self._latest[row.pid] = node
        return node

    def _parent(self, row: EventRow) -> _Node | None:
        if not row.parent_pid or row.parent_pid == row.pid:
            return None
        if row.parent_start_time:
            known = self._processes.get((row.parent_pid, row.parent_start_time))
        else:
            known = self._latest.get(row.parent_pid)
        if known is None and row.parent_exe:
            # It began before the recording, so that only its child names it.
            known = _Node(row.parent_pid, row.parent_start_time, row.parent_exe)
            self._processes[known.pid, known.begin] = self._latest[known.pid] = known
            self.roots.append(known)
        return known


class ProcessTree:
    """Collects events, then prints one tree per container."""

    def __init__(self) -> None:
        self._containers: dict[tuple[str, str, str, str, str], _Container] = {}
        self._entries = 0

    def add(self, row: EventRow) -> None:
        """Take one event in.

        Raises:
            InputError: there are too many for a tree.
        """
        self._entries += 1
        if self._entries > ENTRIES_MAX:
            raise InputError(
                f"more than {ENTRIES_MAX} events do not make a readable tree; narrow it with --pod, --since and --until"
            )
        subject = row.subject
        key = (
            subject.cluster,
            subject.node,
            subject.pod.namespace,
            subject.pod.uid or subject.pod.name,
            subject.container.name,
        )
        if key not in self._containers:
            self._containers[key] = _Container(row)
        self._containers[key].add(row)

    def show(self) -> None:
        """Print all trees."""
        for container in self._containers.values():
            subject = container.subject
            print_line([Cell(whose(subject), "bold cyan"), Cell(f"  on {subject.node}", "dim")])
            for line in container.losses:
                print_line(["! ", *line])
            _show(container.roots, container.begin)


def _show(roots: list[_Node], begin: int) -> None:
    """Print nodes below each other. Not recursive: depth is what a pod chose.

    Args:
        roots: nodes without a parent.
        begin: time of the first event. A later process that shows no exec was forked, or is one that a folded exec stands for.
    """
    stack: list[tuple[_Node | list[Cell], str, bool]] = [(node, "", place == 0) for place, node in enumerate(reversed(roots))]
    while stack:
        entry, indent, last = stack.pop()
        branch = indent + ("└─ " if last else "├─ ")
        if isinstance(entry, list):
            print_line([branch, *entry])
            continue
        why = "began before" if entry.begin < begin else "no exec of its own"
        label = entry.label or [Cell(f"{entry.exe} ({why})", "dim")]
        print_line([branch, f"{entry.pid} ", *label, *entry.ends])
        below = indent + ("   " if last else "│  ")
        inner: list[_Node | list[Cell]] = [*entry.lines, *entry.children]
        stack += [(each, below, place == 0) for place, each in enumerate(reversed(inner))]
