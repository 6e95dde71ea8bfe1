import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from models.spec.contract import ModelSpec
from models.spec.finder import FinderSpec, check_findings, overlap, suppress
from models.spec.metadata import ContractError
from tests.models.spec.test_contract import CONTRACT, Node
from tests.support.contracts import make_finder_spec

SPEC = make_finder_spec()

boxes = arrays.arrays(
    np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 20).map(float), fill=st.nothing()
)


def tensors() -> tuple[list[Node], list[Node]]:
    return [Node("images", "tensor(uint8)", ["N", "H", "W", 3])], [
        Node("boxes", "tensor(float)", ["N", "C", 4]),
        Node("scores", "tensor(float)", ["N", "C"]),
    ]


def test_a_spec_is_read_back_from_its_metadata_and_tensors() -> None:
    assert FinderSpec.read(SPEC.to_metadata(), *tensors()) == SPEC


@pytest.mark.parametrize("name", SPEC.to_metadata())
def test_every_entry_is_required(name: str) -> None:
    metadata = SPEC.to_metadata()
    del metadata[name]
    with pytest.raises(ContractError, match=name):
        FinderSpec.from_metadata(metadata)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("contract", "finder 9", "keeps the contract `finder 9`, this code reads `finder 1`"),
        ("longest_side", 16, "photos of 16 px at a stride of 32, possible are strides of 1 to 256 and their multiples"),
        ("longest_side", 400, "photos of 400 px at a stride of 32"),
        ("longest_side", 4128, "photos of 4128 px at a stride of 32"),
        ("longest_side", None, "photos of None px"),
        ("stride", 0, "at a stride of 0"),
        ("stride", "32", "at a stride of 32, possible"),
        ("padding", [0, 0], r"pads with \(0, 0\)"),
        ("padding", [0, 0, 256], r"pads with \(0, 0, 256\)"),
        ("padding", None, "values of another type"),
        ("suppression", 0, "suppresses above 0"),
        ("suppression", float("nan"), "suppresses above nan"),
        ("suppression", "much", "values of another type"),
        ("calibration", {"finder": 1, "bias": 0}, "weighs scores by {'finder': 1, 'bias': 0}, which are to be numbers"),
        ("calibration", {"finder": 0, "pose": 1, "bias": 0}, "the first above 0"),
        ("calibration", {"finder": 1, "pose": float("nan"), "bias": 0}, "'pose': nan"),
        ("calibration", {"finder": "1", "pose": 1, "bias": 0}, "values of another type"),
        ("calibration", [1, 2, 3], "values of another type"),
        ("calibration", "none", "values of another type"),
        ("accuracy", None, "accuracy is not an object"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: Any, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        FinderSpec.from_metadata({**SPEC.to_metadata(), f"dsnt_pose.{name}": json.dumps(value)})


def test_a_pose_network_is_no_finder_and_a_finder_no_pose_network() -> None:
    with pytest.raises(ContractError, match="not a finder's: it keeps version 2 of the pose networks' contract"):
        FinderSpec.read(CONTRACT.to_metadata(), *tensors())
    with pytest.raises(ContractError, match="not a pose network's: it keeps the contract `finder 1`"):
        ModelSpec.read(SPEC.to_metadata(), *tensors())


@pytest.mark.parametrize(
    ("place", "changes", "sentence"),
    [
        ((0, 0), {"shape": ["N", 416, 416, 3]}, "`images` fixes H at 416"),
        ((0, 0), {"shape": ["N", "H", "W", 4]}, "`images` is tensor"),
        ((0, 0), {"type": "tensor(float)"}, "`images` is tensor"),
        ((1, 0), {"shape": [1, "C", 4]}, "`boxes` fixes N at 1"),
        ((1, 0), {"shape": ["N", "C", 5]}, "`boxes` is tensor"),
        ((1, 1), {"shape": ["N", 2730]}, "`scores` fixes C at 2730"),
        ((1, 1), {"name": "confidence"}, r"no tensor `scores` \(tensor\(float\) \[N, C\]\)"),
    ],
)
def test_tensors_that_differ_are_refused(place: tuple[int, int], changes: dict[str, Any], sentence: str) -> None:
    both = tensors()
    both[place[0]][place[1]] = replace(both[place[0]][place[1]], **changes)
    with pytest.raises(ContractError, match=sentence):
        FinderSpec.read(SPEC.to_metadata(), *both)


def test_a_photo_keeps_its_proportions_and_the_rest_its_colour() -> None:
    photo = Image.new("RGB", (832, 624), (10, 200, 30))
    (picture,) = SPEC.pictures(photo)
    assert picture.shape == (320, 416, 3)
    assert (picture[5:315, 1:-1] == (10, 200, 30)).all()  # the photo's edges are between
    assert (picture[:3] == SPEC.padding).all()
    assert (picture[317:] == SPEC.padding).all()


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (150, 149)])
def test_a_picture_shows_the_photo_where_boxes_say(width: int, height: int) -> None:
    photo = Image.new("RGB", (width, height))
    photo.paste((255, 255, 255), (100, 50, 140, 120))
    (picture,) = SPEC.pictures(photo)
    rows, columns = np.nonzero(picture.min(2) > 127)
    shown = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    boxes, _ = SPEC.windows(width, height).to_photo(np.array([[shown]]), np.ones((1, 1)))
    np.testing.assert_allclose(boxes, [(100, 50, 40, 70)], atol=max(width, height) / SPEC.longest_side)


