"""What each component of a node is told: configuration files and command lines."""

import json
from pathlib import Path

from cluster.pki import Authority, kubeconfig

__all__ = ["ADDRESS", "API_PORT", "AUDIT", "COMPONENTS", "ETCD", "NODE", "arguments", "write"]

NODE = "node-1"
# Every node is alone in its network namespace: all have the same addresses.
ADDRESS = "10.123.0.1"
API_PORT = 6443
PODS = "10.123.64.0/24"
SERVICES = "10.123.128.0/20"
API_SERVICE = "10.123.128.1"
DNS_SERVICE = "10.123.128.10"
AUDIT = "audit.json"
"""In a node's folder: what its API server writes into `audit.log` there."""
ETCD = "http://127.0.0.1:2379"

USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
    "scheduler": ("system:kube-scheduler", ""),
}
COMPONENTS = ("etcd", "apiserver", "containerd", "controller-manager", "scheduler", "kubelet", "proxy")


def write(folder: Path, *, cgroup_root: str) -> None:
    """Write certificates, kubeconfigs and all files that the command lines name."""
    for name in ("cni", "kubelet", "log", "manifests"):
        (folder / name).mkdir()
    authority = Authority(folder / "pki")
    authority.create()
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
    addresses = ("127.0.0.1", ADDRESS, API_SERVICE)
    authority.server("apiserver", *(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses))
    authority.server("kubelet-serving", f"DNS:{NODE}", f"IP:{ADDRESS}")
    for name, (user, group) in USERS.items():
        authority.client(name, user, group)
        pair = {"client-certificate": f"{folder}/pki/{name}.crt", "client-key": f"{folder}/pki/{name}.key"}
        (folder / f"{name}.kubeconfig").write_text(kubeconfig(f"https://{ADDRESS}:{API_PORT}", authority.certificate, pair))
    (folder / "containerd.toml").write_text(_containerd(folder))
    for file, content in (
        ("cni/10-bridge.conflist", _network(folder)),
        ("kubelet.json", _kubelet(folder, cgroup_root)),
        ("proxy.json", _proxy(folder)),
    ):
        (folder / file).write_text(json.dumps(content))


def arguments(component: str, folder: Path, kube: Path) -> list[str]:
    """Return the command line of a component."""
    pki = folder / "pki"
    kubeconfig = f"--kubeconfig={folder}/{component}.kubeconfig"
    match component:
        case "etcd":
            # Without fsync: nobody needs these data after a crash of the host.
            return ["etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", f"--advertise-client-urls={ETCD}",
                    f"--listen-client-urls={ETCD}", "--listen-peer-urls=http://127.0.0.1:2380"]  # fmt: skip
        case "containerd":
            return ["containerd", f"--config={folder}/containerd.toml"]
        case "apiserver":
            options = [
                f"--advertise-address={ADDRESS}", "--allow-privileged", "--authorization-mode=Node,RBAC",
                f"--client-ca-file={pki}/ca.crt", "--enable-admission-plugins=NodeRestriction", f"--etcd-servers={ETCD}",
                f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
                "--kubelet-preferred-address-types=InternalIP", f"--secure-port={API_PORT}",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki}/tokens.pub",
                f"--service-account-signing-key-file={pki}/tokens.key", f"--service-cluster-ip-range={SERVICES}",
                f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            ]  # fmt: skip
            if (folder / AUDIT).exists():  # written by who wants to know what is asked, before it is started (again)
                options += [f"--audit-policy-file={folder / AUDIT}", f"--audit-log-path={folder}/audit.log"]
        case "controller-manager":
            options = [
                kubeconfig, f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key",
                "--leader-elect=false", f"--root-ca-file={pki}/ca.crt",
                f"--service-account-private-key-file={pki}/tokens.key", "--use-service-account-credentials",
            ]  # fmt: skip
        case "scheduler":
            options = [kubeconfig, "--leader-elect=false"]
        case "kubelet":
            options = [kubeconfig, f"--config={folder}/kubelet.json", f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
                       f"--root-dir={folder}/kubelet"]  # fmt: skip
        case "proxy":
            options = [f"--config={folder}/proxy.json"]
        case _:
            raise ValueError(f"no such component: {component}; there are {', '.join(COMPONENTS)}")
    return [str(kube), component, *options]


def _containerd(folder: Path) -> str:
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/run"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
disable_apparmor = true
netns_mounts_under_state_dir = true  # not among those of the host
restrict_oom_score_adj = true  # in a container, root may not have the right to lower it
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"
"""


def _network(folder: Path) -> object:
    addresses = {"type": "host-local", "dataDir": f"{folder}/addresses", "ranges": [[{"subnet": PODS}]]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            bridge | {"ipam": addresses | {"routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(folder: Path, cgroup_root: str) -> object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{folder}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        # Its own: a kubelet ends every container below its root that it does not know.
        "cgroupRoot": cgroup_root,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        # A developer's disk may be fuller than a server's should be.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failSwapOn": False,
        "fileCheckFrequency": "1s",
        "imageGCHighThresholdPercent": 100,
        "podCIDR": PODS,
        "resolvConf": "",
        "staticPodPath": f"{folder}/manifests",
        "tlsCertFile": f"{folder}/pki/kubelet-serving.crt",
        "tlsPrivateKeyFile": f"{folder}/pki/kubelet-serving.key",
    }


def _proxy(folder: Path) -> object:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{folder}/proxy.kubeconfig"},
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0},  # the host's to set, not ours
        "hostnameOverride": NODE,
        "mode": "iptables",
    }
