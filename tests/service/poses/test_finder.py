import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.spec.crop import Box, Crop, cut
from models.spec.finder import FinderSpec
from models.spec.skeleton import MPII, Skeleton
from service.poses.finder import (
    LEAST_SCORE,
    FoundPerson,
    choose_people,
    crop_rule,
    find_people,
    main_person,
    person_score,
    trimmed,
    windows,
)
from service.poses.people import Person
from tests.support.contracts import make_finder_spec

SPEC = make_finder_spec()
sides = st.integers(1, 5000)


def seen_by_the_finder(boxes: list[Box], window: Crop, width: int, height: int, spec: FinderSpec) -> np.ndarray:
    """Boxes of a photo, in pixels of a window's trimmed picture."""
    size = spec.longest_side
    blank = np.zeros((len(windows(width, height)), size, size, 3), np.uint8)
    rows, columns = trimmed(spec, blank, width, height).shape[1:3]
    scale = size / window.side
    left, top = (size - columns) / 2, (size - rows) / 2
    return np.array(
        [
            [(b.x - window.x) * scale - left, (b.y - window.y) * scale - top, b.width * scale, b.height * scale]
            for b in boxes
        ]
    )


@given(sides, sides)
def test_windows_cover_the_photo(width: int, height: int) -> None:
    crops = windows(width, height)
    assert crops[0] == Crop.whole(width, height)
    short, long = sorted((width, height))
    if long > 2 * short:
        starts = [max(crop.x, crop.y) for crop in crops[1:]]
        assert (starts[0], starts[-1] + short) == (0, pytest.approx(long))
        assert len(crops) == 17 or np.diff(starts).max() <= short / 2 + 1e-6
    else:
        assert len(crops) == 1


@given(sides, sides)
def test_a_trimmed_picture_holds_the_whole_photo_in_multiples_of_the_stride(width: int, height: int) -> None:
    size = SPEC.longest_side
    picture = trimmed(SPEC, np.zeros((1, size, size, 3), np.uint8), width, height)
    short, long = sorted((width, height))
    assert sorted(picture.shape[1:3])[1] == size
    assert sorted(picture.shape[1:3])[0] % SPEC.stride == 0
    assert size * short / long <= min(picture.shape[1:3]) < size * short / long + SPEC.stride


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (500, 500), (1000, 501), (97, 60)])
def test_boxes_of_the_trimmed_picture_come_back_to_the_photo(width: int, height: int) -> None:
    (window,) = windows(width, height)
    box = Box(width * 0.25, height * 0.125, width * 0.5, height * 0.75)
    outputs = {"boxes": seen_by_the_finder([box], window, width, height, SPEC)[None], "scores": np.ones((1, 1))}
    (person,) = find_people(SPEC, [window], outputs, width, height)
    assert vars_of(person.box) == pytest.approx(vars_of(box), rel=1e-6)


def vars_of(box: Box) -> tuple[float, ...]:
    return box.x, box.y, box.width, box.height


def test_the_picture_shows_the_photo_where_the_boxes_say(photo_of_a_square: tuple[np.ndarray, Box]) -> None:
    pixels, box = photo_of_a_square
    height, width = pixels.shape[:2]
    (window,) = windows(width, height)
    rule = crop_rule(SPEC)
    picture = trimmed(SPEC, cut(Image.fromarray(pixels), window, rule.size, rule.outside)[None], width, height)[0]
    x, y, w, h = seen_by_the_finder([box], window, width, height, SPEC)[0].round().astype(int)
    assert picture[y + 2 : y + h - 2, x + 2 : x + w - 2].min() == 255
    assert picture[: y - 2].max() < 255


@pytest.fixture
def photo_of_a_square() -> tuple[np.ndarray, Box]:
    pixels = np.zeros((360, 640, 3), np.uint8)
    pixels[100:200, 200:360] = 255
    return pixels, Box(200, 100, 160, 100)


