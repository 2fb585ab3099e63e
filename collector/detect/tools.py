"""What tools are for and which places matter on any Linux system, as tables: names are base names.

Technique ids are MITRE ATT&CK's. A path says nothing that an attacker could not choose.
"""

import enum
import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "CLIENTS",
    "COMMON",
    "HELPERS",
    "JOBS",
    "SHELLS",
    "TEMPORARY",
    "Context",
    "Level",
    "base_name",
    "is_interpreter",
    "places",
    "tool",
]


class Level(enum.IntEnum):
    """How much a novelty of this kind speaks for an attack."""

    ROUTINE = -1
    """Everyday however rare: a scheduler's new work, a service's helpers, what the workload is there for."""
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


SHELLS = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish"})
_INTERPRETERS = re.compile(r"(?:python|perl|ruby|php|lua|node|tclsh|expect|script)[\d.<>n]*")
JOBS = frozenset({"cron", "crond", "anacron", "run-parts", "logrotate", "supercronic", "fcron", "atd", "start-stop-daemon"})
TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/dev/mqueue/")  # noqa: S108 — recognised, not written to

_TOOLS: dict[str, tuple[Level, str, str]] = {}
"""Base name → level, technique, what it is for."""


def _add(level: Level, technique: str, purpose: str, names: str) -> None:
    _TOOLS.update(dict.fromkeys(names.split(), (level, technique, purpose)))


_PLATFORM = re.compile(
    r"(?:[-_.]v?\d[\d.]{0,12})?(?:[-_.](?:linux\d*|amd64|x86|x86_64|64|arm64|aarch64|386|static|musl))+$", re.IGNORECASE
)
"""What is appended to the name of a program that was published for many systems."""


