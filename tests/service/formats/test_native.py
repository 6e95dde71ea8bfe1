import json
from dataclasses import replace

import numpy as np
import pytest

from models.spec.contract import JOINT_OUTPUTS, OUTPUTS
from models.spec.crop import Box, Crop
from models.spec.skeleton import MPII
from service.formats.native import PoseAnswer, answer, encode
from service.inference.engine import EngineInfo
from service.poses.people import TIMING, Person, Poses
from tests.support.contracts import make_spec
from tests.support.standin import compute

INFO = EngineInfo(make_spec(), "openvino", "int8", 1)


@pytest.mark.parametrize("boxes", [(), (Box(60, 10, 300, 500), Box(-20, -20, 100.5, 100))])
@pytest.mark.parametrize("names", [JOINT_OUTPUTS, OUTPUTS])
def test_an_answer_is_the_document_that_is_promised(boxes: tuple[Box, ...], names: tuple[str, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    outputs = compute(images, names)
    people = tuple(
        Person.of(box, Crop.around(box), {name: outputs[name][index] for name in names}, whole_image=not boxes)
        for index, box in enumerate(boxes or (Box(0, 0, 512, 512),))
    )
    poses = Poses(512, 512, MPII, people, len(people), dict.fromkeys(TIMING, 0.25))
    found = answer(poses, INFO)
    document = PoseAnswer.model_validate(found, strict=True)
    without_maps = {"people": {"__all__": {"heatmaps"}}} if "heatmaps" not in names else None
    assert document.model_dump(exclude=without_maps) == found
    assert json.loads(encode(poses, INFO)) == found
    assert found["found"] == len(people)
    assert [("heatmaps" in person) for person in found["people"]] == [("heatmaps" in names)] * len(people)


def test_an_angle_that_rounds_to_the_other_end_of_its_axis_is_shown_as_this_one() -> None:
    std = np.tile([2.0, 1.0, -89.999994], (16, 1))
    person = Person(Box(0, 0, 9, 9), False, Crop(0, 0, 9), np.zeros((16, 2)), np.zeros(16, np.float32), std, None)
    found = answer(Poses(9, 9, MPII, (person,), 1, dict.fromkeys(TIMING, 0.0)), INFO)
    assert found["people"][0]["joints"][0]["std"] == {"major": 2.0, "minor": 1.0, "angle": 90.0}


def test_a_score_is_rounded_and_null_where_nobody_was_looked_for() -> None:
    zeros = np.zeros((16, 3))
    person = Person(Box(0, 0, 9, 9), False, Crop(0, 0, 9), zeros[:, :2], np.zeros(16, np.float32), zeros, None)
    people = (replace(person, score=0.987654), person)
    found = answer(Poses(9, 9, MPII, people, 7, dict.fromkeys(TIMING, 0.0)), INFO)
    assert [each["score"] for each in found["people"]] == [0.9877, None]
    assert found["found"] == 7
