import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.answers import AnswerError
from models.evaluation.chain import AtScore, at_score, least_score, measure, table
from models.evaluation.finding import Alarms, Precision
from tests.support.scenes import ONE, OTHER, SMALL, answer, scene


def test_joints_are_right_within_a_tenth_of_their_persons_longer_side() -> None:
    assert at_score([scene(ONE)], [answer((ONE, 0.9), moved=19.9)], 0.5).right == 1
    assert at_score([scene(ONE)], [answer((ONE, 0.9), moved=20.1)], 0.5).right == 0


def test_whoever_is_missed_is_wrong_in_every_joint() -> None:
    photos = [scene(ONE, OTHER), scene(ONE)]
    said = [answer((ONE, 0.9), (OTHER, 0.4)), answer()]
    assert at_score(photos, said, 0.5) == AtScore(0.5, 1, 48, 16 / 48)
    assert at_score(photos, said, 0.4) == AtScore(0.4, 1, 48, 32 / 48)


def test_a_persons_joints_are_those_of_the_box_that_is_theirs() -> None:
    """The other's pose in a box around one, and a second box around one, are no help."""
    swapped = replace(answer((ONE, 0.9), (OTHER, 0.8)), joints=answer((OTHER, 0.9), (ONE, 0.8)).joints)
    assert at_score([scene(ONE, OTHER)], [swapped], 0.5).right == 0
    wrong_first = replace(answer((ONE, 0.9), (ONE, 0.8)), joints=answer((OTHER, 0.9), (ONE, 0.8)).joints)
    assert at_score([scene(ONE)], [wrong_first], 0.5).right == 0
    right_first = replace(wrong_first, scores=np.array([0.8, 0.9]))
    assert at_score([scene(ONE)], [right_first], 0.5) == AtScore(0.5, 0.5, 16, 1)


def test_hidden_joints_and_small_and_flagged_people_do_not_count() -> None:
    said = [answer((ONE, 0.9))]
    assert at_score([scene(ONE, OTHER, visibility=(2, 1))], said, 0.5).joints == 16
    assert at_score([scene(ONE, SMALL)], said, 0.5).joints == 16
    assert at_score([scene(ONE, OTHER, flags=("", "d"))], said, 0.5).joints == 16
    assert at_score([scene(ONE, OTHER)], said, 0.5).joints == 32


def test_nothing_that_counts_is_no_fraction() -> None:
    nothing = at_score([scene()], [answer()], 0.5)
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.right)


def test_the_least_score_is_the_last_at_which_nine_of_ten_are_right() -> None:
    scores = np.linspace(1, 0.1, 21)
    right = np.array([True] * 9 + [False] + [True] * 9 + [False] * 2)
    assert least_score(scores, right) == scores[19]  # 18 of 20
    assert least_score(scores, ~right) == math.inf
    assert least_score(np.array([0.5] * 10), np.arange(10) > 0) == 0.5
    assert least_score(np.array([0.5] * 10), np.arange(10) > 1) == math.inf  # boxes of one score come at once


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=40))
def test_at_the_least_score_the_precision_holds_and_below_it_never_again(boxes: list[tuple[int, bool]]) -> None:
    scores, right = np.array([score for score, _ in boxes]) / 20, np.array([hit for _, hit in boxes])
    least = least_score(scores, right)
    if math.isfinite(least):
        assert right[scores >= least].mean() >= 0.9
    assert all(right[scores >= score].mean() < 0.9 for score in scores[scores < least])


def test_all_figures_of_a_few_photos() -> None:
    photos = [scene(ONE, OTHER), scene(ONE, SMALL), scene(), scene()]
    said = [answer((ONE, 0.95), (OTHER, 0.85)), answer((ONE, 0.75)), answer((ONE, 0.65)), answer((ONE, 0.45))]
    measured = measure(photos, said)
    assert (measured.photos, measured.nobody) == (4, Alarms(2, 0.5, 0.5))
    assert measured.precise == AtScore(0.75, 1, 48, 1)
    assert measured.likely == AtScore(0.5, 0.75, 48, 1)
    assert measured.sizes["large"].boxes == Precision(3, 1, 1)
    assert measured.sizes["all"].boxes == Precision(4, 0.75, 0.75)
    assert (measured.sizes["all"].precision, measured.sizes["all"].recall) == (0.75, 0.75)
    assert measured.sizes["large"].poses.mean == 1
    # Each score stands alone in its tenth: they are off by 0.05, 0.15, 0.25, 0.65 and 0.45.
    assert measured.calibration_error == pytest.approx(np.mean([0.05, 0.15, 0.25, 0.65, 0.45]))


def test_whoever_has_a_low_score_is_not_recalled_at_a_higher_one() -> None:
    size = measure([scene(ONE, OTHER)], [answer((ONE, 0.9), (OTHER, 0.4))]).sizes["all"]
    assert (size.boxes.recall, size.precision, size.recall) == (1, 1, 0.5)


def test_the_table_says_all_of_it() -> None:
    photos = [scene(ONE, OTHER), scene()]
    text = table(measure(photos, [answer((ONE, 0.9)), answer()]))
    assert "| large | 2 | 50.0 | 50.0 | 100.0, 50.0 | 2 | 50.0 | 50.0 | 50.0 |" in text
    assert "with a score of 0.900 or more (precision 100.0): 50.0 % of the 32 joints seen of large people" in text
    assert "calibration error of the score: 0.100" in text
    assert "1 photos of nobody: 0.000 people a photo" in text


def test_people_without_a_score_are_refused() -> None:
    said = answer((ONE, 0.9))
    with pytest.raises(AnswerError, match="has no score"):
        measure([scene(ONE)], [replace(said, scores=np.array([np.nan]))])