_add(Level.STRONG, "T1095", "opens raw connections", "nc ncat netcat nc.openbsd nc.traditional socat cryptcat")
_add(
    Level.STRONG,
    "T1046",
    "scans networks",
    "nmap masscan zmap zgrab zgrab2 rustscan arp-scan nbtscan naabu fscan hping3 netexec crackmapexec pnscan kube-hunter "
    "kubiscan smbmap onesixtyone dnsrecon",
)
_add(
    Level.STRONG,
    "T1595",
    "probes services",
    "sqlmap nikto gobuster dirb ffuf wfuzz nuclei wpscan enum4linux rpcclient feroxbuster dirsearch whatweb amass subfinder",
)
_add(Level.STRONG, "T1135", "lists what hosts share", "showmount smbtree snmpwalk rpcinfo")
_add(Level.STRONG, "T1040", "records network traffic", "tcpdump tshark dumpcap ngrep dsniff")
_add(Level.STRONG, "T1557", "comes between others", "bettercap ettercap arpspoof tcpkill responder")
_add(Level.STRONG, "T1611", "reaches beyond the container", "nsenter unshare mount umount chroot debugfs pivot_root ctr runc")
_add(Level.STRONG, "T1609", "drives containers", "kubectl crictl docker podman nerdctl helm")
_add(Level.STRONG, "T1547.006", "loads kernel modules", "insmod modprobe rmmod kmod")
_add(Level.STRONG, "T1014", "reaches into the kernel", "bpftool bpftrace stap keyctl wrmsr")
_add(Level.STRONG, "T1561", "wipes disks", "wipefs blkdiscard mkfs.ext4 mkfs.xfs dmsetup swapoff")
_add(Level.STRONG, "T1548.003", "changes the user", "sudo sudoedit su pkexec doas visudo runuser")
_add(Level.STRONG, "T1548.001", "gives rights to files", "setcap chattr setfacl")
_add(
    Level.STRONG,
    "T1136.001",
    "manages accounts",
    "useradd adduser usermod userdel passwd chpasswd chgpasswd newusers groupadd groupmod groupdel addgroup delgroup deluser "
    "gpasswd vipw vigr chsh newgrp",
)
_add(Level.STRONG, "T1053.003", "schedules jobs", "crontab incrontab systemctl systemd-run")
_add(Level.STRONG, "T1543.002", "changes what starts with the machine", "chkconfig update-rc.d rc-update")
_add(Level.STRONG, "T1053.002", "schedules jobs", "at batch")
_add(Level.STRONG, "T1110", "guesses passwords", "hydra medusa ncrack patator john hashcat")
_add(Level.STRONG, "T1021.004", "opens remote shells", "ssh sshpass sshd scp sftp dropbear ssh-keygen ssh-keyscan telnet")
_add(
    Level.STRONG,
    "T1572",
    "tunnels traffic",
    "chisel ngrok cloudflared frpc gost proxychains proxychains4 tor dnscat2 dnscat iodine ptunnel ligolo autossh sshuttle "
    "openvpn wg-quick websocat tailscale tailscaled bore",
)
_add(
    Level.STRONG,
    "T1219",
    "gives others a terminal",
    "ttyd gotty tmate gs-netcat gsocket rlogin rsh dtach msfconsole msfvenom pwncat-cs evil-winrm",
)
_add(
    Level.STRONG,
    "T1613",
    "looks for the way out",
    "linpeas.sh linpeas linenum.sh lse.sh les.sh linux-exploit-suggester.sh linuxprivchecker.py unix-privesc-check suid3num.py "
    "pspy pspy64 deepce.sh amicontained peirates botb kubeletctl kdigger traitor",
)
_add(
    Level.STRONG,
    "T1003",
    "collects passwords",
    "pdbedit mimipenguin mimipenguin.sh lazagne lazagne.py swapdigger unshadow kerbrute impacket-secretsdump",
)
_add(Level.SUSPICIOUS, "T1552.001", "looks for credentials", "trufflehog gitleaks")
_add(Level.STRONG, "T1113", "records the screen or the clipboard", "xwd scrot xclip xsel")
_add(Level.STRONG, "T1499", "wastes the machine", "stress stress-ng sysbench")
_add(Level.STRONG, "T1003.007", "reads other processes", "gdb gcore strace ltrace ptrace")
_add(Level.STRONG, "T1070.004", "wipes files", "shred wipe srm")
_add(
    Level.STRONG,
    "T1562.004",
    "changes the firewall",
    "iptables ip6tables nft ufw iptables-save firewall-cmd ebtables arptables",
)
_add(Level.STRONG, "T1496.001", "mines coins", "xmrig xmr-stak minerd cpuminer t-rex ethminer")
_add(Level.STRONG, "T1562.001", "turns protection off", "setenforce auditctl aa-teardown aa-disable")
_add(Level.SUSPICIOUS, "T1567.002", "moves data to a cloud's storage", "aws gsutil gcloud az rclone s3cmd")
_add(
    Level.SUSPICIOUS,
    "T1105",
    "transfers files",
    "curl wget ftp tftp ftpget ftpput smbclient aria2c rsync lftp axel lynx links w3m GET POST",
)
_add(Level.SUSPICIOUS, "T1105", "installs software", "apt apt-get dpkg apk yum dnf rpm microdnf pip pip3 npm gem cpan")
_add(Level.SUSPICIOUS, "T1222.002", "changes file rights", "chmod chown chgrp install")
_add(Level.SUSPICIOUS, "T1140", "decodes data", "base64 base32 xxd uudecode openssl gpg")
_add(Level.SUSPICIOUS, "T1560.001", "packs data", "zip 7z 7za rar tar xz bzip2 zstd")
_add(Level.SUSPICIOUS, "T1489", "stops processes", "kill pkill killall reboot shutdown halt poweroff")
_add(Level.SUSPICIOUS, "T1485", "overwrites data", "dd truncate mkfs fallocate")
_add(Level.SUSPICIOUS, "T1033", "asks who is logged in", "who w users last lastb lastlog finger")
_add(Level.SUSPICIOUS, "T1554", "copies or links files", "cp ln mkfifo mknod patch")
_add(Level.SUSPICIOUS, "T1562.001", "changes the kernel's settings", "sysctl")
_add(Level.SUSPICIOUS, "T1553.004", "trusts further authorities", "update-ca-certificates update-ca-trust certutil")
_add(Level.SUSPICIOUS, "T1027.004", "compiles programs", "gcc cc g++ c++ make ld as collect2 go rustc strip")
COMMON = frozenset(
    "date sort wc head tail less more cat grep egrep fgrep find ls stat file du df which host cp ln tar gzip od".split()  # noqa: SIM905 — names
)
"""Tools of every script: in a command string they say nothing by themselves, only what they are pointed at."""
DIAGNOSTICS = frozenset(
    (  # noqa: SIM905 — names
        "ps top htop pstree pidof pgrep free uptime lsof ss netstat nslookup dig host getent ping traceroute "
        "env printenv hostname"
    ).split()
)
"""What a service's owner asks about how it does. Who he is, on which kernel, at which address: an owner knows."""
CLIENTS = frozenset(
    "psql mysql mariadb redis-cli valkey-cli mongo mongosh cqlsh sqlplus sqlcmd clickhouse-client ldapsearch etcdctl".split()  # noqa: SIM905 — names
)
"""What asks databases: normal wherever it is usual, but no helper like any other."""

