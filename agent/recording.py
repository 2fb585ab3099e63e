"""`peerwatch-agent record`: from the probes into a file, without a collector and beside whatever else captures here."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from peerwatch import jsonlines
from peerwatch.subjects import Subject

from agent.capture.probes import Mode, own_folder, uninstall, uninstall_abandoned
from agent.daemon import stop_at_signals
from agent.errors import ConfigError, UnsupportedError
from agent.output import discard
from agent.runtime import Capture, capture, pod_source
from agent.step import Step

__all__ = ["record"]


def record(output: str, home: Subject, *, pods: str | None, kubeconfig: str | None, mode: Mode) -> str:
    """Capture until SIGINT or SIGTERM, each event a line of `output` (`-`: stdout); return what there is to say at the end.

    Raises:
        ConfigError: the output cannot be opened, or the source of pods cannot be used.
        UnsupportedError: this node cannot be captured, or the output takes no more.
        BrokenPipeError: whoever read stdout has enough.
    """
    uninstall_abandoned()
    folder = own_folder("record")
    written = 0

    with pod_source(pods, kubeconfig, home) as known, _opened(output) as stream:

        async def put(step: Step) -> None:
            nonlocal written
            try:
                for table in step.ready:
                    stream.writelines(jsonlines.write(table))
                    written += len(table)
                stream.flush()
            except OSError as error:
                discard(stream)
                if isinstance(error, BrokenPipeError):
                    raise
                raise UnsupportedError(f"cannot write {output}: {error.strerror}; what was recorded before is there") from None

        async def serve(captured: Capture) -> None:
            await captured.node.run(stop_at_signals())

        try:
            with capture(put, home=home, pods=known, pin_dir=folder, mode=mode) as captured:
                asyncio.run(serve(captured))
        finally:
            uninstall(folder)
    return _summary(captured, written)


def _summary(captured: Capture, written: int) -> str:
    """Say what was seen: produced = written + lost + left out."""
    node = captured.node
    events = sum(node.events.values())
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(node.lost.items())) or "none"
    kinds = ", ".join(f"{count} {kind.name.lower()}" for kind, count in node.events.items() if count) or "none"
    foreign = f", left out: {captured.resolver.foreign} of no container" if captured.resolver.foreign else ""
    return f"{events} events ({kinds}) in {written} lines, lost: {lost}{foreign}"


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdout.buffer
        return
    try:
        stream = Path(name).open("wb")  # noqa: SIM115 — only what opening raises is the call's fault
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror}; give another --output") from None
    with stream:
        yield stream
