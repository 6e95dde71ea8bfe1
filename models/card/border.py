"""How near the crop's border a joint may come: `python -m models.card.border MODEL.onnx --data FOLDER`.

DSNT is an expectation, so a heatmap that the border cuts off is pulled inward. Prints a model's error by the joint's
distance to the border and by the heatmap's spread, and its PCKh for crops of several margins.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.pack import DEVELOPMENT, Example, read_people
from models.evaluation.measures import head_sizes, mpii_accuracy
from models.evaluation.predictors import Predictions, predictor
from models.spec.crop import INPUT_SIZE, MARGIN, Box

MARGINS: Final = (1.0, 1.1, 1.25, 1.4, 1.6)
DISTANCES_PX: Final = (-np.inf, 0.0, 8.0, 16.0, 32.0, 64.0, 112.0)


def with_margin(person: Example, margin: float) -> Example:
    """The person with a box whose crop is `margin` times the tight box, instead of the usual `MARGIN`."""
    box, scale = person.box, margin / MARGIN
    width, height = box.width * scale, box.height * scale
    grown = Box(box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height)
    return replace(person, box=grown)


def border_distances(people: Sequence[Example]) -> NDArray[np.float64]:
    """Distance [people, 16] of the true joints to the crop's nearest edge in input pixels, negative outside."""
    true = np.stack([person.crop.from_photo(person.joints) for person in people])
    return np.asarray((1 - np.abs(true).max(-1)) * INPUT_SIZE / 2)


def errors(people: Sequence[Example], joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance [people, 16] from joints [people, 16, 2] to the truth in head sizes; nan where it is not known."""
    truths = np.stack([person.joints for person in people])
    distances = np.linalg.norm(joints - truths, axis=-1) / head_sizes(people)[:, None]
    return np.where(np.stack([person.labelled for person in people]), distances, np.nan)


def inward_pull(people: Sequence[Example], joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """How much nearer to the crop's centre [people, 16] joints are than the truth along the axis nearest the border.

    In input pixels; positive is inward.
    """
    true = np.stack([person.crop.from_photo(person.joints) for person in people])
    predicted = np.stack([person.crop.from_photo(some) for person, some in zip(people, joints, strict=True)])
    axis = np.abs(true).argmax(-1)[..., None]
    true, predicted = (np.take_along_axis(values, axis, -1)[..., 0] for values in (true, predicted))
    return np.asarray(np.sign(true) * (true - predicted) * INPUT_SIZE / 2)


def by_bin(
    title: str,
    values: NDArray[np.floating],
    edges: Sequence[float],
    error: NDArray[np.floating],
    pull: NDArray[np.floating],
) -> str:
    """A Markdown table of errors by bins of `values`, all [people, 16]."""
    lines = [f"| {title} | joints | PCKh@0.5 | median error, heads | median inward pull, px |", "|---|---|---|---|---|"]
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high) & ~np.isnan(error)
        if inside.any():
            right, middle = 100 * (error[inside] <= 0.5).mean(), np.median(error[inside])
            cells = (f"{low:.1f} to {high:.1f}", str(inside.sum()), f"{right:.1f}", f"{middle:.2f}")
            lines.append(f"| {' | '.join(cells)} | {np.median(pull[inside]):+.1f} |")
    return "\n".join(lines)


def spreads_px(predictions: Predictions) -> NDArray[np.float64]:
    """Root mean variance [people, 16] of each heatmap, in input pixels."""
    assert predictions.covariance is not None  # an ONNX file or a checkpoint gives it
    return np.sqrt((predictions.covariance[..., 0] + predictions.covariance[..., 2]) / 2) * INPUT_SIZE / 2


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m models.card.border", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="an .onnx file or a checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    parser.add_argument("--pack", default=DEVELOPMENT, help="name of the pack")
    options = parser.parse_args(arguments)
    people = [p for p in read_people(options.data, [options.pack]) if p.source == "mpii"]
    predict = predictor(options.model)
    print("| margin | PCKh@0.5 |\n|---|---|")
    for margin in MARGINS:
        views = [with_margin(person, margin) for person in people]
        predictions = predict(views)
        print(f"| {margin} | {mpii_accuracy(views, predictions.joints).total:.2f} |", flush=True)
        if margin == MARGIN:
            usual = predictions
    error, pull, spread = errors(people, usual.joints), inward_pull(people, usual.joints), spreads_px(usual)
    print("\n" + by_bin("distance to the border, px", border_distances(people), DISTANCES_PX, error, pull))
    fifths = np.percentile(spread, [0, 20, 40, 60, 80, 100]) + np.array([0, 0, 0, 0, 0, 1e-6])
    print("\n" + by_bin("spread, px", spread, fifths.tolist(), error, pull))


if __name__ == "__main__":
    main()
