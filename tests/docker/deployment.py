"""docker/compose.yaml on the Docker engine at hand, beside whatever else runs there."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx

from tests.docker.monitoring import DOCKER, Prometheus, accelerated, wait_for

SERVICES = ("pose", "prometheus", "alertmanager")
FAULT = Path(__file__).parent / "compose.fault.yaml"


def has_engine() -> bool:
    """Whether a Docker engine and docker-compose answer."""
    return bool(compose_command()) and works("docker", "info")


def compose_command() -> list[str]:
    """Version 2 if it is installed, else version 1; empty without either."""
    if works("docker", "compose", "version"):
        return ["docker", "compose"]
    return ["docker-compose"] if works("docker-compose", "version") else []


def works(*command: str) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, check=False, capture_output=True).returncode


@dataclass(frozen=True)
class Deployment:
    """A project of its own, on ports of its own, with one CPU for the service.

    Attributes:
        files: Compose files, the later over the earlier.
        environment: What goes before docker/.env.
    """

    files: tuple[Path, ...] = (DOCKER / "compose.yaml",)
    environment: dict[str, str] = field(default_factory=dict)
    url: ClassVar = "http://127.0.0.1:18000"
    prometheus: ClassVar = Prometheus("http://127.0.0.1:19090")
    alertmanager: ClassVar = "http://127.0.0.1:19093"

    def compose(self, *arguments: str) -> str:
        chosen = {
            "COMPOSE_PROJECT_NAME": "dsnt-pose-check",
            "COMPOSE_PROFILES": "cpu",
            "POSE_CPUS": "1",
            "POSE_PORT": "18000",
            "PROMETHEUS_PORT": "19090",
            "ALERTMANAGER_PORT": "19093",
        }
        files = [part for path in self.files for part in ("--file", str(path))]
        command = [*compose_command(), *files, *arguments]
        return run(command, env=os.environ | chosen | self.environment)

    def container(self) -> str:
        """The id of the service's container."""
        return self.compose("ps", "--quiet", "pose").strip()

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(["docker", "inspect", self.container()]))[0]
        return found

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the service's container."""
        return subprocess.run(
            ["docker", "exec", self.container(), *command], check=False, capture_output=True, text=True
        )

    def post(self, photo: bytes, query: str = "boxes=60,0,340,512") -> httpx.Response:
        return httpx.post(f"{self.url}/pose?{query}", content=photo, timeout=60)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz/ready").status_code == 200
        except httpx.TransportError:
            return False

    def firing(self) -> set[str]:
        """Names of the alerts that Alertmanager has, inhibited ones included."""
        return {alert["labels"]["alertname"] for alert in httpx.get(f"{self.alertmanager}/api/v2/alerts").json()}


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def deployed(deployment: Deployment) -> Iterator[Deployment]:
    """Bring a deployment up, wait until it takes photos, and remove it with all its data at the end."""
    try:
        deployment.compose("up", "--detach", *SERVICES)
        with suppress(AssertionError):
            wait_for(deployment.is_ready, seconds=120)
        assert deployment.is_ready(), deployment.compose("logs", "pose")
        yield deployment
    finally:
        deployment.compose("down", "--volumes")


def faulty(folder: Path) -> Deployment:
    """A deployment whose rules live faster and whose engine can be killed; their files are written to a folder."""
    for name in ("prometheus", "alertmanager"):
        (folder / name).mkdir()
        for path in DOCKER.glob(f"{name}/*.yml"):
            (folder / name / path.name).write_text(accelerated(path.read_text()))
    folder.chmod(0o755)
    return Deployment((DOCKER / "compose.yaml", FAULT), {"ACCELERATED": str(folder)})
