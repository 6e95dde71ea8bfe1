import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.data.scenes import DEVELOPMENT_SCENES, read_scenes
from models.evaluation import finding
from models.evaluation.finding import (
    SIZES,
    Alarms,
    Found,
    Precision,
    alarms,
    average_precision,
    find_people,
    large,
    precision,
    precisions,
    table,
)
from models.spec.finder import FinderSpec
from tests.support.contracts import make_finder_spec
from tests.support.scenes import ONE, OTHER, SMALL, scene


def found(*boxes: tuple[float, float, float, float, float]) -> Found:
    """Boxes and, last, their scores."""
    values = np.array(boxes, float).reshape(-1, 5)
    return Found(values[:, :4], values[:, 4])


def test_what_is_right_is_half_covered_and_found_once() -> None:
    people = [scene(ONE, OTHER)]
    # A hit, the same person again, one too far away, and the other person last: precisions 1, 1/2, 1/3, 2/4.
    boxes = found((*ONE, 0.9), (110, 100, 100, 200, 0.8), (400, 300, 100, 100, 0.7), (*OTHER, 0.6))
    assert average_precision(people, [boxes]) == Precision(2, 0.5 * 1 + 0.5 * 0.5, 0.5)
    exactly_half = found((100, 100, 50, 200, 0.9))
    assert average_precision([scene(ONE)], [exactly_half]).average_precision == 1
    below_half = found((100, 100, 49, 200, 0.9))
    assert average_precision([scene(ONE)], [below_half]).average_precision == 0


def test_the_best_box_takes_the_person_whom_it_covers_best() -> None:
    beside = (120.0, 100.0, 100.0, 200.0)
    both = found((*beside, 0.9), (*ONE, 0.8))
    assert average_precision([scene(ONE, beside)], [both]) == Precision(2, 1, 1)


@pytest.mark.parametrize("flag", ["c", "d", "cd", "tdo"])
def test_flagged_boxes_count_neither_way(flag: str) -> None:
    people = [scene(ONE, OTHER, flags=("", flag))]
    assert average_precision(people, [found((*OTHER, 0.9), (*ONE, 0.8))]) == Precision(1, 1, 1)
    assert average_precision(people, [found((*ONE, 0.8))]) == Precision(1, 1, 1)
    # Members of a crowd lie within it.
    assert average_precision(people, [found((310, 120, 30, 60, 0.9), (360, 120, 30, 60, 0.9), (*ONE, 0.8))]).recall == 1


def test_cut_off_people_count() -> None:
    assert average_precision([scene(ONE, flags=("to",))], [found()]) == Precision(1, 0, 0)


def test_unmatched_boxes_of_incomplete_photos_count_neither_way() -> None:
    boxes = found((*OTHER, 0.9), (*ONE, 0.8))
    assert average_precision([scene(ONE, incomplete=True)], [boxes]) == Precision(1, 1, 1)
    assert average_precision([scene(ONE)], [boxes]) == Precision(1, 0.5, 0)
    assert alarms([scene(incomplete=True)], [boxes]).photos == 0


def test_small_people_and_small_boxes_count_only_among_all() -> None:
    people = [scene(ONE, SMALL)]
    boxes = found((*SMALL, 0.9), (60, 10, 20, 40, 0.85), (*ONE, 0.8))
    measured = precisions(people, [boxes])["everything"]
    assert measured["all"] == Precision(2, pytest.approx(0.5 + 0.5 * 2 / 3), 0.5)
    assert measured["64 px"] == measured["large"] == Precision(1, 1, 1)


def test_sizes_are_of_the_photo() -> None:
    rules = {name: [] for name in SIZES}
    photo = scene()
    for box in [(0, 0, 10, 63), (0, 0, 10, 64), (0, 0, 10, 76.7), (0, 0, 10, 76.9), (0, 0, 80, 39), (0, 0, 80, 40)]:
        for name, rule in SIZES.items():
            rules[name].append(bool(rule(photo, np.array([box], float))[0]))
    assert rules["all"] == [True] * 6
    assert rules["64 px"] == [False, True, True, True, True, True]
    assert rules["large"] == [False, False, False, True, False, True]
    assert large(replace(photo, width=256, height=200), np.array([[0, 0, 40, 20.0]])).all()


def test_recall_is_the_largest_at_nine_right_of_ten() -> None:
    right = np.array([True] * 9 + [False] + [True] * 9 + [False] * 2)
    measured = precision(np.linspace(1, 0.1, len(right)), right, 20)
    assert measured.recall == 18 / 20  # at the nineteenth box 18 of 19 are right; beyond, 18 of 20 and of 21
    assert precision(np.linspace(1, 0.1, 20), np.arange(20) % 2 == 0, 20).recall == 1 / 20


def test_boxes_of_one_score_come_at_once() -> None:
    scores = np.array([0.5, 0.5])
    for right in ([True, False], [False, True]):
        assert precision(scores, np.array(right), 1) == Precision(1, 0.5, 0)


