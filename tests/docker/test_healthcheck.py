"""The image's health check against a small server: what it asks, where, and what it makes of the answer."""

import json
import re
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.settings import Settings
from tests.docker.monitoring import DOCKER

DOCKERFILE = (DOCKER / "Dockerfile").read_text()


class Probe(BaseHTTPRequestHandler):
    """Answers readiness with the server's status."""

    status: HTTPStatus
    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def probe() -> type[Probe]:
    return type("Answering", (Probe,), {"status": HTTPStatus.OK, "paths": []})


@pytest.fixture
def port(probe: type[Probe]) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), probe) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def check(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command that the Dockerfile names, with the file that it copies."""
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found
    _, *arguments, inside = json.loads(found[1])
    copied = re.search(rf"^COPY --chmod=644 (\S+) {re.escape(inside)}$", DOCKERFILE, re.MULTILINE)
    assert copied
    command = [sys.executable, *arguments, str(DOCKER.parent / copied[1])]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)


def test_a_service_that_takes_photos_is_healthy(port: int, probe: type[Probe]) -> None:
    assert check(DSNT_POSE_PORT=str(port)).returncode == 0
    assert probe.paths == ["/healthz/ready"]


def test_a_service_that_takes_none_is_not(port: int, probe: type[Probe]) -> None:
    probe.status = HTTPStatus.SERVICE_UNAVAILABLE
    done = check(DSNT_POSE_PORT=str(port))
    assert (done.returncode, done.stderr) == (1, "status 503\n")


def test_no_answer_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    done = check(DSNT_POSE_PORT=str(free))
    assert done.returncode == 1
    assert done.stderr.startswith("no answer: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_not_used(name: str, port: int) -> None:
    assert check(DSNT_POSE_PORT=str(port), **{name: "http://127.0.0.1:9"}).returncode == 0


@pytest.mark.parametrize("environment", [{}, {"DSNT_POSE_PORT": ""}, {"DSNT_POSE_PORT": "tcp://10.96.12.7:8001"}])
def test_without_a_number_the_port_is_the_services_default(environment: dict[str, str]) -> None:
    port = runpy.run_path(str(DOCKER / "healthcheck.py"))["port"](environment)
    assert port == Settings.model_fields["port"].default