HELPERS = frozenset(
    (  # noqa: SIM905 — names
        "file gs convert magick identify mogrify composite ffmpeg ffprobe sox wkhtmltopdf wkhtmltoimage weasyprint pdftotext "
        "pdftoppm pdfinfo pdftk qpdf mutool exiftool tesseract libreoffice soffice soffice.bin unoconv pandoc pdflatex "
        "xelatex rsvg-convert inkscape dot optipng pngquant jpegoptim jpegtran cwebp gifsicle vips vipsthumbnail sendmail "
        "msmtp antiword catdoc clamscan clamdscan jspawnhelper inet_gethost erl_child_setup fc-list fc-cache ldconfig "
        "ldconfig.real"
    ).split()
)
"""What services start for a document, a picture or a mail that somebody sent, as rarely as somebody does."""

_INSPECTION = {
    "T1033": "id whoami groups logname",
    "T1082": "uname hostname lscpu lsblk lsmod free uptime dmesg hostnamectl nproc env printenv locale "
    "lspci lsusb dmidecode systemd-detect-virt virt-what fdisk blkid lsns timedatectl journalctl lsb_release klist "
    "capsh getcap",
    "T1057": "ps top htop pgrep pstree pidof",
    "T1016": "ip ifconfig route arp ethtool iw",
    "T1049": "netstat ss lsof fuser",
    "T1018": "ping fping traceroute tracepath nslookup dig host getent",
    "T1083": "find ls tree locate stat du which whereis",
    "T1005": "cat head tail less more grep egrep fgrep strings od hexdump",
}
for _technique, _names in _INSPECTION.items():
    _add(Level.SUSPICIOUS, _technique, "looks around", _names)
_PLAIN = "date df file sort wc"
"""Look as well, but say nothing: what every script orders, counts and dates."""
_add(Level.NEUTRAL, "T1005", "looks around", _PLAIN)
_LOOKS = frozenset(" ".join((*_INSPECTION.values(), _PLAIN)).split())

