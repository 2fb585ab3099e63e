"""What a behaviour means on any Linux system, as a table: it makes a novelty weigh more or less and names the technique.

It never decides alone, save for what no normal program does (KNOWN_BAD). Technique ids are MITRE ATT&CK's. Names are base
names: a path says nothing that an attacker could not choose, and what matters of it (written after the start, in a temporary
folder) is told apart.
"""

import enum
import re
from dataclasses import dataclass

__all__ = ["Context", "Level", "of_connect", "of_exec"]


class Level(enum.IntEnum):
    """How much a novelty of this kind speaks for an attack."""

    ROUTINE = -1
    """A job's child: new work is a scheduler's business."""
    NEUTRAL = 0
    SUSPICIOUS = 1
    """Tools of every intruder that administrators and entrypoints use as well."""
    STRONG = 2
    """Hardly ever normal inside a running service."""
    KNOWN_BAD = 3
    """Nothing normal looks like it."""


@dataclass(frozen=True, slots=True)
class Context:
    """Level, techniques and, for the reason, what is odd about it."""

    level: Level = Level.NEUTRAL
    techniques: tuple[str, ...] = ()
    why: str = ""
    inspection: bool = False
    """It only looks: what a person does who runs `kubectl exec`."""


_SHELLS = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish"})
_INTERPRETERS = re.compile(r"(?:python|perl|ruby|php|lua|node|tclsh|expect|script)[\d.<>n]*")
_JOBS = frozenset({"cron", "crond", "anacron", "run-parts", "logrotate", "supercronic", "fcron", "atd", "start-stop-daemon"})

_TOOLS: dict[str, tuple[Level, str, str]] = {}
"""Base name → level, technique, what it is for."""


def _add(level: Level, technique: str, purpose: str, names: str) -> None:
    _TOOLS.update(dict.fromkeys(names.split(), (level, technique, purpose)))


_add(Level.STRONG, "T1095", "opens raw connections", "nc ncat netcat nc.openbsd nc.traditional socat cryptcat")
_add(Level.STRONG, "T1046", "scans networks", "nmap masscan zmap rustscan arp-scan")
_add(Level.STRONG, "T1040", "records network traffic", "tcpdump tshark dumpcap ngrep")
_add(Level.STRONG, "T1611", "reaches beyond the container", "nsenter unshare mount umount chroot debugfs pivot_root ctr runc")
_add(Level.STRONG, "T1609", "drives containers", "kubectl crictl docker podman nerdctl helm")
_add(Level.STRONG, "T1547.006", "loads kernel modules", "insmod modprobe rmmod kmod")
_add(Level.STRONG, "T1548.003", "changes the user", "sudo sudoedit su pkexec doas visudo runuser")
_add(Level.STRONG, "T1548.001", "gives rights to files", "setcap chattr setfacl")
_add(Level.STRONG, "T1136.001", "manages accounts", "useradd adduser usermod userdel passwd chpasswd groupadd deluser")
_add(Level.STRONG, "T1053.003", "schedules jobs", "crontab at batch systemctl")
_add(Level.STRONG, "T1110", "guesses passwords", "hydra medusa ncrack john hashcat")
_add(Level.STRONG, "T1021.004", "opens remote shells", "ssh sshd scp sftp dropbear ssh-keygen ssh-keyscan telnet")
_add(Level.STRONG, "T1572", "tunnels traffic", "chisel ngrok cloudflared frpc gost proxychains proxychains4 tor")
_add(Level.STRONG, "T1003.007", "reads other processes", "gdb gcore strace ltrace ptrace")
_add(Level.STRONG, "T1070.004", "wipes files", "shred wipe srm")
_add(Level.STRONG, "T1562.004", "changes the firewall", "iptables ip6tables nft ufw iptables-save")
_add(Level.STRONG, "T1496.001", "mines coins", "xmrig xmr-stak minerd cpuminer t-rex ethminer")
_add(Level.SUSPICIOUS, "T1105", "transfers files", "curl wget ftp tftp aria2c rsync lftp axel")
_add(Level.SUSPICIOUS, "T1105", "installs software", "apt apt-get dpkg apk yum dnf rpm microdnf pip pip3 npm gem cpan")
_add(Level.SUSPICIOUS, "T1222.002", "changes file rights", "chmod chown chgrp install")
_add(Level.SUSPICIOUS, "T1140", "decodes data", "base64 base32 xxd uudecode openssl gpg")
_add(Level.SUSPICIOUS, "T1560.001", "packs data", "zip 7z 7za rar tar xz bzip2 zstd")
_add(Level.SUSPICIOUS, "T1489", "stops processes", "kill pkill killall reboot shutdown halt poweroff")
_add(Level.SUSPICIOUS, "T1485", "overwrites data", "dd truncate mkfs fallocate")
_add(Level.SUSPICIOUS, "T1554", "copies or links files", "cp ln mkfifo mknod patch")
_add(Level.SUSPICIOUS, "T1027.004", "compiles programs", "gcc cc g++ make ld as go rustc strip")
_INSPECTION = {
    "T1033": "id whoami who w users groups last lastlog logname",
    "T1082": "uname hostname lscpu lsblk lsmod df free uptime dmesg hostnamectl nproc env printenv locale date",
    "T1057": "ps top htop pgrep pstree pidof",
    "T1016": "ip ifconfig route arp ethtool iw",
    "T1049": "netstat ss lsof fuser",
    "T1018": "ping traceroute tracepath nslookup dig host getent",
    "T1083": "find ls tree locate stat file du which whereis",
    "T1005": "cat head tail less more grep egrep fgrep strings od hexdump sort wc",
}
for _technique, _names in _INSPECTION.items():
    _add(Level.SUSPICIOUS, _technique, "looks around", _names)
