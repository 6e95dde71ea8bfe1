"""Figures with the machine that they were taken on, as JSON files."""

import datetime
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any, Final

from service.host import processor_name, usable_cpus
from service.inference.providers import RUNTIMES

FOLDER: Final = Path(__file__).parent / "results"

_DISTRIBUTIONS: Final = (*RUNTIMES, "fastapi", "numpy", "pillow", "uvicorn")


def machine() -> dict[str, Any]:
    """What the figures depend on, beside the code."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # one runtime of several
            continue
    return {"processor": processor_name(), "usable_cpus": usable_cpus(), "versions": versions}


def save(folder: Path, part: str, figures: dict[str, Any]) -> None:
    """Write a part's figures."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    document = {"taken": taken, "machine": machine(), **figures}
    (folder / f"{part}.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def load(folder: Path, part: str) -> dict[str, Any]:
    """Read a part's figures."""
    return dict(json.loads((folder / f"{part}.json").read_text()))
