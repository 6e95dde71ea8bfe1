import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.crop import OUTSIDE_COLOUR
from models.people import read_people
from models.scenes import scenes


def encoded(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_people_keep_their_pixels_joints_and_boxes_in_a_larger_photo(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    for person, placed in zip(people, scenes(people, share=0.25), strict=True):
        assert placed.box.width / placed.size == pytest.approx(0.25, abs=0.01)
        assert np.array_equal(placed.cut(64), person.cut(64))
        assert np.allclose(placed.crop.from_photo(placed.joints), person.crop.from_photo(person.joints))


def test_people_who_are_small_enough_stay_as_they_are(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    assert [placed.size for placed in scenes(people, share=0.9)] == [person.size for person in people]


def test_what_lies_outside_the_photo_is_no_background(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    outside = np.full((people[0].size, people[0].size, 3), OUTSIDE_COLOUR, np.uint8)
    people[0] = replace(people[0], picture=encoded(outside))
    for placed in scenes(people, share=0.25):
        frame = placed.decode(placed.size)[0]
        assert not (np.abs(frame.astype(int) - OUTSIDE_COLOUR) < 6).all(-1).any()


def test_people_whose_pictures_have_no_corner_in_the_photo_are_refused(pack: Path) -> None:
    person = next(iter(read_people(pack, ["dev"])))
    outside = np.full((person.size, person.size, 3), OUTSIDE_COLOUR, np.uint8)
    with pytest.raises(ValueError, match="corner"):
        scenes([replace(person, picture=encoded(outside))], share=0.25)
