"""Environments of the peers, one each under `.venv-peers`, made when they are first needed."""

import importlib.metadata
import subprocess
import venv
from pathlib import Path
from typing import Final

from service.inference.providers import RUNTIMES
from tests.benchmarks.server import ROOT, ServerError

PEERS_FOLDER: Final = Path(__file__).parent / "peers"


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment; made anew when its requirements or our runtime have changed.

    Raises:
        ServerError: Its requirements do not install here.
    """
    folder = ROOT / ".venv-peers" / peer
    wanted = (PEERS_FOLDER / "requirements" / f"{peer}.txt").read_text() + _runtime()
    stamp, python = folder / "installed", folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"installing {peer}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", *wanted.split()]
        found = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if found.returncode:
            raise ServerError(f"{peer} does not install:\n{found.stderr[-2000:]}")
        stamp.write_text(wanted)
    return python


def _runtime() -> str:
    """The service's own runtime, as a requirement."""
    installed = {each.name: each.version for each in importlib.metadata.distributions()}
    return next(f"{name}=={installed[name]}" for name in RUNTIMES if name in installed)
