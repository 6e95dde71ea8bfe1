import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.data.pack import Example
from models.data.person_views import PersonViews, body_box, person_scenes
from models.data.scene_views import SceneAugmentation, View
from models.data.scenes import Scene
from models.spec.crop import OUTSIDE_COLOUR, Box
from models.spec.skeleton import JOINTS
from tests.models.conftest import STANDING

SIZE = 90
BLUE, GREEN = (30, 30, 160), (40, 200, 40)
PLACES = {
    "head_top": (50, 10),
    "upper_neck": (50, 20),
    "right_wrist": (20, 30),
    "left_knee": (60, 80),
    "right_ankle": (40, 90),
}


def labels(places: dict[str, tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Joints [16, 2], far away where they are not labelled, and which are."""
    labelled = np.array([name in places for name in JOINTS])
    return np.array([places.get(name, (1e4, -1e4)) for name in JOINTS], float), labelled


def encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def example(joints: np.ndarray, labelled: np.ndarray | None = None) -> Example:
    """A person in a blue picture."""
    return Example(
        id="x",
        source="mpii",
        picture=encoded(np.full((SIZE, SIZE, 3), BLUE, np.uint8)),
        size=SIZE,
        box=Box(15, 15, 60, 60),
        joints=joints,
        labelled=np.ones(16, bool) if labelled is None else labelled,
        head_size=None,
    )


def standing() -> Example:
    return example(STANDING * SIZE / 3 + SIZE / 2)


def nobody(pixels: np.ndarray) -> Scene:
    height, width = pixels.shape[:2]
    return Scene("n", "drawn", encoded(pixels), width, height, np.zeros((0, 4)), (), np.zeros((0, 16, 3)))


def views(plain: float = 0.0) -> PersonViews:
    """Of a person in a blue picture before a green photo, in their own colours."""
    augmentation = SceneAugmentation(least_scale=0.5, largest_scale=2.4, colour=0, grey=0, beside=0)
    photo = nobody(np.full((60, 80, 3), GREEN, np.uint8))
    return PersonViews(person_scenes([standing()]), np.ones(1), [photo], plain, augmentation)


def view(views: PersonViews, seed: int, size: int = 96) -> View:
    random = np.random.default_rng(seed)
    return views.view(views.choose(random), size, random)


def test_a_box_holds_a_disc_about_each_labelled_joint() -> None:
    # A head is 10 px long: the wrist's disc reaches 4.5 px to the left, the knee's 2.5 to the right, head and ankle's
    # 0.4 up and 5.4 down.
    assert body_box(*labels(PLACES)) == pytest.approx([15.5, 9.6, 62.5 - 15.5, 95.4 - 9.6])


def test_a_head_that_is_seen_from_above_is_no_shorter_than_the_body_allows() -> None:
    joints, labelled = labels({**PLACES, "head_top": (50, 20)})
    head = 0.08 * 70  # from neck to ankle
    left, upper = 20 - 0.45 * head, 20 - 0.25 * head
    assert body_box(joints, labelled) == pytest.approx([left, upper, 60 + 0.25 * head - left, 90 + 0.54 * head - upper])


def test_left_and_right_joints_reach_alike() -> None:
    x, y, width, height = body_box(STANDING, np.ones(16, bool))
    assert body_box(STANDING * (-1, 1), np.ones(16, bool)) == pytest.approx([-x - width, y, width, height])
    assert -x == pytest.approx(x + width)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), beyond=st.floats(0, 0.5))
def test_a_persons_box_lies_inside_the_picture_and_the_rest_is_ignored(seed: int, beyond: float) -> None:
    random = np.random.default_rng(seed)
    joints = random.uniform(-beyond * SIZE, (1 + beyond) * SIZE, (16, 2))
    [scene] = person_scenes([example(joints)])
    box, rest = scene.boxes
    assert box[:2].min() >= 0
    assert (box[:2] + box[2:]).max() <= SIZE + 1e-9
    inside = joints.clip(0, SIZE)
    assert (inside >= box[:2] - 1e-9).all()
    assert (inside <= box[:2] + box[2:] + 1e-9).all()
    assert rest.tolist() == [0, 0, SIZE, SIZE]
    assert scene.counted.tolist() == [True, False]


def test_people_without_head_or_neck_or_with_few_joints_are_left_out() -> None:
    def labelled(*names: str, others: int) -> np.ndarray:
        some = np.array([name in names for name in JOINTS])
        some[:others] = True  # legs, hips and trunk come first
        return some

    joints = standing().joints
    kept = example(joints, labelled("head_top", "upper_neck", others=6))
    left_out = [
        example(joints, labelled("head_top", "upper_neck", others=5)),
        example(joints, labelled("head_top", others=8)),
        example(joints, labelled("upper_neck", others=8)),
    ]
    assert [scene.id for scene in person_scenes([*left_out, replace(kept, id="kept")])] == ["kept"]


def test_all_of_the_picture_but_nothing_beside_it_is_ignored() -> None:
    beside = 0
    for seed in range(40):
        drawn = view(views(), seed)
        is_picture = drawn.picture[..., 2] > drawn.picture[..., 1]
        rows, columns = np.nonzero(is_picture)
        x, y, width, height = max(drawn.ignored, key=lambda box: box[2] * box[3])
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(edges) - (x, y, x + width, y + height)).max() <= 1
        assert (drawn.picture[~is_picture] == GREEN).all()
        beside += not is_picture.all()
    assert beside >= 10


def test_nobody_is_counted_twice() -> None:
    counts = []
    for seed in range(80):
        drawn = view(views(), seed)
        counts.append((len(drawn.people), len(drawn.ignored)))
        for person in drawn.people:
            x, y, width, height = drawn.ignored[0]
            assert (person[:2] >= (x - 1e-3, y - 1e-3)).all()
            assert (person[:2] + person[2:] <= (x + width + 1e-3, y + height + 1e-3)).all()
    # A person of whom too little is shown is ignored in the view, as the rest of the picture always is.
    assert set(counts) <= {(1, 1), (0, 2), (0, 1)}
    assert np.mean([people for people, _ in counts]) >= 0.8


def test_a_part_of_the_views_has_no_photo_behind() -> None:
    some = [view(views(plain=0.3), seed).picture for seed in range(200)]
    beside = [picture[picture[..., 2] <= picture[..., 1]] for picture in some]
    plain = [(pixels == OUTSIDE_COLOUR).all() for pixels in beside if len(pixels)]
    assert len(plain) >= 50
    assert 0.15 <= np.mean(plain) <= 0.45


def test_backdrops_are_squares_of_at_least_half_the_shorter_side() -> None:
    y, x = np.mgrid[:100, :250].astype(np.uint8)
    photo = nobody(np.stack([x, y, np.zeros_like(x)], 2))
    some = replace(views(), nobody=[photo])
    backdrops = [some._backdrop(64, np.random.default_rng(seed)) for seed in range(60)]
    across = np.array([np.ptp(backdrop[..., 0].astype(int)) for backdrop in backdrops])
    down = np.array([np.ptp(backdrop[..., 1].astype(int)) for backdrop in backdrops])
    assert np.abs(across - down).max() <= 2  # nothing is squashed
    assert 47 <= down.min() < 60
    assert 90 < down.max() < 100
    assert np.ptp([backdrop[0, 0, 0] for backdrop in backdrops]) > 100  # from all over the photo
    tiny = replace(some, nobody=[nobody(np.full((1, 1, 3), GREEN, np.uint8))])
    assert (tiny._backdrop(8, np.random.default_rng(0)) == GREEN).all()


def test_people_are_chosen_as_often_as_their_frequencies_say() -> None:
    people = [replace(scene, id=name) for name in ("often", "seldom", "never") for scene in person_scenes([standing()])]
    some = replace(views(), people=people, frequencies=np.array([6.0, 2.0, 0.0]))
    chosen = [some.choose(np.random.default_rng(seed)).id for seed in range(400)]
    assert chosen.count("never") == 0
    assert chosen.count("often") / 400 == pytest.approx(0.75, abs=0.07)
