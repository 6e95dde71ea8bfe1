import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.data.scene_views import SceneAugmentation, _part_beside
from models.data.scenes import Scene
from models.spec.crop import OUTSIDE_COLOUR

GREEN = (40, 200, 40)


def scene(width: int, height: int, boxes: list[tuple[float, ...]], flags: tuple[str, ...] = ()) -> Scene:
    """A blue photo with green people."""
    pixels = np.full((height, width, 3), (30, 30, 160), np.uint8)
    for x, y, w, h in boxes:
        pixels[int(y) : int(y + h), int(x) : int(x + w)] = GREEN
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Scene(
        id="x",
        source="drawn",
        picture=file.getvalue(),
        width=width,
        height=height,
        boxes=np.array(boxes, float).reshape(-1, 4),
        flags=flags or ("",) * len(boxes),
        joints=np.zeros((len(boxes), 16, 3)),
    )


def is_green(picture: np.ndarray) -> np.ndarray:
    pixels = picture.astype(int)
    return (pixels[..., 1] > pixels[..., 0] + 40) & (pixels[..., 1] > pixels[..., 2] + 40)


@given(
    seed=st.integers(0, 2**32 - 1),
    sides=st.tuples(st.integers(60, 240), st.integers(60, 240)),
    place=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    squashed=st.booleans(),
)
def test_boxes_stay_on_their_people(
    seed: int, sides: tuple[int, int], place: tuple[float, float], squashed: bool
) -> None:
    width, height = sides
    box = (int(place[0] * width), int(place[1] * height), width // 3, height // 2)
    photo = replace(scene(width, height, [box]), squashed=squashed)
    view = SceneAugmentation(colour=0, grey=0, beside=0)(photo, 160, np.random.default_rng(seed))
    rows, columns = np.nonzero(is_green(view.picture))
    boxes = np.concatenate([view.people, view.ignored])
    if not len(boxes):  # so little of the person is shown that interpolation mixes it with what lies beside
        assert len(rows) < 3 * 160
        return
    [(x, y, w, h)] = boxes
    assert min(x, y) >= 0
    assert max(x + w, y + h) <= 160.001
    shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [x, y, x + w, y + h]
    assert np.abs(np.array(shown) - [x, y, x + w, y + h]).max() <= 2.5


def test_what_lies_beside_the_photo_has_the_outside_colour() -> None:
    view = SceneAugmentation(least_scale=0.5, largest_scale=0.5)(scene(100, 60, []), 128, np.random.default_rng(0))
    outside = (view.picture == OUTSIDE_COLOUR).all(-1)
    assert 0.75 <= outside.mean() <= 0.9  # the photo fills half of the width and about 0.3 of the height


def test_a_backdrop_shows_beside_the_photo_alone() -> None:
    backdrop = np.full((128, 128, 3), (200, 40, 40), np.uint8)
    augmentation = SceneAugmentation(least_scale=0.5, largest_scale=0.5, colour=0, grey=0)
    photo = scene(100, 60, [(20, 10, 30, 30)])
    plain = augmentation(photo, 128, np.random.default_rng(3))
    view = augmentation(photo, 128, np.random.default_rng(3), backdrop)
    outside = (plain.picture == OUTSIDE_COLOUR).all(-1)
    assert (view.picture[outside] == (200, 40, 40)).all()
    assert np.array_equal(view.picture[~outside], plain.picture[~outside])
    assert np.array_equal(view.people, plain.people)
    assert (backdrop == (200, 40, 40)).all()


def test_crowds_difficult_and_hardly_shown_people_are_ignored() -> None:
    photo = scene(
        200, 200, [(10, 10, 60, 60), (100, 10, 60, 60), (10, 100, 60, 60), (100, 100, 4, 4)], ("", "c", "d", "")
    )
    augmentation = SceneAugmentation(least_scale=1, largest_scale=1, stretch=0, beside=0)
    view = augmentation(photo, 200, np.random.default_rng(0))
    assert len(view.people) == 1
    assert len(view.ignored) == 3
    cut = scene(400, 100, [(0, 20, 100, 60)])
    cuts = [
        SceneAugmentation(least_scale=4, largest_scale=4, stretch=0, beside=0)(cut, 100, np.random.default_rng(seed))
        for seed in range(60)
    ]
    for each in cuts:
        for shown in each.people:
            assert shown[2] * shown[3] >= 0.24 * 100 * 60
    assert any(len(each.ignored) for each in cuts)
    assert any(len(each.people) for each in cuts)


def test_a_part_beside_people_shows_none() -> None:
    photo = scene(200, 100, [(0, 0, 60, 100)])
    augmentation = SceneAugmentation(beside=1, colour=0, grey=0)
    views = [augmentation(photo, 96, np.random.default_rng(seed)) for seed in range(40)]
    beside = [view for view in views if not len(view.people) and not len(view.ignored)]
    assert len(beside) >= 30
    assert not any(is_green(view.picture).any() for view in beside)
    assert _part_beside(scene(100, 100, [(5, 5, 90, 90)]), np.random.default_rng(0)) is None


def test_colours_vary_and_proportions_of_squashed_photos_most() -> None:
    photo = scene(100, 100, [(20, 20, 40, 40)])

    def ratios(squashed: bool) -> np.ndarray:
        augmentation = SceneAugmentation(least_scale=0.6, largest_scale=0.7, beside=0)
        views = [
            augmentation(replace(photo, squashed=squashed), 200, np.random.default_rng(seed)).people[0]
            for seed in range(60)
        ]
        return np.log([box[2] / box[3] for box in views])

    assert ratios(False).std() == pytest.approx(0.08, abs=0.03)
    assert 0.3 < np.abs(ratios(True)).max() <= 0.46
    grey = SceneAugmentation(grey=1)(photo, 100, np.random.default_rng(0)).picture
    shown = ~(grey == OUTSIDE_COLOUR).all(-1)
    assert np.ptp(grey[shown].astype(int), axis=-1).max() <= 1
