import numpy as np
import pytest

from models.evaluation.pck import paired_bootstrap, pck, pckh, table
from models.spec.skeleton import JOINTS

TRUTHS = np.zeros((2, 16, 2))
TRUTHS[:, 13] = (0, 0)
TRUTHS[:, 2] = (30, 40)
LABELLED = np.ones((2, 16), bool)
HEADS = np.array([10.0, 20.0])


def moved(person: int, joint: int, pixels: float) -> np.ndarray:
    predictions = TRUTHS.copy()
    predictions[person, joint, 0] += pixels
    return predictions


def test_half_a_head_is_right_and_more_is_wrong() -> None:
    assert pckh(moved(0, 9, 5.0), TRUTHS, LABELLED, HEADS).columns["Head"] == 100
    assert pckh(moved(0, 9, 5.1), TRUTHS, LABELLED, HEADS).columns["Head"] == 50
    assert pckh(moved(1, 9, 5.1), TRUTHS, LABELLED, HEADS).columns["Head"] == 100


@pytest.mark.parametrize(("joint", "name"), list(enumerate(JOINTS)))
def test_a_wrong_joint_counts_in_the_column_of_its_name_alone(joint: int, name: str) -> None:
    columns = pckh(moved(0, joint, 99), TRUTHS, LABELLED, HEADS).columns
    column = "Head" if name == "head_top" else name.partition("_")[2].capitalize()
    wrong = {each: 50.0 if each == "Head" else 75.0 for each in columns if each == column}
    assert dict(columns) == dict.fromkeys(columns, 100.0) | wrong
    assert bool(wrong) == (name not in ("pelvis", "thorax", "upper_neck"))


def test_total_is_the_mean_over_joints_without_pelvis_and_thorax() -> None:
    wrong = moved(0, 6, 99)
    wrong[0, 7] += 99
    assert pckh(wrong, TRUTHS, LABELLED, HEADS).total == 100
    assert pckh(moved(0, 0, 99), TRUTHS, LABELLED, HEADS).total == pytest.approx(100 * 27 / 28)


def test_joints_without_label_and_people_without_head_do_not_count() -> None:
    labelled = LABELLED.copy()
    labelled[0, 0] = False
    accuracy = pckh(moved(0, 0, 99), TRUTHS, labelled, HEADS)
    assert (accuracy.total, accuracy.joints) == (100, 27)
    accuracy = pckh(moved(0, 0, 99), TRUTHS, LABELLED, np.array([np.nan, 20]))
    assert (accuracy.total, accuracy.people) == (100, 1)


def test_pck_counts_in_torsos() -> None:
    assert pck(moved(0, 9, 10.0), TRUTHS, LABELLED).columns["Head"] == 100
    assert pck(moved(0, 9, 10.1), TRUTHS, LABELLED).columns["Head"] == 50


def test_table_is_the_papers() -> None:
    labelled = LABELLED.copy()
    labelled[:, 9] = False
    lines = table({"ours": pckh(TRUTHS, TRUTHS, labelled, HEADS)}).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[2:-1]] == [
        *("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total", "Limbs", "People")
    ]
    assert [cell.strip() for cell in lines[2].split("|")[1:4]] == ["ours", "nan", "100.0"]


def test_bootstrap_tells_a_real_difference_from_luck() -> None:
    random = np.random.default_rng(0)
    right = random.random((200, 16)) < 0.8
    same = right.copy()
    labelled = np.ones((200, 16), bool)
    assert paired_bootstrap(right, same, labelled) == (0, 0, 0)
    worse = right & (random.random((200, 16)) < 0.9)
    difference, low, high = paired_bootstrap(right, worse, labelled)
    assert 0 < low < difference < high
    shuffled = right[random.permutation(200)]
    _, low, high = paired_bootstrap(right, shuffled, labelled)
    assert low < 0 < high
