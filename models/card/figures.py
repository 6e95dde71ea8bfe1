"""The model card's plots: `python -m models.card.figures MODEL.onnx --data FOLDER [--log RUN/log.csv] --out FOLDER`.

Writes `calibration.svg` (confidence against the fraction of right joints, on people left out of the fit), `border.svg`
(accuracy and inward pull by distance to the crop's border) and `training.svg` (development PCKh by crops seen).
"""

import argparse
import csv
from itertools import cycle, pairwise
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.card.border import DISTANCES_PX, border_distances, errors, inward_pull
from models.evaluation.predictors import Predictions, predictor
from models.evaluation.reliability import (
    Views,
    everybody,
    held_out_confidence,
    judged,
    read_views,
    slices,
)

_INK: Final = "#1f4e79"
_SECOND: Final = "#c55a11"
_VIEWS: Final = (_INK, "#5b9bd5", "#70ad47", _SECOND, "#ffc000")
_SIZE: Final = (5.2, 3.4)


def plot_calibration(path: Path, groups: dict[str, tuple[NDArray[np.floating], NDArray[np.bool_]]]) -> None:
    """Reliability diagram of named groups of confidences and whether the joint was right, both [joints]."""
    figure, axes = plt.subplots(figsize=_SIZE)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for (name, (confidence, right)), colour in zip(groups.items(), cycle(_VIEWS), strict=False):
        bins = np.minimum((confidence * 10).astype(int), 9)
        present = [b for b in range(10) if (bins == b).sum() >= 20]
        means = [confidence[bins == b].mean() for b in present]
        axes.plot(means, [right[bins == b].mean() for b in present], "o-", color=colour, label=name)
    axes.set(xlabel="confidence", ylabel="share within half a head", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    _save(figure, path)


def plot_border(
    path: Path, distance: NDArray[np.floating], error: NDArray[np.floating], pull: NDArray[np.floating]
) -> None:
    """PCKh and inward pull by distance to the border, all [people, 16]; nan errors are not counted."""
    figure, axes = plt.subplots(figsize=_SIZE)
    edges = [-24.0, *DISTANCES_PX[1:]]
    middles, right, pulled = [], [], []
    for low, high in pairwise(edges):
        inside = (distance >= low) & (distance < high) & ~np.isnan(error)
        if inside.any():
            middles.append((low + high) / 2)
            right.append(100 * (error[inside] <= 0.5).mean())
            pulled.append(np.median(pull[inside]))
    axes.plot(middles, right, "o-", color=_INK)
    axes.set(xlabel="distance of the joint to the crop's border, input px", ylim=(0, 100))
    axes.set_ylabel("PCKh@0.5", color=_INK)
    other = axes.twinx()
    other.plot(middles, pulled, "s--", color=_SECOND)
    other.set_ylabel("median inward pull, px", color=_SECOND)
    _save(figure, path)


def plot_training(path: Path, log: Path, crops_before: int) -> None:
    """Development PCKh of the averaged weights by crops seen, from a run's log."""
    with log.open() as file:
        lines = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=_SIZE)
    for name in dict.fromkeys(f"{line['size']} px, stride {line['stride']}" for line in lines):
        part = [line for line in lines if name == f"{line['size']} px, stride {line['stride']}"]
        seen = [(crops_before + int(line["crops"])) / 1000 for line in part]
        axes.plot(seen, [float(line["pckh"]) for line in part], "o-", label=name)
    axes.set(xlabel="crops seen, thousands", ylabel="PCKh@0.5 of MPII development people")
    axes.legend(frameon=False)
    _save(figure, path)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _parse_options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "dsnt-pose", "font.size": 9, "axes.spines.top": False})
    views = read_views(options.data)
    predictions = predictor(options.model)(everybody(views))
    plot_calibration(options.out / "calibration.svg", _held_out(views, predictions))
    some, joints = views["mpii"], predictions.joints[slices(views)["mpii"]]
    plot_border(options.out / "border.svg", border_distances(some), errors(some, joints), inward_pull(some, joints))
    if options.log:
        plot_training(options.out / "training.svg", options.log, options.crops_before)


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.card.figures", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="an .onnx file or a checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    parser.add_argument("--log", type=Path, help="log.csv of the training run; left out: no training.svg")
    parser.add_argument("--crops-before", type=int, default=0, help="crops that the run's starting weights had seen")
    parser.add_argument("--out", type=Path, required=True, help="folder for the plots")
    return parser.parse_args(arguments)


def _held_out(views: Views, predictions: Predictions) -> dict[str, tuple[NDArray[np.floating], NDArray[np.bool_]]]:
    """Confidence of each view's people by a fit on the others, and whether their joints are right, both [joints]."""
    right, counted = judged(everybody(views), predictions.joints)
    confidence = held_out_confidence(views, predictions)
    return {name: (confidence[part][counted[part]], right[part][counted[part]]) for name, part in slices(views).items()}


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
