"""Configuration and absence of an API server; what it says when it is there is tested against a real one."""

import logging
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from peerwatch.kubernetes.pods import PodRecord
from peerwatch.subjects import Pod

from agent.errors import ConfigError
from agent.identity.index import PodIndex
from agent.identity.kubernetes import KubernetesPods

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
"""


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_outside_of_a_cluster_a_kubeconfig_is_asked_for() -> None:
    with pytest.raises(ConfigError) as caught:
        KubernetesPods(PodIndex("c", "n"), "n")

    assert str(caught.value) == (
        "no service account here: KUBERNETES_SERVICE_HOST is not set; give --kubeconfig FILE or --pods FILE"
    )


@pytest.mark.parametrize("content", ["", "{", "a: b", "clusters: 7"])
def test_a_wrong_kubeconfig_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)

    with pytest.raises(ConfigError) as caught:
        KubernetesPods(PodIndex("c", "n"), "n", kubeconfig=str(path))

    assert str(caught.value).startswith(f"--kubeconfig {path}: ")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_told_once_and_the_pods_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    path = tmp_path / "config"
    path.write_text(KUBECONFIG % port)
    index = PodIndex("c", "n")
    index.apply(PodRecord("u", Pod(name="p", uid="u"), ()))
    source = KubernetesPods(index, "n", kubeconfig=str(path))
    source.start()
    try:
        deadline = time.monotonic() + 20
        while source.age_s() < 1 or not caplog.records:  # a second try comes after half a second at most
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
    finally:
        source.stop()

    texts = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(texts) == 1
    assert texts[0].startswith(f"no pods from the API server at http://127.0.0.1:{port} (")
    assert texts[0].endswith("; the 1 known stay, new ones are unknown until it is back")
    assert len(index) == 1
    assert not source.synced.is_set()
    assert source.requests() >= 2


PROGRAM = """
import sys
from agent.identity.index import PodIndex
from agent.identity.kubernetes import KubernetesPods
late = "kubernetes" not in sys.modules
KubernetesPods(PodIndex("c", "n"), "n", kubeconfig=sys.argv[1])
print(late, sum(name.startswith("kubernetes.client.models.") for name in sys.modules))
"""


def test_the_client_library_is_loaded_late_and_its_models_never(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG % 1)

    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == "True 0\n"