def test_of_a_panorama_the_first_picture_is_of_all_of_it() -> None:
    pictures = SPEC.pictures(Image.new("RGB", (900, 300), (10, 200, 30)))
    assert pictures.shape == (6, 416, 416, 3)
    is_photo = (pictures == (10, 200, 30)).all(-1)
    assert is_photo[1:, 1:-1, 1:-1].all()
    assert is_photo[0, :, 1:-1].all(1).sum() == pytest.approx(416 / 3, abs=2)


def test_usual_inputs_are_square_and_four_to_three() -> None:
    assert SPEC.input_sizes == ((416, 416), (320, 416), (416, 320))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("boxes", float("nan"), "boxes are not all numbers"),
        ("boxes", -1, "boxes have sides below 0"),
        ("scores", float("inf"), "scores are not all numbers"),
        ("scores", 1.01, "scores lie outside 0 to 1"),
    ],
)
def test_outputs_that_no_finder_may_give_are_noticed(name: str, value: float, sentence: str) -> None:
    outputs = {"boxes": np.ones((1, 3, 4), np.float32), "scores": np.ones((1, 3), np.float32)}
    check_findings(outputs)
    outputs[name][0, -1] = value
    with pytest.raises(ContractError, match=sentence):
        check_findings(outputs)


def test_overlap_is_intersection_over_union() -> None:
    one = np.array([[0, 0, 4, 2]])
    others = np.array([[0, 0, 4, 2], [2, 1, 4, 2], [4, 0, 4, 2], [1, 1, 0, 0]])
    np.testing.assert_allclose(overlap(one, others), [[1, 2 / 14, 0, 0]])
    np.testing.assert_array_equal(overlap(others[3:], others[3:]), [[0]])


@given(boxes, st.data())
def test_the_chosen_are_the_best_of_those_that_overlap(some: np.ndarray, data: st.DataObject) -> None:
    scores = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(some), max_size=len(some)))) / 4
    iou, least, most = data.draw(st.sampled_from([0.1, 0.5, 1])), data.draw(st.sampled_from([0, 0.5])), len(some) + 1
    chosen = suppress(some, scores, iou, least, most)
    assert (np.diff(scores[chosen]) <= 0).all()
    assert (scores[chosen] >= least).all()
    overlaps = overlap(some, some)
    assert all(overlaps[a, b] <= iou for a in chosen for b in chosen if a != b)
    for left_out in set(range(len(some))) - set(chosen.tolist()):
        better = [a for a in chosen if (-scores[a], a) < (-scores[left_out], left_out)]
        assert scores[left_out] < least or overlaps[left_out, better].max(initial=0) > iou
    few = data.draw(st.integers(0, most))
    np.testing.assert_array_equal(suppress(some, scores, iou, least, few), chosen[:few])
