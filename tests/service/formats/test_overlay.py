import numpy as np
from PIL import Image

from models.spec.crop import Box, Crop
from models.spec.skeleton import JOINTS, MPII, SEEN, SIDE_COLOURS
from service.formats.overlay import overlay
from service.poses.people import Person, Poses


def a_person(confidence: float) -> Person:
    joints = np.stack([np.linspace(50, 350, 16), np.linspace(350, 50, 16)], -1)
    certainty = np.full(16, confidence, np.float32)
    return Person(Box(0, 0, 400, 400), True, Crop(0, 0, 400), joints, certainty, np.ones((16, 3)), None)


def draw(confidence: float) -> np.ndarray:
    poses = Poses(400, 400, MPII, (a_person(confidence),), 1, {})
    return np.asarray(overlay(Image.new("RGB", (400, 400)), poses))


def test_left_and_right_have_their_own_colours() -> None:
    drawn, joints = draw(1.0), a_person(1.0).joints
    for name, side in (("left_wrist", "left"), ("right_ankle", "right"), ("thorax", "middle")):
        x, y = joints[JOINTS.index(name)].astype(int)
        assert tuple(drawn[y, x]) == SIDE_COLOURS[side]


def test_the_less_confident_the_fainter() -> None:
    assert draw(1.0).max() > draw(0.5).max() > draw(0.15).max() > 0


def test_what_is_hardly_in_the_photo_is_not_drawn() -> None:
    assert draw(SEEN - 0.01).max() == 0


def test_the_photo_itself_is_left_alone() -> None:
    photo = Image.new("RGB", (400, 400))
    overlay(photo, Poses(400, 400, MPII, (a_person(1.0),), 1, {}))
    assert not np.asarray(photo).any()
