"""Whatever a program is executed with, and under whatever name, its words can be judged: an intruder chooses them."""

import shlex

import pytest
from detection.execs import exec_of
from hypothesis import given, settings, strategies

from collector.detect.tools import Level

PROGRAMS = (
    "nproc lscpu free uname hostname id ip journalctl cat grep head which ps pidof pgrep lsof ss cp du chown chmod find curl "
    "wget dig openssl socat nc ssh sshd dpkg apk pip iptables iptables-save crontab gcc ld su sudo getent usermod ssh-keygen "
    "sysctl kill tar mount xargs timeout awk git env nohup sh bash python3 perl php busybox nobody"
)
PARENTS = ("", "/usr/bin/server", "/usr/bin/git", "/bin/sh", "/usr/lib/jvm/bin/java")
PARTS = (
    "- -- -c -p -u -l -o -n -z -x -exec -connect root : . .. / // * {} 1 a=b $x é \0 ' \" ` $( ; && | > < || & "
    "tcp:db:1 /etc/passwd /tmp/x http://a.b/c localhost:80 /dev/null /dev/tcp/1.2.3.4/5 s_client route default"
)
"""What the tables look for, and what ends words early."""
WORDS = ["", "''", "'' ''", "-", "x ''", "x -", "x -p", "x '>'", "sh -c", "sh -c ''", "sh -c '|'"]

programs = strategies.sampled_from(PROGRAMS.split())
words = strategies.sampled_from([*PARTS.split(), ""]) | programs | strategies.text(max_size=8)


@pytest.mark.parametrize("words", WORDS)
def test_a_program_may_be_executed_without_words_or_under_another_name(words: str) -> None:
    for program in PROGRAMS.split():
        for injected in (False, True):
            assert exec_of(f"/usr/bin/{program}", *shlex.split(words), injected=injected).level < Level.KNOWN_BAD
        command = f"{program} {words}"
        assert exec_of("/usr/bin/dash", "sh", "-c", f"{command}; {command} | {command}").level < Level.KNOWN_BAD


@settings(max_examples=400, deadline=None)
@given(programs, strategies.lists(words, max_size=6), strategies.sampled_from(PARENTS), strategies.booleans())
def test_whatever_a_program_is_told_it_is_judged(program: str, told: list[str], parent: str, injected: bool) -> None:  # noqa: FBT001 — drawn
    """It is judged, by itself and as a command string, and not refused with an error."""
    command = " ".join((program, *told))
    for name, arguments in ((program, told), ("dash", ["sh", "-c", command]), ("busybox", [program, *told])):
        assert exec_of(f"/usr/bin/{name}", *arguments, parent=parent, injected=injected).level in Level
