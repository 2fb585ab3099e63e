"""What software is there for, by the name of its image or of the program itself: what is odd anywhere else is its business.

A build runner starts compilers, a network plugin changes the firewall, a storage driver mounts. Who deploys a container chooses
its image and its names; who intrudes cannot change these, nor the name of a program that came with the image. A name excuses
only what it is in: of all else its bearer is told like anybody. The words are the names that this software has in public
registries, and ordinary words are left out.
"""

import re
from functools import lru_cache

__all__ = ["business", "reaches_everything", "runs_anything"]


def _named(words: str) -> re.Pattern[str]:
    """Return what finds one of some words, as a whole component of a name: `runner` in `gitlab-runner` and `Runner.Worker`."""
    return re.compile(rf"(?:^|[/._-])(?:{'|'.join(words.split())})(?:[/._-]|$)")


_RUNS_ANYTHING = _named(
    """
    runner drone-agent woodpecker[a-z]* inbound-agent jnlp-(?:slave|agent) jenkins-(?:agent|slave)
    buildkite buildkitd? buildah kaniko bazel teamcity-agent bamboo-agent tekton argoexec dind jupyter(?:lab|hub)?
    ipykernel(?:_launcher)? [a-z0-9]*notebooks? rstudio rsession zeppelin code-server devcontainer gitpod airflow dagster
    rundeck awx ansible (?:auto|nb)grader judge0 piston jobeinabox
    """
)
"""Runs what its users give it: builds, notebooks, tasks, playbooks, exercises."""

_REACHES_EVERYTHING = _named(
    """
    ingress[a-z0-9-]* (?:api|ingress|egress|edge|istio|mesh)-?gateway apisix traefik kong haproxy envoy proxyv2 ztunnel
    linkerd-proxy konnectivity-agent
    kube-proxy calico(?:-node)? cilium(?:-agent|-envoy)? flanneld? weave-(?:net|kube) antrea(?:-agent)? kube-router metallb
    coredns prometheus[a-z-]* blackbox[a-z-]* otel[a-z-]* opentelemetry-collector[a-z-]* datadog(?:-agent)? telegraf
    zabbix-?server uptime-kuma
    """
)
"""Forwards to, routes or measures whatever is deployed: a new place in the cluster is somebody else's deployment."""

