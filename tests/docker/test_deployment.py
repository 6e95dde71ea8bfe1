"""What docker/ promises on a machine with a Docker engine: docker/check, five minutes."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from service.settings import Settings
from tests.docker.deployment import Deployment, deployed, faulty, has_engine, run
from tests.docker.load import photos
from tests.docker.monitoring import DOCKER, rules, wait_for

pytestmark = pytest.mark.docker

FAULTS = yaml.safe_load((Path(__file__).parent / "faults.yml").read_text())


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    if not has_engine():
        pytest.skip("no Docker engine with docker-compose answers")


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    deployment = Deployment()
    deployment.compose("build", "pose")
    with deployed(deployment):
        yield deployment


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Deployment]:
    """A fresh deployment for each fault, so that none sees another's past."""
    with deployed(faulty(tmp_path)) as deployment:
        yield deployment


def test_a_photo_from_outside_gets_its_pose(deployment: Deployment, astronaut: bytes) -> None:
    answer = deployment.post(astronaut)
    assert answer.status_code == 200, answer.text
    head = next(joint for joint in answer.json()["people"][0]["joints"] if joint["name"] == "head_top")
    assert abs(head["x"] - 228) < 60 and abs(head["y"] - 20) < 60


def test_docker_sees_that_it_is_healthy(deployment: Deployment) -> None:
    wait_for(lambda: deployment.inspect()["State"]["Health"]["Status"] == "healthy", seconds=60)


def test_prometheus_scrapes_it_and_has_loaded_every_rule(deployment: Deployment) -> None:
    wait_for(deployment.prometheus.is_up, seconds=60)
    loaded = list(deployment.prometheus.loaded_rules())
    assert len(loaded) == len(rules())
    assert all(rule["health"] in {"ok", "unknown"} for rule in loaded)


def test_prometheus_tells_alertmanager(deployment: Deployment) -> None:
    wait_for(lambda: len(deployment.prometheus.get("alertmanagers")["activeAlertmanagers"]) == 1, seconds=60)
    assert deployment.firing() == set()


def test_it_is_nobody_on_a_read_only_root(deployment: Deployment) -> None:
    assert deployment.execute("id", "-u").stdout.strip() == "10001"
    assert "Read-only file system" in deployment.execute("touch", "/opt/dsnt-pose/file").stderr
    assert deployment.inspect()["HostConfig"]["CapDrop"] == ["ALL"]


@pytest.mark.parametrize("module", ["pip", "torch", "onnx", "sympy", "setuptools"])
def test_the_service_cannot_import_what_it_does_not_need(module: str, deployment: Deployment) -> None:
    assert "ModuleNotFoundError" in deployment.execute("python", "-c", f"import {module}").stderr


def test_the_image_is_under_400_mb_beyond_its_base(deployment: Deployment) -> None:
    history = run(["docker", "history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", "dsnt-pose:cpu"])
    own = [int(line.split()[0]) for line in history.splitlines() if "COPY /opt/dsnt-pose" in line]
    assert len(own) == 2
    assert 100e6 < sum(own) < 400e6


def test_one_cpu_means_one_thread(deployment: Deployment) -> None:
    assert deployment.inspect()["HostConfig"]["NanoCpus"] == 1_000_000_000
    assert ", 1 threads" in deployment.compose("logs", "pose")


def test_stop_under_load_loses_no_accepted_request(deployment: Deployment, astronaut: bytes) -> None:
    def counted(series: str) -> float:
        lines = httpx.get(f"{deployment.url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{series} "))

    def all_accepted() -> bool:
        answered = counted('pose_requests_total{code="200",route="/pose"}') - before
        return answered + counted("pose_in_flight_requests") >= 24

    before = counted('pose_requests_total{code="200",route="/pose"}')
    with ThreadPoolExecutor(24) as clients:
        accepted = [clients.submit(deployment.post, astronaut) for _ in range(24)]
        wait_for(all_accepted, seconds=20)
        assert counted("pose_in_flight_requests") > 0
        begin = time.monotonic()
        deployment.compose("stop", "pose")
        assert [answer.result().status_code for answer in accepted] == [200] * 24
    assert time.monotonic() - begin < 40, "it was killed"
    assert deployment.inspect()["State"]["ExitCode"] == 0
    deployment.compose("start", "pose")
    wait_for(deployment.is_ready, seconds=120)


def test_overload_raises_its_alerts_and_no_others(fast: Deployment, astronaut: bytes, tmp_path: Path) -> None:
    begin = time.monotonic()
    with photos(fast.url, astronaut, per_second=0.5):
        wait_for(lambda: fast.prometheus.unanswered() == [], seconds=120)
        assert fast.prometheus.alerts() <= {"PoseLatencyBurn"}  # where others use the machine, it is slow
    capacity = fast.prometheus.values("pose_queue_limit_images")[0] / Settings().deadline_seconds
    with photos(fast.url, astronaut, per_second=3 * capacity) as statuses:
        assert_alerts(fast, set(FAULTS["overload"]))
        assert statuses[429] > 0
        picture = tmp_path / "panels.svg"
        past = ["--seconds", f"{time.monotonic() - begin:.0f}", "--rate-interval", fast.prometheus.rate_interval]
        run([sys.executable, str(DOCKER / "grafana/plot.py"), fast.prometheus.url, "--output", str(picture), *past])
    print(f"the dashboards' panels during this run: {picture}")


def test_a_dead_engine_raises_its_alerts_and_no_others(fast: Deployment, astronaut: bytes) -> None:
    with photos(fast.url, astronaut, per_second=0.5) as statuses:
        wait_for(lambda: statuses[200] >= 3, seconds=60)
        fast.execute("touch", "/tmp/die")
        assert_alerts(fast, set(FAULTS["engine_thread_dies"]))
        assert statuses[503] > 0


def assert_alerts(deployment: Deployment, expected: set[str]) -> None:
    """Wait until all of the expected alerts fire, then a minute longer, in which no other may come up."""
    seen: set[str] = set()

    def all_fire() -> bool:
        seen.update(deployment.prometheus.alerts())
        return deployment.firing() == expected

    wait_for(all_fire, seconds=180)
    limit = time.monotonic() + 30
    wait_for(lambda: bool(all_fire() and time.monotonic() > limit), seconds=90)
    assert seen == expected