def test_people_come_by_size_and_each_once() -> None:
    boxes = [Box(10, 10, 50, 100), Box(300, 10, 200, 400), Box(12, 10, 50, 100)]
    outputs = {"boxes": seen_by_the_finder(boxes, *(windows(640, 480)), 640, 480, SPEC)[None]}
    people = find_people(SPEC, windows(640, 480), outputs | {"scores": np.array([[0.7, 0.8, 0.9]])}, 640, 480)
    assert [person.score for person in people] == [0.8, 0.9]


def test_a_box_is_cut_at_the_photos_edge_and_one_beside_it_is_nobody() -> None:
    boxes = [Box(-50, 10, 100, 300), Box(-90, 10, 60, 300)]
    outputs = {"boxes": seen_by_the_finder(boxes, *windows(640, 480), 640, 480, SPEC)[None]}
    (person,) = find_people(SPEC, windows(640, 480), outputs | {"scores": np.ones((1, 2))}, 640, 480)
    assert vars_of(person.box) == pytest.approx((0, 10, 50, 300))


def test_in_a_panorama_whoever_a_window_cuts_is_taken_from_another() -> None:
    width, height = 2000, 500
    crops = windows(width, height)
    box = Box(450, 100, 120, 350)  # over the edge of the first square
    boxes, scores = [], []
    for window in crops:
        visible = Box(max(box.x, window.x), box.y, 0, box.height)
        reach = min(box.x + box.width, window.x + window.side) - visible.x
        visible = Box(visible.x, visible.y, max(reach, 0.0), visible.height)
        boxes.append(seen_by_the_finder([visible], window, width, height, SPEC))
        scores.append([0.9])
    people = find_people(SPEC, crops, {"boxes": np.array(boxes), "scores": np.array(scores)}, width, height)
    assert [vars_of(person.box) for person in people] == [pytest.approx(vars_of(box))]


def test_the_main_person_is_the_largest_of_those_who_are_sure() -> None:
    large, small = FoundPerson(Box(0, 0, 90, 90), 0.35), FoundPerson(Box(0, 0, 20, 20), 0.8)
    assert main_person([large, small]) == [small]
    assert main_person([FoundPerson(large.box, 0.5), small])[0].box == large.box
    assert main_person([]) == []


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_score_is_a_probability_that_rises_with_both(finder_score: float, confidence: float) -> None:
    spec = make_finder_spec(calibration={"finder": 1.5, "pose": 2.0, "bias": -1.0})
    sure = np.full(16, confidence, np.float32)
    score = person_score(spec, MPII, finder_score, sure)
    assert 0 <= score <= 1
    assert person_score(spec, MPII, min(1.0, finder_score + 0.1), sure) >= score
    assert person_score(spec, MPII, finder_score, np.minimum(1, sure + 0.1)) >= score


def test_the_score_goes_by_neck_and_shoulders_where_there_are_any() -> None:
    spec = make_finder_spec(calibration={"finder": 1.0, "pose": 4.0, "bias": 0.0})
    confidence = np.zeros(16, np.float32)
    confidence[list(MPII.indices("upper_neck", "thorax", "right_shoulder", "left_shoulder"))] = 1
    assert person_score(spec, MPII, 0.5, confidence) == pytest.approx(1 / (1 + np.exp(-4)))
    assert person_score(spec, Skeleton(("tip", "tail"), ()), 0.5, np.array([0.0, 0.5])) == pytest.approx(
        1 / (1 + np.exp(-1))
    )


def a_person(x: float, confidence: float = 0.9) -> Person:
    joints = np.linspace([x, 0], [x + 40, 100], 16)
    box = Box(x, 0, 40, 100)
    return Person(box, False, Crop.around(box), joints, np.full(16, confidence, np.float32), np.zeros((16, 3)), None)


def test_of_two_poses_of_one_body_the_surer_stays() -> None:
    people = [a_person(0), a_person(3), a_person(200)]
    assert choose_people(people, [0.6, 0.7, 0.5]) == [1, 2]
    assert choose_people(people, [0.7, 0.6, LEAST_SCORE - 0.01]) == [0]
    assert choose_people([a_person(0), a_person(3, confidence=0.05)], [0.7, 0.6]) == [0, 1]
    assert choose_people([], []) == []
