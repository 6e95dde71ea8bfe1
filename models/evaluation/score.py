"""Fits the score of found people: `python -m models.evaluation.score ADDRESS --finder FILE.onnx --data FOLDER`.

A running service says who is in whole photos of human labels. A logistic regression of the finder's own score (its
logit) and of the mean confidence of neck, thorax and shoulders is fitted to whether each box is of somebody; its
weights are what `export.finder` writes into a file as `calibration`. Whom the service leaves out has no part in it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.pack import PackError
from models.data.scenes import DEVELOPMENT_SCENES, Scene, read_scenes
from models.evaluation.answers import Answer, AnswerError, ask_photos
from models.evaluation.calibration import expected_calibration_error, regression
from models.evaluation.finding import SCORE, judge
from models.spec.finder import CALIBRATION, NECK_AND_SHOULDERS, FinderSpec
from models.spec.metadata import ContractError, read_metadata
from models.spec.skeleton import MPII

FOLDS: Final = 10

_LEAST: Final = 1e-4  # of what a score lacks to 1, and of the score: an answer has four places
_PULL: Final = 1e-3  # of the weights towards 0, where boxes are too few to say them


@dataclass(frozen=True, slots=True)
class Fit:
    """A fit, and by cross-validation over photos what scores are worth; fractions.

    Attributes:
        calibration: The weights, as `FinderSpec` has them.
        boxes: How many it is fitted to.
        people: How many of these are of somebody.
        error: Expected calibration error of the scores.
        precision: Of the boxes of a score of `finding.SCORE` and more, those of somebody.
        nobody: Photos of nobody.
        alarms: Of these, those with a box of such a score.
    """

    calibration: Mapping[str, float]
    boxes: int
    people: int
    error: float
    precision: float
    nobody: int
    alarms: float


def features(answers: Sequence[Answer], spec: FinderSpec) -> list[NDArray[np.float64]]:
    """What scores are made of, in the order of `CALIBRATION`, [people, 3] of each photo.

    Args:
        answers: Of a service.
        spec: Of the finder's file that it serves: by its weights the finder's own score follows from a person's.
    """
    joints, weights = list(MPII.indices(*NECK_AND_SHOULDERS)), spec.calibration
    rows = []
    for answer in answers:
        scores, pose = np.clip(answer.scores, _LEAST, 1 - _LEAST), answer.confidence[:, joints].mean(1)
        logits = np.log(scores / (1 - scores)) - weights["pose"] * pose - weights["bias"]
        rows.append(np.stack([logits / weights["finder"], pose, np.ones(len(pose))], 1))
    return rows


def fit(scenes: Sequence[Scene], answers: Sequence[Answer], spec: FinderSpec) -> Fit:
    """Fit to what a service says of photos, which serves a finder of this spec.

    Raises:
        AnswerError: No box is of somebody, or all are.
    """
    judgements = [judge(scene, answer) for scene, answer in zip(scenes, answers, strict=True)]
    rows = [row[each.counted] for row, each in zip(features(answers, spec), judgements, strict=True)]
    x, right = np.concatenate(rows), np.concatenate([each.right[each.counted] for each in judgements])
    if right.all() or not right.any():
        raise AnswerError(f"{right.sum()} of the {len(right)} boxes are of somebody: a fit needs right and wrong ones")
    photo = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    scores = cross_validated(x, right, photo % FOLDS)
    surely = scores >= SCORE
    nobody = [index for index, scene in enumerate(scenes) if not len(scene.boxes) and not scene.incomplete]
    return Fit(
        calibration=dict(zip(CALIBRATION, _weights(x, right).round(4).tolist(), strict=True)),
        boxes=len(right),
        people=int(right.sum()),
        error=expected_calibration_error(scores, right),
        precision=float(right[surely].mean()) if surely.any() else np.nan,
        nobody=len(nobody),
        alarms=float(np.isin(nobody, photo[surely]).mean()) if nobody else np.nan,
    )


def cross_validated(x: NDArray[np.float64], right: NDArray[np.bool_], folds: NDArray[np.int_]) -> NDArray[np.float64]:
    """Scores [n] of boxes with features [n, 3], each by a fit to the boxes of all other folds."""
    scores = np.empty(len(x))
    for fold in np.unique(folds):
        held_out = folds == fold
        scores[held_out] = 1 / (1 + np.exp(-x[held_out] @ _weights(x[~held_out], right[~held_out])))
    return scores


def _weights(x: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    return regression(x, right, np.ones(len(right)), np.zeros(x.shape[1]), _PULL)


def table(fitted: Fit) -> str:
    """The weights as JSON, and sentences on what they are worth."""
    return (
        f"{json.dumps(dict(fitted.calibration))}\n"
        f"fitted to {fitted.boxes} boxes, {fitted.people} of them of somebody; by cross-validation over photos:\n"
        f"calibration error {fitted.error:.3f}, {100 * fitted.precision:.1f} % of the boxes with a score of {SCORE} or "
        f"more are of somebody, {100 * fitted.alarms:.1f} % of the {fitted.nobody} photos of nobody have one"
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m models.evaluation.score", description="Fit the score of people.")
    parser.add_argument("address", help="of a running service")
    parser.add_argument("--finder", type=Path, required=True, help="the finder's .onnx file that it serves")
    parser.add_argument("--data", type=Path, required=True, help="folder of the scenes packs")
    parser.add_argument("--pack", default=DEVELOPMENT_SCENES, help="name of the pack")
    options = parser.parse_args(arguments)
    try:
        spec = FinderSpec.from_metadata(read_metadata(options.finder))
        scenes = list(read_scenes(options.data, [options.pack]))
        answers = ask_photos(options.address, [scene.picture for scene in scenes])
        print(table(fit(scenes, answers, spec)))
    except (AnswerError, ContractError, PackError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
