import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.crop import Crop
from models.spec.windows import Windows

SIZE, STRIDE = 416, 32

sides = st.integers(1, 5000)
landscapes_and_portraits = pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (480, 640), (500, 500), (1000, 501), (97, 60)]
)

Boxes = list[tuple[float, float, float, float]]


def windows_of(width: int, height: int) -> Windows:
    return Windows(width, height, SIZE, STRIDE)


def in_picture(boxes: Boxes, square: Crop, windows: Windows) -> np.ndarray:
    """Boxes of a photo, in pixels of a square's trimmed picture: the photo lies in its middle."""
    blank = np.zeros((len(windows.squares), SIZE, SIZE, 3), np.uint8)
    rows, columns = windows.trimmed(blank).shape[1:3]
    scale = SIZE / square.side
    corner = np.array([square.x + (SIZE - columns) / 2 / scale, square.y + (SIZE - rows) / 2 / scale, 0, 0])
    return (np.array(boxes) - corner) * scale


@given(sides, sides)
def test_squares_cover_the_photo(width: int, height: int) -> None:
    squares = windows_of(width, height).squares
    assert squares[0] == Crop.whole(width, height)
    short, long = sorted((width, height))
    if long > 2 * short:
        starts = [max(square.x, square.y) for square in squares[1:]]
        assert (starts[0], starts[-1] + short) == (0, pytest.approx(long))
        assert len(squares) == 17 or np.diff(starts).max() <= short / 2 + 1e-6
    else:
        assert len(squares) == 1


@given(sides, sides)
def test_a_trimmed_picture_is_the_smallest_that_holds_the_photo_in_multiples_of_the_stride(
    width: int, height: int
) -> None:
    windows = windows_of(width, height)
    square = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    rows, columns = windows.trimmed(square).shape[1:3]
    short, long = sorted((width, height))
    assert (rows if height >= width else columns) == SIZE
    assert min(rows, columns) % STRIDE == 0
    assert SIZE * short / long <= min(rows, columns) < SIZE * short / long + STRIDE


def test_pictures_of_a_panorama_stay_squares() -> None:
    pictures = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    assert windows_of(2000, 500).trimmed(pictures) is pictures


@landscapes_and_portraits
def test_boxes_of_the_trimmed_picture_come_back_to_the_photo(width: int, height: int) -> None:
    windows = windows_of(width, height)
    box = (width * 0.25, height * 0.125, width * 0.5, height * 0.75)
    boxes, scores = windows.to_photo(in_picture([box], windows.squares[0], windows)[None], np.array([[0.7]]))
    np.testing.assert_allclose(boxes, [box])
    np.testing.assert_array_equal(scores, [0.7])


def test_a_box_is_cut_at_the_photos_edges_and_one_beside_it_is_left_out() -> None:
    windows = windows_of(640, 480)
    boxes: Boxes = [(-50, 10, 100, 300), (-90, 10, 60, 300), (600, 400, 90, 90)]
    seen = in_picture(boxes, windows.squares[0], windows)[None]
    cut, scores = windows.to_photo(seen, np.array([[0.3, 0.4, 0.5]]))
    np.testing.assert_allclose(cut, [(0, 10, 50, 300), (600, 400, 40, 80)], atol=1e-9)
    np.testing.assert_array_equal(scores, [0.3, 0.5])


@pytest.mark.parametrize("is_portrait", [False, True])
def test_in_a_panorama_whoever_a_square_cuts_is_taken_from_others(is_portrait: bool) -> None:
    windows = windows_of(500, 2000) if is_portrait else windows_of(2000, 500)
    person = np.array((450, 100, 120, 350), float)  # over the edge of the first square, that ends at 500
    if is_portrait:
        person = person[[1, 0, 3, 2]]
    seen = []
    for square in windows.squares:
        corner = np.maximum(person[:2], [square.x, square.y])
        ends = np.minimum(person[:2] + person[2:], [square.x + square.side, square.y + square.side])
        seen.append(in_picture([(*corner, *np.maximum(ends - corner, 0))], square, windows))
    scores = np.linspace(0.1, 0.9, len(seen))[:, None]
    boxes, sure = windows.to_photo(np.array(seen), scores)
    np.testing.assert_allclose(boxes, [person] * len(boxes))
    assert set(sure) == {scores[0, 0], scores[2, 0]}  # of the whole, and of the second square, from 250 to 750