_LOOKS = frozenset(" ".join(_INSPECTION.values()).split())

_PLACES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), technique, why)
    for pattern, technique, why in (
        (r"/etc/(?:g?shadow|sudoers)|/etc/security/", "T1003.008", "touches the password or rights files"),
        (r"/etc/cron|/var/spool/cron|crontab\b|/etc/systemd/system|/etc/init\.d/", "T1053.003", "touches the job tables"),
        (r"authorized_keys|\bid_(?:rsa|dsa|ecdsa|ed25519)\b|\.ssh/", "T1552.004", "touches SSH keys"),
        (r"/etc/ld\.so\.preload|\bLD_PRELOAD=", "T1574.006", "makes programs load a foreign library"),
        (r"/etc/pam\.d/|pam_[a-z_]+\.so", "T1556.003", "touches the login modules"),
        (
            r"\.bash_?(?:rc|profile|history)\b|/etc/profile|\bHISTFILE\b|\.(?:zsh|sh)_history\b",
            "T1546.004",
            "touches shell files",
        ),
        (r"/dev/(?:tcp|udp)/", "T1059.004", "connects from the shell"),
        (
            r"docker\.sock|containerd\.sock|crio\.sock|release_agent|core_pattern",
            "T1611",
            "touches the way out of the container",
        ),
        (r"169\.254\.169\.254|metadata\.google\.internal", "T1552.005", "asks for the instance's credentials"),
        (
            r"/proc/(?:\d+|self|\*)/environ|serviceaccount/token|\.aws/credentials|\.kube/config",
            "T1552.001",
            "reads credentials",
        ),
        (r"-perm\s+[-/]?[0-7u+g]*[2467s]000|-perm\s+[-/]?[ug][+=]s|\+s\b", "T1548.001", "looks for or makes set-uid files"),
    )
)
"""Where arguments lead. They raise the level of what is new anyway, never more."""

_TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/dev/mqueue/")  # noqa: S108 — recognised, not written to
_NODE_PORTS = frozenset({"2375", "2376", "2379", "2380", "10250", "10255", "10256", "6443"})
"""Docker, etcd, kubelet and API server: a node's own services."""


