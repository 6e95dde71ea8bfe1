import numpy as np
import pytest

from models.spec.crop import Box, Crop
from service.formats.native import PoseAnswer, answer
from service.inference.engine import EngineInfo
from service.photos.crops import prepare
from service.poses.estimator import STAGES_TOLD, Estimate, Person
from tests.support.contracts import make_contract
from tests.support.standin import estimate


@pytest.mark.parametrize("boxes", [(), (Box(60, 10, 300, 500), Box(-20, -20, 100.5, 100))])
@pytest.mark.parametrize("heatmaps", [False, True])
def test_an_answer_is_the_document_that_is_promised(astronaut: bytes, boxes: tuple[Box, ...], heatmaps: bool) -> None:
    prepared = prepare(astronaut, boxes, 10**6)
    told = estimate(prepared.pixels, heatmaps)
    people = tuple(
        Person(box, not boxes, crop, crop.to_photo(told.coordinates[i]), told.confidence[i], told.covariance[i],
               told.heatmaps[i] if told.heatmaps is not None else None)
        for i, (box, crop) in enumerate(prepared.people)
    )  # fmt: skip
    found = answer(
        Estimate(512, 512, people, dict.fromkeys(STAGES_TOLD, 0.25)), EngineInfo("n", "1", "p", "q", 1, make_contract())
    )
    document = PoseAnswer.model_validate(found, strict=True)
    assert document.model_dump(exclude_none=True) == found


def test_an_angle_that_rounds_to_the_other_end_of_its_axis_is_told_as_this_one() -> None:
    std = np.tile([2.0, 1.0, -89.999994], (16, 1))
    person = Person(Box(0, 0, 9, 9), False, Crop(0, 0, 9), np.zeros((16, 2)), np.zeros(16, np.float32), std, None)
    estimate = Estimate(9, 9, (person,), dict.fromkeys(STAGES_TOLD, 0.0))
    told = answer(estimate, EngineInfo("n", "1", "p", "q", 1, make_contract()))
    assert told["people"][0]["joints"][0]["std"] == {"major": 2.0, "minor": 1.0, "angle": 90.0}
