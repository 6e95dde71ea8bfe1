import subprocess
import sys
from pathlib import Path
from typing import Final

_HANG_SECONDS: Final = 300  # what is linear takes a few seconds, what is not takes hours


def test_no_parser_of_a_clients_bytes_takes_more_than_linear_time(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.worst"]
    names = tmp_path / "names"
    with names.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, cwd=Path(__file__).parents[2])
        try:
            process.wait(_HANG_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    done = names.read_text().splitlines()
    assert done[-1:] == ["done"], f"the case after {done[-1:]} hangs or fails"
