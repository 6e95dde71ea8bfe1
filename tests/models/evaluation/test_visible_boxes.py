from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.data.halves import HalfBody, read_halves
from models.evaluation.predictors import Predictions
from models.evaluation.visible_boxes import HalfBodies, by_cut, table


@pytest.fixture
def halves(pack: Path) -> list[HalfBody]:
    """Two that end at the hips and two that end left, in turns."""
    return list(read_halves(pack, ["halves-dev"]))


def predictions(halves: list[HalfBody], heads: list[float], confidence: list[float] | None = None) -> Predictions:
    """The labels of each, moved by so many heads; one confidence each."""
    joints = np.stack([half.person.joints for half in halves])
    joints[..., 0] += 6 * np.array(heads)[:, None]
    sure = None if confidence is None else np.repeat(np.array(confidence, np.float32)[:, None], 16, 1)
    return Predictions(joints, confidence=sure)


def shown(halves: list[HalfBody]) -> int:
    return sum(int(half.person.labelled.sum()) for half in halves)


def test_cuts_have_figures_of_their_own(halves: list[HalfBody]) -> None:
    rows = by_cut(halves, predictions(halves, [0.4, 0.6, 0.4, 0.6], [0.6, 0.9, 0.5, 0.9]))
    hips, left = halves[::2], halves[1::2]
    assert list(rows) == ["all", "hips", "left"]
    assert (rows["hips"].right, rows["left"].right) == (1, 0)
    assert rows["all"].right == pytest.approx(shown(hips) / shown(halves))
    assert [rows[name].shown for name in rows] == [shown(halves), shown(hips), shown(left)]
    assert rows["hips"].absent == 32 - shown(hips)
    first = 16 - shown(hips[:1])
    assert rows["hips"].sure_absent == pytest.approx(first / rows["hips"].absent)


def test_joints_that_are_not_shown_count_as_wrong_in_the_calibration(halves: list[HalfBody]) -> None:
    rows = by_cut(halves, predictions(halves, [0.0] * 4, [1.0] * 4))
    assert rows["all"].calibration_error == pytest.approx(rows["all"].absent / 64)
    assert rows["all"].sure_absent == 1


def test_a_model_without_confidence_has_none(halves: list[HalfBody]) -> None:
    row = by_cut(halves, predictions(halves, [0.0] * 4))["all"]
    assert row == HalfBodies(4, shown(halves), 1, 64 - shown(halves), None, None)
    assert table({"all": row}).endswith(f"| all | 4 | {row.shown} | 100.0 | {row.absent} |  |  |")


def test_whoever_has_no_head_size_does_not_count(halves: list[HalfBody]) -> None:
    unknown = [replace(half, person=replace(half.person, head_size=None)) for half in halves[:2]]
    some = [*unknown, *halves[2:]]
    row = by_cut(some, predictions(some, [9.0, 9.0, 0.0, 0.0]))["all"]
    assert (row.people, row.right, row.shown + row.absent) == (2, 1, 32)


def test_the_table_is_in_per_cent() -> None:
    line = table({"chest": HalfBodies(3, 30, 0.875, 18, 0.125, 0.0304)}).splitlines()[-1]
    assert line == "| chest | 3 | 30 | 87.5 | 18 | 12.5 | 0.030 |"
