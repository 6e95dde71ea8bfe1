import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.spec.contract import SHIPPED_MODEL
from tests.support.standin import wait_until

ROOT = Path(__file__).parents[2]

AS_PID_1 = """
import os, runpy

os.getpid = lambda: 1
runpy.run_module("service", run_name="__main__", alter_sys=True)
"""

# A module whose import does not end, as that of a large library at the moment of the signal.
SLOW = """
import signal
from pathlib import Path

Path(__file__).with_suffix(".imported").touch()
signal.pause()
"""


AT_A_TERMINAL = """
import runpy, signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
runpy.run_module("service", run_name="__main__", alter_sys=True)
"""

# A network whose warm-up does not end.
COLD = """
import os, threading
from pathlib import Path

from service.cli import serve
from service.inference.engine import Networks
from tests.support.standin import StandIn


class Cold(StandIn):
    def warm_up(self):
        Path(os.environ["PYTHONPATH"], "warm_up.imported").touch()
        threading.Event().wait()


serve.open_networks = lambda _: Networks(Cold())
"""

with_model = pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")


def end_by(number: int, program: str, module: str, folder: Path) -> tuple[int, str]:
    """Status and output of a start that a signal reaches when `module` is imported."""
    (folder / f"{module}.py").write_text(SLOW)
    command = [sys.executable, "-c", program, "serve", "--port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(folder)}, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: (folder / f"{module}.imported").exists() or process.poll() is not None)
        process.send_signal(number)
        return process.wait(20), (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


@with_model
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["uvicorn", "onnxruntime"], ids=["while importing", "while loading the model"])
def test_the_first_process_of_a_container_takes_signals_while_it_starts(
    number: int, module: str, tmp_path: Path
) -> None:
    status, log = end_by(number, AS_PID_1, module, tmp_path)
    assert status == 128 + number
    assert "Traceback" not in log


@with_model
@pytest.mark.parametrize(
    ("module", "program"),
    [("uvicorn", AT_A_TERMINAL), ("onnxruntime", AT_A_TERMINAL), ("warm_up", COLD + AT_A_TERMINAL)],
    ids=["while importing", "while loading the model", "while warming up"],
)
def test_ctrl_c_ends_a_start_without_a_traceback(module: str, program: str, tmp_path: Path) -> None:
    status, log = end_by(signal.SIGINT, program, module, tmp_path)
    assert status == -signal.SIGINT  # which a shell calls 130
    assert "Traceback" not in log


def test_the_command_prints_its_help() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "service", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "serve" in answer.stdout
