"""B9: some 25 conditions without learning, the ideas of the stable rules that are most used in the field."""

import re

import numpy as np
from peerwatch.columns import ProcessFlag

from baselines.frame import Bools, Frame, Hits

__all__ = ["static_rules"]

_SHELL = re.compile(r".*/(?:ba|da|a|z|k|tc|c)?sh")
_SERVER = re.compile(
    r".*/(?:httpd|nginx|apache2?|lighttpd|php-fpm[\d.]*|node|java|mysqld|mariadbd|postgres|mongod|redis-server)"
)
_FILES: tuple[str, ...] = (
    r"/dev/shm/.*",  # noqa: S108 — 1: executed from shared memory, a pattern and no file
    r"/proc/self/fd/.*|memfd:.*",  # 2 no file behind it
    r"(?:/var)?/tmp/.*",  # 3 executed from a temporary folder
    r".*/(?:nc|ncat|netcat|nc\.openbsd|nc\.traditional|socat)",  # 4 raw connections
    r".*/(?:apt|apt-get|dpkg|apk|yum|dnf|rpm|pip3?|npm|gem)",  # 5 package managers
    r".*/(?:nmap|masscan|zmap)",  # 6 scanners
    r".*/(?:tcpdump|tshark|dumpcap)",  # 7 sniffers
    r".*/(?:nsenter|unshare)",  # 8 name spaces
    r".*/(?:mount|umount|debugfs|chroot)",  # 9 the host's disks
    r".*/(?:insmod|modprobe|kmod)",  # 10 kernel modules
    r".*/(?:useradd|adduser|usermod|userdel|chpasswd)",  # 11 accounts
    r".*/(?:kubectl|crictl|docker|ctr)",  # 12 drives containers
    r".*/(?:ssh|scp|sftp|sshd)",  # 13 remote shells
    r".*/(?:xmrig|minerd|xmr-stak)",  # 14 miners
    r".*/(?:sudo|su|pkexec|sudoedit)",  # 15 changes the user
    r".*/(?:gdb|gcore|strace)",  # 16 reads other processes
)
_ARGUMENTS: tuple[str, ...] = (
    r"/etc/g?shadow|/etc/sudoers",  # 17 password files
    r"id_rsa|id_ed25519|authorized_keys|\.ssh/",  # 18 keys
    r"\.aws/credentials|\.docker/config|serviceaccount/token",  # 19 cloud credentials
    r"/proc/\d+/environ|/proc/\*/environ",  # 20 others' environments
    r"rm\s+(?:-\w+\s+)*(?:/var/log|\S*_history)|shred",  # 21 logs wiped
    r"base64\s+(?:-d|--decode)",  # 22 decoded and run
    r"chmod\s+(?:\S+\s+)*(?:u?\+s|[24]\d{3})",  # 23 set-user-id
    r"crontab|/etc/cron|/var/spool/cron",  # 24 job tables
)


def static_rules(frame: Frame) -> Hits:
    """Return each exec and connect that meets a condition."""
    execs = ~frame.connects
    file = re.compile("|".join(_FILES))
    shell, server = (frame.of_strings(lambda text, of=of: bool(of.fullmatch(text))) for of in (_SHELL, _SERVER))
    odd_file = frame.of_strings(lambda text: bool(file.fullmatch(text)))
    touched = re.compile("|".join(_ARGUMENTS))
    lines = [" ".join(frame.strings[each] for each in argv) for argv in frame.lists]
    odd_arguments = np.array([bool(touched.search(line)) for line in lines], bool)
    hit: Bools = execs & (odd_file[frame.exe] | odd_arguments[frame.args])
    hit |= execs & shell[frame.exe] & server[frame.parent]  # 25 a server's shell
    hit |= execs & shell[frame.exe] & (frame.flags >> ProcessFlag.STDIO_SOCKET & 1 == 1)  # 26 a shell on a socket
    hit |= execs & shell[frame.exe] & (frame.flags >> ProcessFlag.TTY & 1 == 1)  # 27 a terminal
    target = np.array([text.startswith(("metadata-service:", "apiserver:")) for text in frame.networks] or [False], bool)
    hit |= frame.connects & target[frame.network]  # 28 credentials of the instance, first contact with the API server
    hit |= frame.connects & shell[frame.exe]  # 29 a shell that connects
    return Hits.at_once(frame, np.flatnonzero(hit))
