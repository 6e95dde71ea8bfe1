"""The command line where there is no `resource`, no affinity, no `sysconf`, no `/proc` and few signals."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from models.spec.contract import SHIPPED_MODEL
from tests.support.paths import PHOTOS
from tests.system.test_server import Server, joints

ROOT = Path(__file__).parents[2]
PROGRAM = ("-m", "tests.support.windows")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here"),
]


def test_predict_prints_its_joints() -> None:
    command = [sys.executable, *PROGRAM, "predict", str(PHOTOS / "astronaut.jpg"), "--box", "60,10,300,500"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.startswith("photo 512 x 512\n\nperson 0, box 60, 10, 300, 500\n")
    assert "head_top" in answer.stdout


def test_serve_answers_a_photo_and_ends_at_ctrl_c(serve: Callable[..., Server], astronaut: bytes) -> None:
    server = serve(PROGRAM)
    assert joints(server.post(astronaut, "boxes=60,10,300,500")).shape == (1, 16, 2)
    report = httpx.get(f"{server.url}/report", headers={"Accept": "application/json"}).json()
    assert report["deployment"]["memory"]["total_mib"] is None
    assert httpx.get(f"{server.url}/metrics").status_code == 200
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