_BUSINESS: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = tuple(
    (_named(words), frozenset(techniques.split()))
    for techniques, words in (
        (  # the node's network: firewall, interfaces, kernel modules; instances' addresses
            "T1562.004 T1562.001 T1016 T1547.006 T1018 T1613 T1552.005 T1014",
            """
            kube-proxy calico(?:-node)? cilium(?:-agent)? flanneld? weave-(?:net|kube) antrea(?:-agent)? kube-router
            ovn[a-z0-9-]* openvswitch multus cni aws-node amazon-k8s-cni proxyv2 proxy-init pilot-agent ztunnel metallb
            kube-vip keepalived nodelocaldns k8s-dns-node-cache ip-masq-agent portmap wireguard tailscaled? openvpn fail2ban
            rtpengine
            """,
        ),
        (  # storage: mounts, file systems; instances' volumes
            "T1611 T1485 T1552.005 T1082 T1613 T1561 T1547.006 T1497.001",
            """
            [a-z0-9]*csi(?:-[a-z0-9]+)* csi-?driver longhorn(?:-[a-z0-9]+)* rook-ceph ceph openebs portworx
            (?:nfs|rbd|cephfs)plugin azuredisk diskplugin local-path-provisioner node-driver-registrar
            """,
        ),
        (  # works with the cloud by the instance's own identity
            "T1552.005 T1613",
            """
            cloud-controller-manager [a-z]+-cloud-controller cluster-autoscaler karpenter external-dns external-secrets
            velero kiam kube2iam secrets-store [a-z]*-load-balancer-controller fluent-?bit fluentd datadog(?:-agent)?
            newrelic[a-z-]* promtail otel[a-z-]* opentelemetry-collector[a-z-]* cloudwatch-agent grafana-agent
            cloud-?sql-proxy node-problem-detector vault spilo patroni wal-g pgbackrest barman restic kopia
            """,
        ),
        (  # works for the cluster
            "T1613",
            """
            [a-z0-9-]*controllers? [a-z0-9-]*operators? istiod kyverno gatekeeper keda traefik ingress-nginx
            kube-state-metrics metrics-server coredns cert-manager crossplane kured descheduler
            cloudnative-pg patroni stolon[a-z-]* rabbitmq[a-z-]* hazelcast infinispan vault consul jupyterhub k8s-hub
            """,
        ),
        ("T1613 T1609", "etcd pd-server tikv-server tidb-server kube-apiserver"),  # keeps a cluster's state, with its peers
        ("T1572", "wireguard openvpn tailscaled? headscale containerboot cloudflared"),  # is there to tunnel
        ("T1546", "gitea forgejo gogs gitlab[a-z-]* gitaly bitbucket gerrit"),  # has git run a repository's hooks
        (  # asks kubelets
            "T1613 T1609",
            """
            prometheus metrics-server datadog(?:-agent)? otel[a-z-]* opentelemetry-collector[a-z-]* telegraf grafana-agent
            """,
        ),
        (  # deploys what repositories say
            "T1613 T1609 T1021.004 T1105 T1140 T1222.002 T1554",
            "argocd argo-cd fluxcd rancher helm-controller source-controller helm kubectl kustomize git-sync",
        ),
        (  # copies data away, for the better
            "T1567.002 T1560.001 T1105 T1140 T1005 T1083 T1613",
            """
            spilo patroni velero restic kopia borg[a-z]* duplicity barman wal-g pgbackrest [a-z0-9]*backups? [a-z0-9]*dump
            k8up kanister cron crond cronjobs? supercronic ofelia
            """,
        ),
        ("T1033 T1083", "spark[a-z0-9-]* hadoop[a-z0-9-]* hdfs namenode datanode hbase hive[a-z0-9-]*"),  # has id and ls tell
        (  # a configuration that is a program in C; what computes on graphics cards is compiled for the card that is there
            "T1027.004",
            """
            varnish[a-z0-9-]* vllm[a-z0-9-]* sglang tritonserver text-generation-inference torchserve rayproject raylet
            deepspeed[a-z-]* tensorflow[a-z-]* pytorch[a-z-]* cilium(?:-agent)?
            """,
        ),
        ("T1095", "haproxy keepalived"),  # is asked over its socket, by socat
        ("T1140 T1222.002 T1554 T1552.001 T1565.001", r"certbot acme\.sh cert-manager step-ca"),  # makes keys and certificates
        (  # asks whether others are there, by scripts
            "T1018 T1059.004",
            """
            consul keepalived haproxy pgpool[a-z0-9-]* uptime-kuma librenms smokeping gatus home-?assistant openhab
            """,
        ),
        (  # looks at everything, as its checks say
            "T1033 T1082 T1057 T1016 T1049 T1018 T1083 T1005 T1105 T1135 T1053.003 T1059.004",
            """
            zabbix[a-z0-9_-]* telegraf nagios[a-z0-9-]* nrpe icinga[a-z0-9-]* check_?mk[a-z0-9-]* netdata
            collectd datadog(?:-agent)? node-problem-detector wazuh[a-z-]* osquery[a-z]* falco(?:sidekick|ctl)? sysdig[a-z-]*
            trivy grype kube-bench kubescape kube-hunter lynis neuvector (?:image|vulnerability|security|cis)-scanner
            """,
        ),
    )
)
"""What is odd in a service and the business of who is named so, by technique."""


@lru_cache(maxsize=16_384)  # of a few thousand images and programs
def runs_anything(name: str) -> bool:
    """Return whether an image or a program, by its name, runs what its users give it."""
    return _RUNS_ANYTHING.search(_plain(name)) is not None


@lru_cache(maxsize=16_384)
def reaches_everything(name: str) -> bool:
    """Return whether an image or a program, by its name, has to do with all services of a cluster."""
    return _REACHES_EVERYTHING.search(_plain(name)) is not None


@lru_cache(maxsize=16_384)
def business(name: str) -> frozenset[str]:
    """Return the techniques that are what an image or a program of this name is there for."""
    plain = _plain(name)
    return frozenset[str]().union(*(techniques for pattern, techniques in _BUSINESS if pattern.search(plain)))


def _plain(name: str) -> str:
    """Return a name without the registry's host, tag and digest, in small letters."""
    name = name.partition("@")[0].lower()
    host, slash, rest = name.partition("/")
    if slash and host and ("." in host or ":" in host or host == "localhost"):
        name = rest
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]
