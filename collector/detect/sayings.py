"""What words say on any Linux system: of credentials, logs, databases, other programs; and what nothing normal is told.

Each is found in one pass of any text, however long: no pattern repeats what may repeat itself without a bound.
"""

import re

from collector.detect.tools import TEMPORARY, Context, Level

__all__ = ["known_bad", "said"]

_CLUSTER_FILES = r"s/kubernetes\.io/serviceaccount/(?:ca\.crt|namespace)\b"
"""What lies beside a service account's token and is no secret, though the path says so."""
_PAGE = r"\.(?:php\d?|phtml|jspx?|aspx?|cgi)"
"""The end of the name of what a web server runs."""
_WRAPPED = r"(?:(?:sudo|env|exec|nohup|(?:/bin/)?busybox)(?: -\w{1,4})? )?"
"""What comes between a pipe and the shell that it leads to."""
_INTERPRETER = r"(?:python[\d.]{0,6}|perl|ruby|php|node)"
_FOLDER = f"(?:{'|'.join(each.rstrip('/') for each in TEMPORARY)})"
_TEMPORARY = f"{_FOLDER}/"
_KEPT = r"(?:/usr(?:/local)?)?/(?:s?bin|lib(?:32|64|exec)?|etc)/"
"""Folders of programs and settings."""
_LOGS = r"/var/(?:log|mail|spool/mail)/"
_PROTECTION = (
    r"falcond|falcon-sensor|crowdstrike|nessus\w{0,8}|cbagentd|cbdaemon|carbonblack|osqueryd?|auditbeat|auditd|wazuh\S{0,16}|ossec\S{0,16}|"
    r"mdatp|sentinelone|s1agent|qualys\S{0,16}|clamd|clamav|sysdig|falco|tetragon|kubearmor|twistlock|aquasec|sophos\S{0,8}|rkhunter|"
    r"chkrootkit|apparmor|selinux|aliyun\S{0,16}|aegis|bcm-agent|cloudmonitor|yunjing|ds_agent|kesl|esets"
)
"""What protects machines: intruders ask for it before they go on, and stop it."""
_SAYINGS: tuple[tuple[re.Pattern[str], bool, Level, str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), of_tools, level, technique, why)
    for pattern, of_tools, level, technique, why in (
        (
            (
                rf"(?<!getent )passw|getent passwd(?! \w)|secret(?!{_CLUSTER_FILES})|credential|private.?key|api.?key|"
                r"\btoken\b|(?<!cert|hain|aram)(?<!\bca)\.pem\b|\.(?:key|env|aws|azure|gcloud|kubeconfig)\b|id_rsa|\bAKIA|\bgh[opsu]_|\bglpat-"
            ),
            True,
            Level.SUSPICIOUS,
            "T1552.001",
            "it looks for credentials",
        ),
        (
            (
                r"/etc/passwd\b|\bAKIA|\.(?:aws|kube|ssh|docker)/|wp-config\.php|/\.env\b|secret-keys?\b|/etc/kubernetes/\w+\.conf|"
                r"\.(?:netrc|pgpass|my\.cnf|npmrc|htpasswd|git-credentials|erlang\.cookie|vault-token|tfstate|keytab|kdbx)\b|"
                r"\b(?:passdb|secrets)\.tdb\b|_TOKEN_FILE\b|\.config/(?:gcloud|gh)\b|\.azure/|\btomcat-users\.xml\b|"
                r"\bwallet\.dat\b|\bgh auth token\b|\bgit config .{0,48}(?:--list|credential)|"
                r"\.mozilla/|\blogins\.json\b|\bkey[34]\.db\b|\bcookies\.sqlite\b|/Login Data\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1552.001",
            "it names what holds credentials",
        ),
        (
            (
                r"\b(?:cat|head|tail|more|less|strings|xxd)\b[^;|&]{0,64} "
                r"/proc/(?:(?:\d+|self)/)?net/(?:arp|tcp6?|udp6?|route|fib_trie|unix)\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1049",
            "it reads the kernel's tables of connections",
        ),
        (
            r"\b(?:pg_shadow|pg_authid|mysql\.user|authentication_string|userPassword|system\.users)\b",
            False,
            Level.STRONG,
            "T1555",
            "it reads accounts' passwords",
        ),
        (
            r"\bcurl\b(?=[^;|&]{0,96} (?:(?-i:-T)[ /]|--upload-file|(?-i:-F) \w{1,32}=@))|\bwget\b(?=[^;|&]{0,96} --post-file)",
            True,
            Level.SUSPICIOUS,
            "T1048",
            "it sends a file",
        ),
        (
            (
                r"checkpoint-action=|--to-command=|\bcore\.(?:fsmonitor|pager)=|\balias\.\S{1,24}=!|%pipe%|"
                r"\bopenssl\b[^;|&]{0,128} --?(?:engine|provider(?:-path)?) [\w.]{0,16}/"
            ),
            False,
            Level.STRONG,
            "T1202",
            "an option by which it starts any program",
        ),
        (
            (
                r"compress-program|proxycommand|\bcore\.sshcommand\b|\bunixexec:|--rsh-command\b|-wrapper /|%\(/|:set shell=|"
                r"(?:--filter=|\s-[HIx] ?['\"]?)/(?:usr/)?bin/\w{0,3}sh\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1202",
            "an option by which it starts other programs",
        ),
        (
            (
                r"/proc/(?:1|self)/(?:cgroup|mountinfo|mounts)|/proc/self/status|\bCap(?:Eff|Prm|Bnd)|/\.dockerenv|/run/\.containerenv|"
                r"/sys/kernel/security/|/var/lib/(?:kubelet|containerd|docker)\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1497.001",
            "it looks where it runs",
        ),
        (
            (
                rf"(?<!\|)\|\s{{0,4}}{_WRAPPED}(?:/\S{{0,32}}/)?(?:(?:ba|da|a|z|k)?sh\b(?!\s+(?:[^-\s;|&>\d)]|-\w*c))|"
                rf"{_INTERPRETER}\b(?!\s+(?:[^-\s;|&>\d)]|-\w*[cemnpr]|--eval|--print)))|"
                rf"(?:\beval|\bsource|(?<![\w.-])(?:ba|da|a|z|k)?sh|(?<![\w.-]){_INTERPRETER}|(?:^|[;&|(]\s{{0,4}})\.)"
                rf"(?: -\w{{1,4}})?\s{{1,4}}[\"']?(?:<\(|\$\(|`)[^)`;]{{0,64}}\b(?:curl|wget|base64|xxd|openssl|nc)\b|"
                r"(?<![\w.-])(?:ba|da|a|z|k)?sh\s{0,3}<<<"
            ),
            False,
            Level.STRONG,
            "T1059.004",
            "what comes through a pipe is run",
        ),
        (
            (
                rf"(?:>>?\s*|\btee (?:-\w )?){_KEPT}|>>?\s*/dev/shm/|"
                r"\b(?:cp|mv|ln|install)\b[^;|&]{0,96}\s(?:/host\w*)?(?:/usr(?:/local)?)?/(?:lib(?:32|64|exec)?/(?:\S{0,96}/)?[\w.-]{1,64}|"
                r"etc/[\w.-]{1,32}\.d/\S{1,64})\s*(?:$|[;|&])"
            ),
            False,
            Level.SUSPICIOUS,
            "T1565.001",
            "it writes where programs and settings are kept",
        ),
        (
            (
                r"/udev/rules\.d/|/etc/(?:apt/apt\.conf\.d|ld\.so\.conf|modules-load\.d|update-motd\.d|inittab)|\.git/hooks/\w|"
                r"\b(?:site|user)customize\.py\b|-packages/\S{1,64}\.pth\b|\bcore\.hookspath\b(?!=(?:\s|/dev/null|$))|/systemd/system/"
            ),
            False,
            Level.SUSPICIOUS,
            "T1546",
            "it names what starts programs by itself",
        ),
        (
            r"/proc/net/(?:tcp|udp|arp|route|unix|fib_trie|raw)6?\b|(?<!>)(?<!> )/etc/(?:hosts|resolv\.conf)\b",
            False,
            Level.SUSPICIOUS,
            "T1016",
            "it looks at the network's settings",
        ),
        (
            r"/proc/\d+/(?:exe|cmdline|cwd|root|fd|status|comm)\b",
            False,
            Level.SUSPICIOUS,
            "T1057",
            "it looks at other processes",
        ),
        (
            (
                r"/proc/(?:version|cpuinfo|mounts|scsi|ide)\b|/etc/(?:\S+-release|issue)\b|/sys/class/dmi\b|/sys/hypervisor\b|"
                r"^(?:\S+ )?-\w{0,3}c (?:set|export(?: -p)?|env|printenv|declare -[px]+|compgen -[ev])\s*(?:$|[;|&>])"
            ),
            False,
            Level.SUSPICIOUS,
            "T1082",
            "it looks at the system",
        ),
        (r"/etc/(?:group|subuid)\b|/etc/ssh/sshd?_config", False, Level.SUSPICIOUS, "T1087.001", "it looks at the accounts"),
        (r"/etc/login\.defs\b|\bpwquality\b|\bchage\b", False, Level.SUSPICIOUS, "T1201", "it asks what passwords have to be"),
        (
            (
                r"\betcdctl\b[^;|&]{0,128}\sget (?:(?:/|''|\"\"|'/'|\"/\"|) --(?:prefix|from-key)\b|"
                r"--(?:prefix|from-key) (?:/|''|\"\"|'/'|\"/\"|)(?:\s|$))|"
                r"\b(?:redis|valkey)-cli\b[^;|&]{0,96}\s(?:--rdb|--bigkeys|--scan|keys ['\"]?\*)|"
                r"\bmosquitto_sub\b[^;|&]{0,128} -t ['\"]?(?:\+/)?#|\bnats sub(?:scribe)? ['\"]?>|"
                r"\bstats (?:cachedump|items)|\blru_crawler metadump|\betcdctl get /registry/secrets|\bconsul kv get -recurse|"
                r"\bldapsearch\b[^;|]{0,160}(?:servicePrincipalName|adminCount|objectClass=(?:user|person|computer))"
            ),
            False,
            Level.SUSPICIOUS,
            "T1213",
            "it takes out all that a store holds",
        ),
        (
            (
                r"^(?s:(?=.*?\b(?:[ef]?grep|pgrep|pidof|p?kill|killall|systemctl|service|which|whereis|locate|find|ls|dpkg|rpm)\b)"
                rf".*?\b(?:{_PROTECTION})\b)"
            ),
            False,
            Level.SUSPICIOUS,
            "T1518.001",
            "it asks for what protects the machine",
        ),
        (
            r"\bb64decode\b|\bbase64_decode\(|\bdecode_base64\b|\bgzinflate\(|\bfromCharCode\b|\batob\(|Buffer\.from\([^)]{0,256}base64|unpack\(\W{0,2}[uH]\*",
            False,
            Level.SUSPICIOUS,
            "T1027",
            "code that is hidden in data",
        ),
        (
            (
                r"-m (?:SimpleHTTPServer|pyftpdlib)\b|\bhttp\.server\b|\bWEBrick::HTTPServer|\bphp[\d.]{0,4} -S |"
                r"-run -e ?httpd|\bhttpd -f\w? -p"
            ),
            False,
            Level.SUSPICIOUS,
            "T1048.003",
            "it serves files",
        ),
        (
            r"(?<![\w.-])(?:ba|da|a|z|k|mk)?sh -\w{0,3}p(?=[\s'\"]|$)",
            False,
            Level.STRONG,
            "T1548.001",
            "a shell that keeps another user's rights",
        ),
        (
            (
                r"[|;&`(]\s{0,3}\{(?:ba|da|z)?sh,|\{(?:base64|echo|cat|curl|wget|nc|eval),[^\s}]|[\w/]\$\{?IFS\b|"
                r"(?:^|[;|&(]\s{0,4}|-c )/[a-z?]{0,24}\?[a-z?*/]{0,32}(?:\s|$)|"
                r"\\x7f(?:\\x45|E)|\\0?177ELF|\bf0VMR|(?:\\x[0-9a-f]{2}){8}"
            ),
            False,
            Level.STRONG,
            "T1027",
            "a command that hides its words",
        ),
        (
            (
                rf"(?:^|[\s;|&(/])(?:(?:ba|da|a|z|k)?sh|{_INTERPRETER}|source|\.|ld-(?:linux|musl)[\w.-]{{0,24}})"
                rf"(?: -(?-i:(?!o ))[\w-]{{1,24}}){{0,3}} {_TEMPORARY}[^\s;|&]|"
                rf"\bjava\b[^;|&]{{0,96}} -(?:jar|cp|classpath) {_FOLDER}\b|"
                rf"(?<![\w?&-])(?-i:LD_LIBRARY_PATH|PYTHONPATH|NODE_PATH|PERL5LIB|RUBYLIB|BASH_ENV|ENV|PATH)=['\"]?{_FOLDER}(?![\w.-])|"
                rf"--(?:require|import|preload)[ =]{_FOLDER}/"
            ),
            False,
            Level.SUSPICIOUS,
            "T1059",
            "it runs a script of a temporary folder",
        ),
        (
            r"[\"'`!({\[,](?:/usr)?/bin/(?:ba|da|a|z|k)?sh(?: -[ip]{1,2})?[\"'`)\]},;]|!(?:/bin/)?sh\b",
            False,
            Level.SUSPICIOUS,
            "T1059.004",
            "code that names a shell",
        ),
        (
            (
                r"\b(?:p?kill|killall|systemctl (?:stop|disable|mask)|apt(?:-get)? (?:remove|purge)|dpkg -[rP]|rpm -e|apk del|"
                rf"rm)\b[^;]{{0,96}}\b(?:{_PROTECTION})\b"
            ),
            False,
            Level.STRONG,
            "T1562.001",
            "it turns protection off",
        ),
        (
            (
                r"(?:`|\))[\"']?\.[a-z0-9][\w-]{0,62}\.[a-z]|\b(?:nslookup|dig|host) [\"']?\$\{?\w{1,16}\}?\.\w|"
                r"\b(?:transfer\.sh|pastebin\.com/raw|paste\.ee|ix\.io|termbin\.com|0x0\.st|temp\.sh|bashupload\.com|oshi\.at|"
                r"webhook\.site|pipedream\.net|interact\.sh|oast\.\w{2,6}|oastify\.com|burpcollaborator\.net|dnslog\.cn|ceye\.io|"
                r"canarytokens|trycloudflare\.com|serveo\.net|localhost\.run|gsocket\.io)\b"
            ),
            False,
            Level.STRONG,
            "T1048",
            "it carries data to where anybody may leave it",
        ),
        (
            (
                r"\bnotify_on_release\b|\bcgroup\.procs\b|\bperdir=|"
                r"(?:^|[\s>'\"])/(?:host|hostfs|host_?root|rootfs)/(?:etc|root|home|usr|s?bin|boot|opt|lib|var/(?:lib|spool))\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1611",
            "it names the way out of a cgroup, or the node's files",
        ),
        (
            (
                r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.(?:\$|\{|\d{1,3}-\d)|(?<=[\s/])(?:\d{1,3}\.){3}\d{1,3}/(?:[89]|1\d|2\d)(?= \d|$)"
                r"|\bfping\b[^;|&]{0,64} -\w{0,4}g\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1018",
            "it tries one address after the other",
        ),
        (
            (
                r"\bip (?:-\S{1,8} ){0,3}\w{1,12} (?:add|del|delete|flush|set|change|replace|exec) |"
                r"\broute (?:add|del)\b|\barp -\w{0,3}[sd]\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1562.004",
            "it changes the network's settings",
        ),
        (
            r"\b(?:rm|unlink|chmod)\b[^;|&]{0,64}\s(?:/usr(?:/local)?)?/s?bin/\w|\brm\b[^;|&]{0,24}[\s\"]\$\{?0\b",
            False,
            Level.SUSPICIOUS,
            "T1070.004",
            "it removes programs or itself",
        ),
        (
            r"\bch(?:mod|own|grp|attr)\b[^;|&]{0,64}\s/etc/(?:passwd|group|profile)\b|\bsed\b[^;|&]{0,48}\s-\w{0,4}i[^;|&]{0,160}\s/etc/(?:ssh|passwd|group|hosts|selinux)",
            False,
            Level.STRONG,
            "T1098",
            "it changes the accounts or who may enter",
        ),
        (
            r"\bsed\b[^;|&]{0,48}\s-\w{0,4}i[^;|&]{0,160}\s/etc/(?:r?syslog|audit|audisp|logrotate)|>>?\s*/etc/(?:r?syslog|audit)",
            False,
            Level.STRONG,
            "T1562.006",
            "it changes what is recorded",
        ),
        (r"\bexec -a ['\"]?[\[(]", False, Level.STRONG, "T1036.004", "it takes a kernel thread's name"),
        (
            (
                r"\bsha\d{0,3}sum /dev/zero|\bopenssl speed\b|while (?::|true); ?do (?::|true);|cat /dev/urandom >|"
                r"if=/dev/zero of=/dev/null"
            ),
            False,
            Level.SUSPICIOUS,
            "T1499",
            "it keeps the machine busy",
        ),
        (
            r"\bselect\b[^;]{0,128}\b\w{0,16}(?:passw|secret|api_?key)|\bvault (?:kv get|read|list) \S",
            False,
            Level.SUSPICIOUS,
            "T1555",
            "it asks a store for passwords",
        ),
        (
            (
                r"\b(?:xmrig|kinsing|kdevtmpfsi|kworkerds|watchbog|sysrv)|"
                r"\b(?:moneroocean|supportxmr|minexmr|hashvault|c3pool|unmineable)\."
            ),
            False,
            Level.STRONG,
            "T1496.001",
            "it names a miner",
        ),
        (r"/proc/(?:\d+|self|\*)/(?:mem|maps|pagemap)\b", False, Level.STRONG, "T1003.007", "it reads a process's memory"),
        (
            (
                r"\b(?:system|exec)\s{0,4}\(?\s{0,4}[\"'](?:/[\w/]{0,32}/)?(?:ba|da|a|z|k)?sh\b|:!\s{0,4}(?:/[\w/]{0,32}/)?(?:ba|da)?sh\b|"
                r"-exec(?:dir)? (?:/[\w/]{0,32}/)?(?:ba|da|a)?sh (?!-\w{0,4}c)|\bpty\.spawn\b|"
                r"\bscript (?:-\w{1,8} )?(?:/[\w/]{0,32}/)?(?:ba|da)?sh /dev/null|\bscript /dev/null"
            ),
            False,
            Level.STRONG,
            "T1059.004",
            "it makes a program a shell",
        ),
        (
            (
                r"(?:\b(?:cp|mv|tee)\b[^;|&]{0,96}[\s/]|\b(?:wget|curl)\b[^;|&]{0,96}\s-\w{0,3}[oO] ?\S{0,64}/)"
                rf"[\w.-]{{1,64}}{_PAGE}(?=[\s;|&]|$)"
            ),
            False,
            Level.SUSPICIOUS,
            "T1505.003",
            "it puts a web server's page somewhere",
        ),
        (
            r"\btouch\b[^;|&]{0,64}\s-(?:\w{0,3}[trd]\b|-date\b|-reference\b)",
            False,
            Level.SUSPICIOUS,
            "T1070.006",
            "it changes when a file was written",
        ),
        (
            (
                r"\b(?:cp|mv|ln|mkdir|touch)\b[^;|&]{0,64}\s(?:/host\w*)?(?:/usr(?:/local)?)?/s?bin/\w|"
                r"\b(?:wget|curl)\b[^;|&]{0,96}\s-\w{0,3}[oO] ?(?:/usr(?:/local)?)?/(?:s?bin|lib)/"
            ),
            False,
            Level.SUSPICIOUS,
            "T1036.003",
            "it writes among the system's programs",
        ),
        (
            (
                rf"{_TEMPORARY}\.(?!(?-i:X\d|X11|XIM)|ICE-|font|org\.|com\.|s\.PGSQL|"
                rf"(?:cache|config|npm|yarn|java|dotnet|NET)\b|hsperf)[\w-]|{_TEMPORARY}(?:\.{{3}}|\.[\w]{{2,5}}-unix/\.?(?-i:[a-z])|\s)"
            ),
            False,
            Level.SUSPICIOUS,
            "T1564.001",
            "it names a hidden file in a temporary folder",
        ),
        (
            r">\s*/(?:proc/sys|sys)/(?!kernel/mm/transparent_hugepage/\w{1,32}(?![\w/]))",
            False,
            Level.STRONG,
            "T1562.001",
            "it changes the kernel's settings",
        ),
        (r"\bservice \S{1,32} stop\b|\binit [06]\b", False, Level.SUSPICIOUS, "T1489", "it stops a service"),
        (r"\byes\b[^|;&]{0,16}(?:>\s*/dev/null|&)", False, Level.STRONG, "T1499", "it wastes the machine"),
        (
            r"/usr/local/share/ca-certificates/|/etc/pki/ca-trust/source/",
            False,
            Level.SUSPICIOUS,
            "T1553.004",
            "it makes the system trust further authorities",
        ),
        (rf">\s*[^\s;|&<>]{{1,96}}{_PAGE}\b", False, Level.STRONG, "T1505.003", "it writes a web server's page"),
        (
            (
                r"(?:^|[;&|(]|-\w{0,3}c|[\s;]:|\becho(?: -n)?(?: (?:''|\"\"))?|/dev/null|\btrue)\s{0,4}0?>"
                rf"\s{{0,4}}{_LOGS}|"
                rf"\b(?:truncate|shred|rm|unlink)\b[^;|&]{{0,96}}\s{_LOGS}|/dev/null {_LOGS}|\btee {_LOGS}\S{{1,64}} ?<|"
                rf"\bfind (?:{_LOGS[:-1]}|/)/?\s(?![^;|&]{{0,96}}-[acm](?:time|min) )[^;|&]{{0,160}}"
                r"(?:-delete|-exec (?:rm|shred|truncate))\b|\bdmesg (?:-\w{0,4}[cC]\b|--(?:read-)?clear)|\butmpdump\b|"
                r"\bjournalctl\b[^;|&]{0,64}--(?:vacuum|rotate)|\bsed\b[^;|&]{0,24} -i\S{0,8} [^;|&]{0,96}d['\"]? /var/log/"
            ),
            False,
            Level.SUSPICIOUS,
            "T1070.002",
            "it empties or removes logs or mail, or lines of them",
        ),
        (
            r"\bhistory -c\b|\bHIST(?:SIZE|FILESIZE)=0|\bset \+o history\b",
            False,
            Level.STRONG,
            "T1070.003",
            "it keeps no history",
        ),
        (
            (
                r"(?:\bdo\b|\bxargs\b|-exec(?:dir)?)[^|&]{0,96}\b(?:openssl (?:enc|aes-[\w-]{3,16})(?![^;|&]{0,96} -d\b)|"
                r"gpg2?\b[^;|&]{0,96} (?:-\w{0,3}c\b|--symmetric)|cc(?:r|encr)ypt\b)"
            ),
            False,
            Level.STRONG,
            "T1486",
            "it encrypts file after file",
        ),
        (r"\b(?:always_bcc|(?:sender|recipient)_bcc_maps)\s{0,2}=", False, Level.SUSPICIOUS, "T1114.003", "it has mail copied"),
        (
            r"\bdoveadm\b[^;|&]{0,128} fetch\b[^;|&]{0,64} ['\"]?(?:text|body)\b",
            False,
            Level.SUSPICIOUS,
            "T1114.001",
            "it reads people's mail",
        ),
        (
            (
                r"\b(?:apt(?:-get)?|apk|(?:micro)?dnf|yum|zypper)\b[^;|&]{0,64} (?:install|add)\b[^;|&]{0,160} "
                r"(?:netcat\S{0,16}|n(?:map-)?cat|nc|nmap|masscan|socat|tcpdump|hydra|john|sshpass|proxychains\S{0,4}|tor|telnetd|"
                r"openssh-server|dropbear|stress(?:-ng)?|libpcap\S{0,8})(?=[\s;|&]|$)"
            ),
            False,
            Level.STRONG,
            "T1588.002",
            "it installs what intruders bring",
        ),
        (r"--export-secret-(?:sub)?keys?\b", False, Level.STRONG, "T1552.004", "it takes out secret keys"),
        (
            (
                r"\b(?:from|to) program\s{0,4}['\"$]|\binto (?:out|dump)file\b|\blo_export\b|\bxp_cmdshell\b|"
                r"\bsys_(?:exec|eval)\b|\bmodule load\s{1,4}/|\bconfig set (?:dir|dbfilename)\b|"
                r"\bpg_(?:read|write)_(?:binary_)?file\b|\bload_file\(|\bload_extension\(|\bsystem\.exec\b|\bos\.execute\b|"
                r"(?:['\" ]|^)\\! ?[\w/]|['\" ]\.(?:shell|system) [\w/]|"
                r"\bcopy\b[^;]{0,96}\bfrom\s{1,4}'/(?:etc|root|home|proc)"
            ),
            False,
            Level.STRONG,
            "T1059",
            "it makes a database run programs or reach files",
        ),
        (
            (
                r"\b(?:lvremove|zfs destroy|vssadmin delete|btrfs subvolume delete|esxcli vm process kill)\b|--keep-last 0\b|"
                r"\bdrop (?:database|table|schema|user|keyspace)\b|\bflush(?:all|db)\b|\bdropDatabase\b|\btruncate table\b|"
                r"(?:\b|-X)DELETE\b[^;|&]{0,96}/(?:_all\b|\*|\$\{?\w)|\bdel\b[^;|&]{0,96} --(?:prefix|from-key)\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1485",
            "it removes a database's contents",
        ),
        (
            (
                r"\b(?:create|alter) (?:user|role|login)\b|\bgrant all\b|\bcreateUser\b|\badd_user\b|\bset_user_tags\b|"
                r"\bchange_password\b"
            ),
            False,
            Level.SUSPICIOUS,
            "T1136",
            "it makes or changes a database's accounts",
        ),
        (
            r"\b(?:ephemeral|msl):|\b(?:(?:caption|label):@|text:|file://)/(?:etc|root|home|proc|run|var)\b|\bsubfile,",
            False,
            Level.STRONG,
            "T1203",
            "it makes a helper reach the system's files",
        ),
        (r"-d(?:NO|DELAY)SAFER\b", False, Level.SUSPICIOUS, "T1203", "it takes a helper's limits away"),
    )
)
"""What arguments say, whether only those of tools say it, and what it means."""
_SHELL = r"(?:/[\w./-]{0,32}/)?(?:ba|da|a|z|k|c|tc)?sh\b"
_KNOWN_BAD: tuple[tuple[tuple[re.Pattern[str], ...], Context], ...] = tuple(
    (tuple(re.compile(each, re.IGNORECASE) for each in patterns), Context(Level.KNOWN_BAD, tuple(techniques.split()), why))
    for techniques, why, rows in (
        (
            "T1059.004 T1095",
            "a shell that another machine is given",
            (
                (rf"\b{_SHELL} -\w{{0,8}}i|\b0[<>]&1", r"/dev/(?:tcp|udp)/"),
                (r"\bmk(?:fifo|nod)\b", rf"\|\s{{0,8}}{_SHELL}", r"\b(?:nc|ncat|netcat|telnet|socat|openssl s_client)\b"),
                (
                    r"\bmk(?:fifo|nod)\b",
                    rf"\b{_SHELL} -\w{{0,8}}i\b",
                    r"\|\s{0,8}(?:nc|ncat|netcat|telnet|socat|openssl s_client)\b",
                ),
                (r"\b(?:nc|ncat|netcat)\b", rf"\s-\w{{0,8}}[ec]\s+{_SHELL}|--(?:sh-)?exec\b"),
                (r"\bsocat\b", rf"\bexec:['\"]?{_SHELL}"),
                (r"\bsocket\b", r"\bdup2\b|\bpty\.spawn\b"),
                (
                    r"\bsocket\b|\bfsockopen\b|\bTCPSocket\b|IO::Socket|\bnet\.Socket\b|/inet/tcp",
                    r"\bconnect\b|\bfsockopen\b|\bTCPSocket\b|IO::Socket|/inet/tcp",
                    (
                        r"\b(?:subprocess|proc_open|shell_exec|passthru|child_process)\b|\bpopen|\bspawn\(|"
                        r"\bos\.(?:execute|system|popen)\b|system\$_"
                    ),
                ),
                (r"\b(?:fsockopen|TCPSocket|Socket)\b", rf"\b{_SHELL} -i\b|\bexec[ ({{]{{1,4}}['\"]{_SHELL}"),
            ),
        ),
        ("T1505.003", "the words of a web shell's client", ((r"\becho \[[SE]\]", r"\bpwd\b"),)),
        ("T1499", "a program that multiplies without end", ((r":\(\) ?\{ ?: ?\| ?:",),)),
        (
            "T1496.001",
            "it mines coins",
            (
                (
                    (
                        r"\bstratum\d?(?:\+(?:tcp|ssl|tls|udp))?://|--donate-level\b|"
                        r"--cpu-max-threads-hint\b|--coin[= ]monero\b|\b4[0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b|"
                        r"(?:--algo[= ]|-a )(?:rx/|cn[/-]|cryptonight|randomx|kawpow|ethash|yespower|ghostrider)"
                    ),
                ),
            ),
        ),
    )
    for patterns in rows
)
"""What nothing normal is told: all patterns of a row are in it, in whatever order. Each is found in one pass of any text."""
_DISCOVERY = frozenset({"T1016", "T1057", "T1082", "T1087.001"})
"""Techniques of who only looks."""


def said(told: str, *, tools: bool) -> list[Context]:
    """Return what a text says, and whether that is only looking.

    Args:
        told: a command string, or a program's base name and its arguments.
        tools: some program in it is a tool, so that it may be about what tools are for.
    """
    return [
        Context(level, (technique,), why, technique in _DISCOVERY)
        for pattern, of_tools, level, technique, why in _SAYINGS
        if (tools or not of_tools) and pattern.search(told)
    ]


def known_bad(told: str) -> list[Context]:
    """Return what a text says that nothing normal is told, in the same form."""
    return [found for patterns, found in _KNOWN_BAD if all(pattern.search(told) for pattern in patterns)]
