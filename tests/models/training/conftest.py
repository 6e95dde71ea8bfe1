"""Small runs on the drawn pack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.training.config import Phase, TrainingConfig

Configure = Callable[..., TrainingConfig]


@pytest.fixture
def configure(pack: Path, tmp_path: Path) -> Configure:
    """`configure("64/16:96", rate=1e-3)`: a small run on the drawn pack with these phases and options."""

    def small(*phases: str, **options: Any) -> TrainingConfig:
        defaults = {"data": pack, "out": tmp_path / "run", "depth": 18, "batch": 6, "evaluate_every": 24}
        chosen = tuple(map(Phase.parse, phases)) or (Phase(64, 16, 24),)
        return TrainingConfig(**{**defaults, "threads": 1, "device": "cpu", "phases": chosen, **options})

    return small
