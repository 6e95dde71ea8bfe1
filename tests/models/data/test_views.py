from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.pack import encode, read_people
from models.data.views import close_ups, placed_in_scenes
from models.spec.crop import OUTSIDE_COLOUR
from models.spec.skeleton import JOINTS


def test_people_keep_their_pixels_joints_and_boxes_in_a_larger_photo(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    for person, placed in zip(people, placed_in_scenes(people, fraction=0.25), strict=True):
        assert placed.box.width / placed.size == pytest.approx(0.25, abs=0.01)
        assert np.array_equal(placed.cut(64), person.cut(64))
        assert np.allclose(placed.crop.from_photo(placed.joints), person.crop.from_photo(person.joints))


def test_people_who_are_small_enough_stay_as_they_are(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    assert [placed.size for placed in placed_in_scenes(people, fraction=0.9)] == [person.size for person in people]


def test_what_lies_outside_the_photo_is_no_background(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    outside = np.full((people[0].size, people[0].size, 3), OUTSIDE_COLOUR, np.uint8)
    people[0] = replace(people[0], picture=encode(Image.fromarray(outside)))
    for placed in placed_in_scenes(people, fraction=0.25):
        frame = placed.decode(placed.size)[0]
        assert not (np.abs(frame.astype(int) - OUTSIDE_COLOUR) < 6).all(-1).any()


def test_people_whose_pictures_have_no_corner_in_the_photo_are_refused(pack: Path) -> None:
    person = next(iter(read_people(pack, ["dev"])))
    outside = np.full((person.size, person.size, 3), OUTSIDE_COLOUR, np.uint8)
    with pytest.raises(ValueError, match="corner"):
        placed_in_scenes([replace(person, picture=encode(Image.fromarray(outside)))], fraction=0.25)


def test_close_ups_end_that_many_torsos_below_the_neck(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    person, close = people[0], close_ups(people[:1], torsos=1.0)[0]
    pelvis, neck, ankle = (JOINTS.index(name) for name in ("pelvis", "upper_neck", "left_ankle"))
    scale = close.head_size / person.head_size
    assert close.size == pytest.approx(close.joints[pelvis, 1], abs=scale)
    assert np.allclose(close.joints[pelvis] - close.joints[neck], scale * (person.joints[pelvis] - person.joints[neck]))
    assert close.labelled[neck]
    assert not close.labelled[ankle]
    assert close.decode(close.size).shape == (close.size, close.size, 3)


def test_close_ups_show_what_was_around_their_joints(pack: Path) -> None:
    person = next(iter(read_people(pack, ["dev"])))
    (close,) = close_ups([person], torsos=0.8)
    for joint in np.flatnonzero(close.labelled):
        here, there = (
            p.decode(p.size)[*reversed(np.minimum(p.joints[joint].astype(int), p.size - 1))] for p in (person, close)
        )
        assert np.abs(here.astype(int) - there).max() < 100, JOINTS[joint]


def test_there_are_no_close_ups_of_who_lies_or_has_no_head(pack: Path) -> None:
    person = next(iter(read_people(pack, ["dev"])))
    lying = replace(person, joints=person.joints[:, ::-1])
    headless = replace(person, labelled=np.arange(16) != JOINTS.index("head_top"))
    assert close_ups([lying, headless], torsos=0.8) == []