_PLACES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), technique, why)
    for pattern, technique, why in (
        (r"/etc/(?:g?shadow|sudoers)|/etc/security/", "T1003.008", "touches the password or rights files"),
        (r"/etc/cron|/var/spool/cron|crontab\b|/etc/systemd/system|/etc/init\.d/", "T1053.003", "touches the job tables"),
        (r"authorized_keys|\bid_(?:rsa|dsa|ecdsa|ed25519)\b|\.ssh\b", "T1552.004", "touches SSH keys"),
        (
            r"/etc/ld\.so\.preload|\bLD_PRELOAD=(?!['\"]?(?:/(?:usr/(?:local/)?|opt/)?lib(?![^\s;|&]{0,96}(?:\.\./|:))|[\w.+-]{1,64}\.so(?![\w:/])))",
            "T1574.006",
            "makes programs load a foreign library",
        ),
        (r"/etc/pam\.d/|pam_[a-z_]+\.so", "T1556.003", "touches the login modules"),
        (
            (
                r"\.bash_?(?:rc|profile|login|logout|history)\b|"
                r"(?<!\. )(?<!source )/etc/(?:profile|bash\.bashrc|bashrc|rc\.local)|"
                r"(?:~|/root|/home/[\w.-]{1,32}|HOME)/\.(?:profile|login|cshrc|zshrc|zprofile|zshenv|inputrc)\b|"
                r"\bHISTFILE\b|\.(?:zsh|sh)_history\b|\b(?:PROMPT_COMMAND|HISTCONTROL)="
            ),
            "T1546.004",
            "touches shell files",
        ),
        (r"/dev/(?:tcp|udp)/(?!localhost|127\.)", "T1059.004", "connects from the shell"),
        (
            (
                r"docker\.sock|containerd\.sock|crio\.sock|release_agent|core_pattern|uevent_helper|sysrq-trigger|/fd/\d+/\.\.|"
                r"/dev/(?:[sv]d[a-z]|xvd[a-z]|nvme\d|mmcblk\d|dm-\d|k?mem\b)"
            ),
            "T1611",
            "touches the way out of the container",
        ),
        (
            (
                r"169\.254\.(?:169\.254|170\.2)|metadata\.google\.internal|\bcomputeMetadata\b|/latest/(?:meta-data|user-data|api/token)\b|"
                r"100\.100\.100\.200|168\.63\.129\.16|fd00:ec2::254|\bAWS_CONTAINER_CREDENTIALS"
            ),
            "T1552.005",
            "asks for the instance's credentials",
        ),
        (
            r"/proc/(?:\d+|self|\*)/environ|serviceaccount/token|\.aws/credentials|\.kube/config|\bk3s\.yaml\b|(?<!cert=/etc)(?<!--key=/etc)(?<!file=/etc)/kubernetes/pki/|--upload-file=/etc/kube",
            "T1552.001",
            "reads credentials",
        ),
        (
            r"https?://(?!localhost|127\.|\[::1\])[^\s/,]{1,96}:(?:10250|10255|2375|2376)\b|https?://(?!127\.)(?:\d{1,3}\.){3}\d{1,3}:2379\b|/api/v1/(?:secrets|namespaces/[\w.-]{1,64}/secrets)\b|/apis/rbac\.",
            "T1613",
            "asks a node or the cluster for what it holds",
        ),
        (r"-perm\s+[-/]?[0-7u+g]*[2467s]000|-perm\s+[-/]?[ug][+=]s|\+s\b", "T1548.001", "looks for or makes set-uid files"),
    )
)
"""Where arguments lead. They raise the level of what is new anyway, never more."""
_OPENS = r"(?:(?:until|while|if|elif|do|then|!)\s{1,4}){0,3}</dev/tcp/[\w-]{1,63}/\d{1,5}"
_QUIETLY = r"(?:\s{0,4}(?:[12&]?>\s?/dev/null|2>&1)){0,2}\s{0,4}"
_WAITS = re.compile(
    rf"(?:^(?:-\w{{0,3}}c )?|[;&\n]\s{{0,4}}|\|\|\s{{0,4}}|(?<![$<>])\(\s{{0,4}}){_OPENS}{_QUIETLY}(?=$|[;)\n]|&(?!>)|\|\|)|"
    rf"-\w{{0,3}}c (?P<quote>['\"]){_OPENS}{_QUIETLY}(?P=quote)(?=$|[\s;&|)])"
)
"""Who waits for a service has the shell open a connection to its name, as a command of its own: nothing is read from it or
written to it. In `$(…)` and in backticks the same words read all that comes."""


def places(text: str) -> list[Context]:
    """Return what arguments say by where they lead."""
    text = _WAITS.sub(" ", text) if "</dev/tcp/" in text else text
    return [Context(Level.STRONG, (technique,), why) for pattern, technique, why in _PLACES if pattern.search(text)]


@lru_cache(maxsize=16_384)  # as below: a name that is none costs a pattern
def tool(name: str) -> Context | None:
    """Return what a tool of this base name is for, None if nothing is known of it."""
    known = _TOOLS.get(name)
    if known is None and (stem := _PLATFORM.sub("", name).lower()) != name:
        known = _TOOLS.get(stem)
        known = known if known is not None and known[0] is Level.STRONG else None
    return None if known is None else Context(known[0], (known[1],), f"a tool that {known[2]}", name in _LOOKS)


def without_version(name: str) -> str:
    """Return a program's base name without what it ends in where it is installed beside its other versions."""
    return name.rstrip("0123456789.")


@lru_cache(maxsize=16_384)  # of a few thousand programs, asked seven times of each sighting
def base_name(program: str) -> str:
    """Return the base name of a program in its key form: `/bin/busybox[wget] (upper layer)` → `wget`."""
    name = program.partition(" (")[0]
    if name.endswith("]"):
        return name[name.rfind("[") + 1 : -1]
    return name.rpartition("/")[2]


def is_interpreter(name: str) -> bool:
    """Return whether a base name is that of a language's interpreter."""
    return _INTERPRETERS.fullmatch(name) is not None
