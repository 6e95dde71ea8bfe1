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


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
@pytest.mark.parametrize("module", ["uvicorn", "onnxruntime"], ids=["while importing", "while loading the model"])
def test_the_first_process_of_a_container_takes_sigterm_while_it_starts(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-c", AS_PID_1, "serve", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        wait_until(lambda: (tmp_path / f"{module}.imported").exists() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_the_command_prints_its_help() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "service", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "serve" in answer.stdout
