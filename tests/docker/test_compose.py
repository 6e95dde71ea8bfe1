"""compose.yaml and the Dockerfile without a Docker engine: valid, hardened, and pinned."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api import server
from service.settings import PREFIX, Settings
from tests.docker.monitoring import DOCKER

COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
ENVIRONMENT = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env").read_text(), re.MULTILINE))
DRAIN = ("drain_delay_seconds", "drain_seconds")
TOOLS = Path(sys.executable).parent

every_service = pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])


def test_the_dockerfile_passes_hadolint() -> None:
    done = subprocess.run([TOOLS / "hadolint", DOCKER / "Dockerfile"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_keeps_the_compose_specification() -> None:
    command = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_docker_compose_understands_it() -> None:
    subprocess.run(["docker-compose", "--file", DOCKER / "compose.yaml", "config", "--quiet"], check=True)


def test_one_profile_starts_the_service_on_a_cpu_and_one_on_a_gpu() -> None:
    profiles = {name: service["profiles"] for name, service in COMPOSE["services"].items() if "profiles" in service}
    assert profiles == {"pose": ["cpu"], "pose-gpu": ["gpu"]}
    assert ENVIRONMENT["COMPOSE_PROFILES"] == "cpu"


@every_service
def test_every_service_is_limited_hardened_and_comes_back(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] and service["cpus"]


@every_service
def test_every_image_is_pinned_or_built_here(service: dict[str, Any]) -> None:
    assert "build" in service or re.fullmatch(r"\S+:v?\d+\.\d+\.\d+", service["image"])


@every_service
def test_every_port_is_published_where_the_operator_says(service: dict[str, Any]) -> None:
    assert ENVIRONMENT["BIND_ADDRESS"] == "127.0.0.1"
    for port in service["ports"]:
        assert re.fullmatch(r"\$\{BIND_ADDRESS\}:\$\{\w+_PORT\}:\d+", port)


def test_every_variable_of_compose_has_its_default() -> None:
    asked = set(re.findall(r"\$\{(\w+)\}", (DOCKER / "compose.yaml").read_text()))
    assert asked <= set(ENVIRONMENT)


@pytest.mark.parametrize("name", ["pose", "pose-gpu"])
def test_the_service_may_drain_before_it_is_killed(name: str) -> None:
    service = COMPOSE["services"][name]
    seconds = {name: float(service["environment"][PREFIX + name.upper()]) for name in DRAIN}
    assert seconds == {name: Settings.model_fields[name].default for name in DRAIN}
    assert float(service["stop_grace_period"].removesuffix("s")) > sum(seconds.values()) + server._REFUSAL_SECONDS


@pytest.mark.parametrize("name", ["pose", "pose-gpu"])
def test_compose_sets_only_settings_that_exist(name: str) -> None:
    settings = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert set(COMPOSE["services"][name]["environment"]) <= settings


def test_nobody_knows_grafanas_password() -> None:
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not any("PASSWORD" in name for name in environment)
