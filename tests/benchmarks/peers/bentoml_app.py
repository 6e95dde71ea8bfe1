"""BentoML, composed as its manual says: one service decodes, another batches: `bentoml serve bentoml_app:Pose`."""

from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from pose import LARGEST_BATCH, Network, crop, joints

SETTINGS: Any = {"workers": 1, "traffic": {"timeout": 60}, "logging": {"access": {"enabled": False}}}


@bentoml.service(**SETTINGS)
class Estimator:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=LARGEST_BATCH, max_latency_ms=60_000)
    def estimate(self, crops: np.ndarray) -> np.ndarray:
        return self.network(crops)


@bentoml.service(**SETTINGS)
class Pose:
    estimator = bentoml.depends(Estimator)

    @bentoml.api(route="/pose")
    async def pose(self, photo: Path, box: list[float]) -> dict[str, Any]:
        pixels, square = crop(photo.read_bytes(), box)
        found = await self.estimator.to_async.estimate(np.stack([pixels]))
        return {"joints": joints(found[0], square)}
