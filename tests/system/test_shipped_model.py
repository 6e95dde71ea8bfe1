"""The shipped files find the joints of the two test photos where they found them when they were shipped.

`shipped_joints.json` has x, y and confidence by the float file in float32, in photo pixels. Another file must bring its
own.
"""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from models.spec.contract import SHIPPED_MODEL, variant
from models.spec.crop import Box
from service.inference.onnx_engine import open_networks
from service.metrics import Metrics
from service.poses.estimator import Estimator
from service.poses.options import Options
from service.poses.people import Person
from service.settings import Settings
from tests.support.paths import PHOTOS, ROOT

SHIPPED: dict[str, Any] = json.loads((ROOT / "tests/system/shipped_joints.json").read_text())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not variant(SHIPPED_MODEL, "int8").is_file(), reason="the model files are not here"),
]


def find(precision: str) -> dict[str, Person]:
    settings = Settings(precision=precision)
    estimator = Estimator(settings, open_networks(settings), Metrics())
    estimator.start()

    async def estimate(name: str) -> Person:
        options = Options(boxes=(Box(*SHIPPED[name]["box"]),))
        return (await estimator.estimate((PHOTOS / name).read_bytes(), options)).people[0]

    try:
        return {name: asyncio.run(estimate(name)) for name in SHIPPED}
    finally:
        estimator.close(20)


@pytest.mark.parametrize(("precision", "least_confidence", "most_crop_px"), [("fp32", 0.5, 0.1), ("int8", 0.8, 2.0)])
def test_joints_are_where_they_were(precision: str, least_confidence: float, most_crop_px: float) -> None:
    for name, person in find(precision).items():
        expected = np.array(list(SHIPPED[name]["joints"].values()))
        sure = expected[:, 2] >= least_confidence
        moved = np.linalg.norm(person.joints - expected[:, :2], axis=1) / person.crop.side * 224
        assert sure.sum() >= 1
        assert moved[sure].max() <= most_crop_px, name
        assert np.abs(person.confidence - expected[:, 2])[sure].max() < 0.1, name
