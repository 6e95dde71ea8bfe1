from pathlib import Path

import numpy as np
import pytest

from models.people import read_people
from models.scenes import scenes


def test_people_keep_their_pixels_joints_and_boxes_in_a_larger_photo(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    for person, placed in zip(people, scenes(people, share=0.25), strict=True):
        assert placed.box.width / placed.size == pytest.approx(0.25, abs=0.01)
        assert np.array_equal(placed.cut(64), person.cut(64))
        assert np.allclose(placed.crop.from_photo(placed.joints), person.crop.from_photo(person.joints))


def test_people_who_are_small_enough_stay_as_they_are(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    assert [placed.size for placed in scenes(people, share=0.9)] == [person.size for person in people]