def test_nobody_who_counts_has_no_precision() -> None:
    measured = average_precision([scene()], [found((*ONE, 0.9))])
    assert measured.people == 0
    assert math.isnan(measured.average_precision)
    assert math.isnan(measured.recall)


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=1, max_size=30), st.integers(0, 5))
def test_precision_depends_on_the_order_alone_and_misses_cost(boxes: list[tuple[int, bool]], missed: int) -> None:
    scores = np.array([score for score, _ in boxes]) / 100
    right = np.array([hit for _, hit in boxes])
    people = int(right.sum()) + missed
    measured = precision(scores, right, people)
    if people == 0:
        assert math.isnan(measured.average_precision)
        return
    assert 0 <= measured.average_precision <= right.sum() / people + 1e-12
    assert 0 <= measured.recall <= right.sum() / people
    assert precision(scores**3, right, people) == measured
    order = np.random.default_rng(0).permutation(len(scores))
    assert precision(scores[order], right[order], people) == measured
    perfect = precision(scores + right, right, people)
    assert perfect.average_precision == pytest.approx(right.sum() / people)
    more = precision(np.append(scores, 2.0), np.append(right, False), people)
    assert more.average_precision <= measured.average_precision + 1e-12


def test_alarms_are_of_photos_of_nobody_alone() -> None:
    photos = [scene(), scene(), scene(), scene(ONE)]
    boxes = [found((*ONE, 0.5), (*OTHER, 0.9), (*SMALL, 0.49)), found((*ONE, 0.4)), found(), found((*OTHER, 0.9))]
    assert alarms(photos, boxes) == Alarms(3, 2 / 3, 1 / 3)
    assert alarms(photos, boxes, score=0.3) == Alarms(3, 4 / 3, 2 / 3)
    assert math.isnan(alarms(photos[3:], boxes[3:]).share)


def test_the_table_has_a_row_for_each_source_and_size() -> None:
    photos = [scene(ONE), scene(OTHER, source="voc"), scene()]
    measured = precisions(photos, [found((*ONE, 0.9)), found((*ONE, 0.8)), found()])
    assert list(measured) == ["everything", "coco", "voc"]
    lines = table(measured, alarms(photos, [found()] * 3)).splitlines()
    assert "| everything | all | 2 | 50.0 | 50.0 |" in lines
    assert "| coco | large | 1 | 100.0 | 100.0 |" in lines
    assert "| voc | 64 px | 1 | 0.0 | 0.0 |" in lines
    assert lines[-1].startswith("1 photos of nobody: 0.000 people a photo")


def bright(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A finder of the drawn people: boxes around runs of bright columns, twice and beyond the picture's edge."""
    mask = images[0, ..., 0] > 150
    columns = np.flatnonzero(np.diff(mask.any(0).astype(int), prepend=0, append=0)).reshape(-1, 2)
    rows = np.flatnonzero(mask.any(1))
    boxes = [(left, rows[0], right - left, rows[-1] + 1 - rows[0]) for left, right in columns.tolist()]
    beyond = (-50, -50, 60, 60)
    values = np.array([*boxes, *boxes, beyond], float)
    return values[None], np.concatenate([np.full(len(boxes), 0.9), np.full(len(boxes), 0.8), [0.1]])[None]


@pytest.fixture
def spec() -> FinderSpec:
    return make_finder_spec(longest_side=192)


def test_people_are_found_in_photo_pixels_once(scenes_pack: Path, spec: FinderSpec) -> None:
    scenes = list(read_scenes(scenes_pack, [DEVELOPMENT_SCENES]))
    answers = find_people(scenes, bright, spec)
    for photo, answer in zip(scenes, answers, strict=True):
        assert len(answer.scores) == len(photo.boxes) + 1
        assert np.allclose(answer.boxes[: len(photo.boxes)], photo.boxes, atol=0.6)
        assert answer.boxes[:, :2].min() >= 0
    assert average_precision(scenes, answers) == Precision(6, 1, 1)


def test_the_command_prints_the_table_or_json(
    scenes_pack: Path, spec: FinderSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(finding, "open_file", lambda path: (bright, spec))
    arguments = ["--data", str(scenes_pack), "--model", "finder.onnx"]
    finding.main(arguments)
    assert "| everything | all | 6 | 100.0 | 100.0 |" in capsys.readouterr().out
    finding.main([*arguments, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["drawn"]["all"] == {"people": 6, "average_precision": 1.0, "recall": 1.0}
    assert document["nobody"] == {"photos": 2, "false_people": 0.0, "share": 0.0}


def test_strictly_what_is_beside_the_boxes_of_an_incomplete_photo_is_false(
    scenes_pack: Path, spec: FinderSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def surest_beside(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes, scores = bright(images)
        return boxes, np.where(scores == 0.1, 0.95, scores)

    incomplete = [replace(photo, incomplete=True) for photo in read_scenes(scenes_pack, [DEVELOPMENT_SCENES])]
    monkeypatch.setattr(finding, "open_file", lambda path: (surest_beside, spec))
    monkeypatch.setattr(finding, "read_scenes", lambda *_: incomplete)
    arguments = ["--data", str(scenes_pack), "--model", "finder.onnx"]
    finding.main(arguments)
    assert "| everything | all | 6 | 100.0 | 100.0 |" in capsys.readouterr().out
    finding.main([*arguments, "--strict"])
    assert "| everything | all | 6 | 50.0 | 0.0 |" in capsys.readouterr().out


def test_a_missing_pack_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"scenes-dev\.tar cannot be read"):
        finding.main(["--data", str(tmp_path), "--model", "finder.onnx"])
