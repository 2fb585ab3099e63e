"""What happened, one line an event: time, replica, deed."""

from peerwatch.columns import EventKind
from peerwatch.subjects import Subject
from peerwatch.times import format_time

from collector.commands.rows import EventRow
from collector.commands.show import command, times
from collector.commands.terminal import Cell, print_line

__all__ = ["Timeline", "whose"]


def whose(subject: Subject) -> str:
    """Return which container a subject is, for a person."""
    if not subject.pod.name and not subject.container.name:
        return f"node {subject.node}"
    pod = f"{subject.pod.namespace}/{subject.pod.name}"
    return f"{pod} {subject.container.name}".rstrip()


class Timeline:
    """Prints events as they are handed in; says the date when it changes."""

    def __init__(self) -> None:
        self._date = ""

    def show(self, row: EventRow) -> None:
        """Print one event."""
        date, _, clock = format_time(row.time).rstrip("Z").partition("T")
        if date != self._date:
            print_line([Cell(f"{date} (UTC)", "bold")])
            self._date = date
        parts: list[str | Cell] = [Cell(clock[:12].ljust(12), "dim"), "  ", Cell(whose(row.subject), "cyan"), "  "]
        word = row.kind.name.lower()
        if row.kind is EventKind.LOSS:
            parts += [Cell(f"LOSS     {row.detail}", "bold red")]
        elif row.kind is EventKind.EXEC:
            parts += [Cell(word, "green"), f"     {row.exe}"]
            if row.args and row.args != (row.exe,):
                parts.append(f"  [{command(row.args)}]")
            parts.append(times(row.count))
            if row.detail:
                parts.append(Cell(f"  {row.detail}", "yellow"))
            if row.parent_exe:
                parts.append(Cell(f"  from {row.parent_exe}", "dim"))
        else:
            parts += [Cell(f"{word:7}", "blue" if row.good else "yellow"), f"  {row.detail}{times(row.count)}"]
            parts.append(Cell(f"  by {row.exe}", "dim"))
        if row.flags:
            parts.append(Cell("  " + " ".join(flag.name for flag in row.flags), "magenta"))
        print_line(parts)
