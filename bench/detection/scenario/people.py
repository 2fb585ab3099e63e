"""What administrators and scanners do in containers, as scripts: benign, and as odd as real."""

__all__ = ["ADMIN", "COPIES", "DEBUG", "SCANS"]

ADMIN = (
    "bash\n  ls -la /app\n  cat /etc/hosts\n  env",
    "sh\n  ps aux\n  top -b -n 1",
    "sh\n  cat /proc/1/status\n  ls -la /tmp\n  df -h",
    "sh\n  nslookup {w1} -> dns\n  wget -q -O - http://127.0.0.1:{port}/metrics -> lo:{port}",
    "bash\n  tail -n 200 /var/log/{w1}.log\n  grep -i error /var/log/{w1}.log",
    "sh\n  date\n  uptime\n  free -m",
    "bash\n  find /app -name *.yaml\n  less /app/config/{w2}.yaml",
    "ls -la /var/log",
    "cat /app/config/{w3}.yaml",
    "sh\n  id\n  hostname\n  netstat -tlnp",
    "bash\n  curl -s http://127.0.0.1:{port}/debug/vars -> lo:{port}\n  kill -HUP 1",
    "env",
)
COPIES = (
    "tar cf - /var/log/{w1}",
    "tar xmf - -C /tmp",
    "socat - TCP4:localhost:{port} -> lo:{port}",
    "tar cf - /data/{w2}.json",
)
DEBUG = (
    "ps aux\nnetstat -tn\nnslookup {w1} -> dns",
    "wget -q -O - http://{ip}:{port}/healthz -> lo:{port}\nping -c 3 {w2} -> dns",
    "tcpdump -i any -c 100 port {port}\nip a",
)
SCANS = ('sh -c "cat /etc/os-release; id -u; ls /etc/passwd"\n  cat /etc/os-release\n  id -u\n  ls /etc/passwd',)
