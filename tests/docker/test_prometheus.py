"""A real Prometheus scrapes the real service: every panel, recording rule and alert has something to look at."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from models.spec.contract import SHIPPED_MODEL
from tests.docker.monitoring import DOCKER, Prometheus, accelerated, rules
from tests.support.standin import wait_until
from tests.system.test_server import Server, starting, stop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here"),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with starting(tmp_path_factory.mktemp("server") / "log") as server:
        yield server
        assert stop(server) == 0


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that lives faster and finds the service on this machine."""
    folder = tmp_path_factory.mktemp("prometheus")
    for path in DOCKER.glob("prometheus/*.yml"):
        text = accelerated(path.read_text()).replace("pose:8000", server.url.removeprefix("http://"))
        (folder / path.name).write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        wait_until(lambda: is_ready(process, address, folder / "log"), seconds=60)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(f"http://{address}/-/ready").status_code == 200
    except httpx.ConnectError:
        return False


def test_nothing_that_is_asked_of_prometheus_stays_without_an_answer(
    prometheus: Prometheus, server: Server, astronaut: bytes
) -> None:
    def all_answered() -> bool:
        for query in ("", "boxes=60,10,300,500"):
            server.post(astronaut, query).raise_for_status()
        return prometheus.unanswered() == []

    with suppress(AssertionError):
        wait_until(all_answered, seconds=60)
    assert prometheus.unanswered() == []
    assert prometheus.is_up()


def test_every_rule_is_loaded_and_healthy(prometheus: Prometheus) -> None:
    loaded = list(prometheus.loaded_rules())
    assert len(loaded) == len(rules())
    wait_until(lambda: {rule["health"] for rule in prometheus.loaded_rules()} == {"ok"})


def test_a_misspelt_metric_has_no_value(prometheus: Prometheus) -> None:
    assert prometheus.values("pose_redy") == []
