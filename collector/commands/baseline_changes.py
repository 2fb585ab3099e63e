"""`peerwatch baseline approve`, `reject`, `reset`, `lock` and `unlock`: a person's word about what is normal."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from collector.commands.baseline_client import Baseline, Baselines, asking_baselines
from collector.commands.client import DEFAULT_SERVER, Server
from collector.commands.options import (
    AuthorOption,
    CaOption,
    ClusterOption,
    ContainerOption,
    ReasonOption,
    ServerOption,
    TokenOption,
    WorkloadArgument,
    author_or_login,
    parse_end,
)
from collector.commands.show import workload_name
from collector.commands.terminal import print_line
from collector.errors import InputError
from collector.records import Action, BehaviourType, Change, WorkloadKey

__all__ = ["COMMANDS"]

_Keys = Annotated[list[str], typer.Argument(metavar="KEY…", help="Behaviours as `peerwatch baseline show` writes them.")]
_Unseen = Annotated[bool, typer.Option("--unseen", help="Decide about behaviours that are still to come; needs --container.")]


def approve(
    workload: WorkloadArgument,
    keys: _Keys,
    *,
    reason: ReasonOption = "",
    author: AuthorOption = "",
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="When it ends: 2026-12-24T18:00:00Z, or from now: 12h, 30d.")
    ] = "",
    container: ContainerOption = "",
    cluster: ClusterOption = "",
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
    unseen: _Unseen = False,
    known_bad: Annotated[bool, typer.Option("--known-bad", help="Also what is known to be bad on any system.")] = False,
) -> None:
    """Say that behaviours are normal: they are told of no replica any more.

    An alert prints the command that would make it normal. A program that is approved may be given the arguments that it had
    so far; approving a key with arguments (after " : ") approves these and the program.

    \b
    Examples:
      peerwatch baseline approve shop/cart '/usr/bin/pg_dump <- /bin/sh' --reason 'nightly dump, OPS-17'
      peerwatch baseline approve shop/cart '/usr/bin/tcpdump <- /bin/bash' --until 12h --reason 'looking into OPS-18'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        change = _word(Action.APPROVE, baselines.find(workload, cluster), author, reason)
        changes = _for_keys(baselines, change, keys, container, unseen=unseen, until=parse_end(until, "--until"))
        baselines.change(changes, allow_unseen=unseen, allow_known_bad=known_bad)
    _report("approved", changes)


def reject(
    workload: WorkloadArgument,
    keys: _Keys,
    *,
    reason: ReasonOption = "",
    author: AuthorOption = "",
    container: ContainerOption = "",
    cluster: ClusterOption = "",
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
    unseen: _Unseen = False,
) -> None:
    """Say that behaviours are not normal, even if all replicas do them: they are told of every replica, with HIGH at least.

    \b
    Examples:
      peerwatch baseline reject shop/cart '/usr/bin/wget <- /bin/sh' --reason 'nothing is downloaded here'
      peerwatch baseline reject shop/cart '/bin/bash' --unseen --container app --reason 'the image has no use for it'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        change = _word(Action.REJECT, baselines.find(workload, cluster), author, reason)
        changes = _for_keys(baselines, change, keys, container, unseen=unseen)
        baselines.change(changes, allow_unseen=unseen)
    _report("rejected", changes)


def reset(
    workload: WorkloadArgument,
    keys: _Keys,
    *,
    reason: ReasonOption = "",
    author: AuthorOption = "",
    container: ContainerOption = "",
    cluster: ClusterOption = "",
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
) -> None:
    """Take approvals and rejections back: what was seen speaks for itself again.

    \b
    Examples:
      peerwatch baseline reset shop/cart '/usr/bin/pg_dump <- /bin/sh' --reason 'dumps have moved to a job'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        change = _word(Action.RESET, baselines.find(workload, cluster), author, reason)
        changes = _for_keys(baselines, change, keys, container)
        baselines.change(changes)
    _report("reset", changes)


def lock(
    workload: WorkloadArgument,
    reason: ReasonOption = "",
    author: AuthorOption = "",
    cluster: ClusterOption = "",
    *,
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
) -> None:
    """Have a workload learn nothing from now on: every program and destination that is not on its list is told.

    The list is what is learned or approved now, and what is approved later. Arguments are judged as before.

    \b
    Examples:
      peerwatch baseline lock shop/cart --reason 'complete since the release, SEC-4'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        change = _word(Action.LOCK, baselines.find(workload, cluster), author, reason)
        made = baselines.change([change])
    rest = f"; {made.unlisted} that were seen are not, and will be told: approve those that are normal" if made.unlisted else ""
    print_line([f"locked {workload_name(change.workload)}: {made.listed} behaviours are on its list{rest}"])


def unlock(
    workload: WorkloadArgument,
    reason: ReasonOption = "",
    author: AuthorOption = "",
    cluster: ClusterOption = "",
    *,
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
) -> None:
    """Have a locked workload learn again. Approvals and rejections stay.

    \b
    Examples:
      peerwatch baseline unlock shop/cart --reason 'release 2.0 is coming'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        key = baselines.find(workload, cluster)
        if baselines.get(key).lock is None:
            raise InputError(f"{workload_name(key)} is not locked")
        baselines.change([_word(Action.UNLOCK, key, author, reason)])
    print_line([f"unlocked {workload_name(key)}: it learns again"])


COMMANDS: dict[str, Callable[..., None]] = {
    "approve": approve,
    "reject": reject,
    "reset": reset,
    "lock": lock,
    "unlock": unlock,
}


def _word(action: Action, workload: WorkloadKey, author: str, reason: str) -> Change:
    """Return a change of a workload, by whoever calls unless another author is named.

    Raises:
        InputError: there is no reason.
    """
    by = author_or_login(author)
    if reason.strip() in {"", "…"}:  # as an alert prints it
        raise InputError("say why with --reason TEXT: whoever reads the baseline later will ask")
    return Change(0, workload, action, by, reason)


def _for_keys(
    baselines: Baselines, change: Change, keys: Sequence[str], container: str, *, unseen: bool = False, until: int = 0
) -> list[Change]:
    """Return one change for each key in each container that has it."""
    if unseen and not container:
        raise InputError("--unseen needs --container NAME: nobody knows yet where it will show up")
    baseline = baselines.get_or_empty(change.workload)
    return [
        replace(change, container=place, type=kind, key=key, until=until)
        for key in dict.fromkeys(keys)
        for place, kind in _places(baseline, key, container, unseen=unseen)
    ]


def _places(baseline: Baseline, key: str, container: str, *, unseen: bool) -> list[tuple[str, BehaviourType]]:
    entries = [each for each in baseline.entries if container in {"", each.container}]
    found = [(each.container, each.type) for each in entries if each.key == key]
    if found:
        return found
    if unseen:
        connects = " -> " in key.partition(" : ")[0]  # what arguments say is no destination
        return [(container, BehaviourType.CONNECT if connects else BehaviourType.EXEC)]
    known = sorted({each.key for each in entries})
    near = [each for each in known if key in each] or difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else "`peerwatch baseline show` lists what was seen"
    place = f", container {container}" if container else ""
    raise InputError(f"{key!r} was not seen in {workload_name(baseline.workload)}{place}; {hint}")


def _report(done: str, changes: Sequence[Change]) -> None:
    what = f"{len(changes)} behaviour{'' if len(changes) == 1 else 's'}"
    print_line([f"{done} {what} of {workload_name(changes[0].workload)}"])
