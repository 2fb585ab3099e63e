"""Faults in an agent, at an exact moment: Python that runs in its process before it does."""

__all__ = ["FORGETFUL", "HURRIED", "IMPATIENT", "fatal"]

HURRIED = """
import agent.capture.folds, agent.node
agent.capture.folds.IDLE_S = agent.capture.folds.CROWDED_IDLE_S = 0
agent.node.REPORT_NS = agent.node.RECYCLE_NS = 30_000_000
"""
"""Counts are asked for and folds used again all the time, so that these happen in a short test, too."""

IMPATIENT = """
import functools
import agent.metrics, agent.pace, agent.stream
agent.stream.Pace = functools.partial(agent.pace.Pace, retry_cap_s=0.3)
agent.metrics.FRESH_S = 0
"""
"""A collector that is back is found at once, and metrics are as new as can be."""

FORGETFUL = """
import agent.stream
agent.stream.Sender.__init__.__kwdefaults__["memory_bytes"] = 512 << 10
"""
"""What is kept in memory is bounded by half a MiB in place of 32."""

_FATAL = """
import importlib, os, signal
def fatal(module, path, turn, when, condition):
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for each in owners: owner = getattr(owner, each)
    original, calls = getattr(owner, name), 0
    def call(*arguments, **named):
        nonlocal calls
        calls += bool(condition(arguments))
        if calls == turn and when == "half": original(arguments[0], arguments[1][: len(arguments[1]) // 2])
        if calls == turn and when != "after": os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if calls == turn: os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, call)
"""


def fatal(module: str, path: str, turn: int, when: str, condition: str = "True") -> str:
    """Return a fault: SIGKILL at the n-th call of a function.

    Args:
        module: where it is looked up.
        path: its name there, or class and name.
        turn: n, counted from 1.
        when: `before` it, `after` it, or after `half` of the bytes that are its second argument.
        condition: of `arguments`; only such calls count.
    """
    return f"{_FATAL}\nfatal({module!r}, {path!r}, {turn}, {when!r}, lambda arguments: {condition})\n"