def _base(program: str) -> str:
    """Return the base name of a program in its key form: `/bin/busybox[wget] (upper layer)` → `wget`."""
    name = program.partition(" (")[0]
    if name.endswith("]"):
        return name[name.rfind("[") + 1 : -1]
    return name.rpartition("/")[2]


def of_exec(
    *,
    program: str,
    parent: str,
    arguments: tuple[str, ...],
    upper_layer: bool,
    memory_file: bool,
    stdio_socket: bool,
    injected: bool,
) -> Context:
    """Return the context of an exec.

    Args:
        program: key form of the program.
        parent: key form of its parent, empty when that is outside of the container.
        arguments: the example's argument list.
        upper_layer: the file was written after the container's start.
        memory_file: there is no file.
        stdio_socket: standard input or output is a socket.
        injected: it came from outside of the container.
    """
    name, by = _base(program), _base(parent)
    shell = name in _SHELLS
    if memory_file:
        return Context(Level.KNOWN_BAD, ("T1620",), "a program without a file")
    if shell and stdio_socket:
        return Context(Level.KNOWN_BAD, ("T1059.004",), "a shell whose input is a socket")
    if by in _JOBS and not upper_layer:
        return Context(Level.ROUTINE)
    found: list[Context] = []
    if upper_layer:
        found.append(Context(Level.STRONG, ("T1105",), "a file written after the container's start"))
    elif program.startswith(_TEMPORARY):
        found.append(Context(Level.STRONG, ("T1036.005",), "a program in a temporary folder"))
    text = " ".join(arguments[:64])[:8192]
    found += [Context(Level.STRONG, (technique,), why) for pattern, technique, why in _PLACES if pattern.search(text)]
    if shell and by and by not in _SHELLS and not injected:
        found.append(Context(Level.STRONG, ("T1059.004",), f"a shell started by {by}"))
    tool = _TOOLS.get(name)
    if tool is not None:
        found.append(Context(tool[0], (tool[1],), f"a tool that {tool[2]}", name in _LOOKS))
    if by in _SHELLS and _INTERPRETERS.fullmatch(name):
        found.append(Context(Level.SUSPICIOUS, ("T1059",), "an interpreter started by a shell"))
    if not found:
        return Context()
    best = max(found, key=lambda each: each.level)
    techniques = tuple(dict.fromkeys(each for context in found for each in context.techniques))
    return Context(best.level, techniques, best.why, all(each.inspection for each in found))


def of_connect(*, program: str, target: str) -> Context:
    """Return the context of a connect to a destination in its key form (`metadata-service:80/tcp`)."""
    name = _base(program)
    where, _, rest = target.rpartition(":")
    port = rest.partition("/")[0]
    interpreter = name in _SHELLS or (name in _TOOLS and _TOOLS[name][0] >= Level.STRONG)
    found = Context()
    if where == "metadata-service":
        found = Context(Level.STRONG, ("T1552.005",), "asks for the instance's credentials")
    elif port in _NODE_PORTS and (where == "node" or where.startswith("private ")):
        found = Context(Level.STRONG, ("T1613",), "reaches a node's own services")
    elif name in _SHELLS and where != "dns":
        found = Context(Level.STRONG, ("T1059.004",), "a shell that opens a connection")
    elif where == "apiserver":
        found = Context(Level.SUSPICIOUS, ("T1613",), "a first contact with the API server")
    elif where.startswith("public "):
        # A service's own program meets new addresses of its suppliers all day; a tool that was started does so for a reason.
        level = Level.STRONG if interpreter else Level.SUSPICIOUS if name in _TOOLS else Level.NEUTRAL
        found = Context(level, ("T1071.001",), "a new destination outside of the cluster")
    elif port == "22":
        found = Context(Level.SUSPICIOUS, ("T1021.004",), "a remote shell")
    return found
