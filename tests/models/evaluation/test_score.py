import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.evaluation import score
from models.evaluation.answers import Answer, AnswerError
from models.evaluation.score import cross_validated, features, fit
from models.spec.finder import NECK_AND_SHOULDERS
from models.spec.skeleton import MPII
from tests.support.contracts import make_finder_spec
from tests.support.scenes import ONE, OTHER, answer, scene

SPEC = make_finder_spec(calibration={"finder": 2.0, "pose": 1.5, "bias": -0.5})
WEIGHTS = np.array([1.2, 2.5, -1.0])


def logistic(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


def seen(logit: float, pose: float, is_right: bool) -> Answer:
    """One person, boxed as `ONE` or beside it, whom the finder and the pose are so sure of."""
    confidence = np.zeros((1, 16))
    confidence[:, list(MPII.indices(*NECK_AND_SHOULDERS))] = pose
    found = answer((ONE if is_right else OTHER, float(logistic(np.array(2.0 * logit + 1.5 * pose - 0.5)).round(4))))
    return replace(found, confidence=confidence)


def drawn(photos: int) -> list[Answer]:
    """Answers, a box each, that are right as often as a logistic regression of `WEIGHTS` says."""
    random = np.random.default_rng(0)
    logits, poses = random.normal(0, 1.2, photos), random.uniform(0, 1, photos)
    right = random.random(photos) < logistic(np.stack([logits, poses, np.ones(photos)], 1) @ WEIGHTS)
    return [seen(*each) for each in zip(logits.tolist(), poses.tolist(), right.tolist(), strict=True)]


def test_the_finders_score_follows_from_the_answers() -> None:
    rows = features([seen(0.75, 0.4, True), answer(), seen(-1.0, 0.0, False)], SPEC)
    assert [len(row) for row in rows] == [1, 0, 1]
    np.testing.assert_allclose(np.concatenate(rows), [(0.75, 0.4, 1), (-1.0, 0, 1)], atol=1e-3)
    sure = replace(answer((ONE, 1.0)), confidence=np.zeros((1, 16)))
    assert np.isfinite(features([sure], SPEC)[0]).all()  # four places do not tell from 1


def test_a_fit_has_the_weights_that_the_boxes_were_drawn_by() -> None:
    answers = drawn(2000)
    fitted = fit([scene(ONE)] * 2000, answers, SPEC)
    assert list(fitted.calibration) == ["finder", "pose", "bias"]
    np.testing.assert_allclose(list(fitted.calibration.values()), WEIGHTS, atol=0.35)
    assert (fitted.boxes, fitted.people) == (2000, sum(each.boxes[0, 0] == ONE[0] for each in answers))
    assert fitted.error < 0.03
    assert fitted.precision > 0.7
    assert np.isnan(fitted.alarms)


def test_each_box_is_scored_by_a_fit_to_other_photos() -> None:
    x, right = np.ones((8, 1)), np.array([True] * 4 + [False] * 4)
    np.testing.assert_array_less(cross_validated(x, right, np.repeat([0, 1], 4))[:4], 0.01)


def test_false_people_are_counted_in_photos_of_nobody_alone() -> None:
    answers = drawn(300)
    scenes = [scene(ONE) if each.boxes[0, 0] == ONE[0] or index % 2 else scene() for index, each in enumerate(answers)]
    fitted = fit(scenes, answers, SPEC)
    nobody = [index for index, each in enumerate(scenes) if not len(each.boxes)]
    assert fitted.nobody == len(nobody)
    surely = [
        fitted.calibration["finder"] * row[0, 0] + fitted.calibration["pose"] * row[0, 1]
        for row in features(answers, SPEC)
    ]
    expected = np.mean(np.array(surely)[nobody] + fitted.calibration["bias"] >= 0)
    assert fitted.alarms == pytest.approx(expected, abs=0.05)


def test_right_boxes_alone_say_no_weights() -> None:
    with pytest.raises(AnswerError, match="2 of the 2 boxes are of somebody"):
        fit([scene(ONE)] * 2, [answer((ONE, 0.9))] * 2, SPEC)


def test_the_command_prints_weights_and_what_they_are_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(score, "read_metadata", lambda path: asked.append(path) or SPEC.to_metadata())
    monkeypatch.setattr(score, "read_scenes", lambda folder, packs: asked.append(packs) or [scene(ONE)] * 60)
    monkeypatch.setattr(score, "ask_photos", lambda url, pictures: asked.append(url) or drawn(len(pictures)))
    score.main(["http://x", "--finder", "f.onnx", "--data", "D", "--pack", "p"])
    assert asked == [Path("f.onnx"), ["p"], "http://x"]
    weights, *sentences = capsys.readouterr().out.splitlines()
    fitted = fit([scene(ONE)] * 60, drawn(60), SPEC)
    assert json.loads(weights) == fitted.calibration
    assert sentences[0] == f"fitted to 60 boxes, {fitted.people} of them of somebody; by cross-validation over photos:"
    assert f"calibration error {fitted.error:.3f}, {100 * fitted.precision:.1f} % of the boxes" in sentences[1]


def test_a_file_that_is_no_finders_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the model file cannot be read"):
        score.main(["http://x", "--finder", str(tmp_path / "f.onnx"), "--data", str(tmp_path)])
