"""Labelled photos and what is said of them, written by hand."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.data.scenes import Scene
from models.evaluation.answers import Answer

Box = tuple[float, float, float, float]

ONE: Box = (100.0, 100.0, 100.0, 200.0)
OTHER: Box = (300.0, 100.0, 100.0, 200.0)
SMALL: Box = (10.0, 10.0, 20.0, 40.0)


def joints_in(box: Box) -> NDArray[np.float64]:
    """Joints [16, 2] spread over a box, none where another is."""
    x, y, width, height = box
    grid = np.stack([np.arange(16) % 4, np.arange(16) // 4], 1)
    return np.array([x, y]) + (grid + 0.5) / 4 * [width, height]


def scene(
    *boxes: Box,
    flags: Sequence[str] = (),
    incomplete: bool = False,
    visibility: Sequence[int] = (),
    id_: str = "x",
    source: str = "coco",
) -> Scene:
    """A photo of 512 x 400 pixels; joints of each person as `joints_in` has them, with one visibility for all."""
    v = np.array(visibility or [2] * len(boxes), float).reshape(-1, 1, 1)
    places = np.array([joints_in(box) for box in boxes]).reshape(-1, 16, 2)
    return Scene(
        id=id_,
        source=source,
        picture=b"",
        width=512,
        height=400,
        boxes=np.array(boxes, float).reshape(-1, 4),
        flags=tuple(flags) or ("",) * len(boxes),
        joints=np.concatenate([places, np.broadcast_to(v, (len(boxes), 16, 1))], -1),
        incomplete=incomplete,
    )


def answer(*people: tuple[Box, float], moved: float = 0.0) -> Answer:
    """People by box and score, their joints as `joints_in` has them but `moved` pixels to the right."""
    boxes, scores = [box for box, _ in people], [score for _, score in people]
    joints = np.array([joints_in(box) for box in boxes]).reshape(-1, 16, 2) + np.array([moved, 0])
    return Answer(np.array(boxes, float).reshape(-1, 4), np.array(scores, float), joints, np.ones(joints.shape[:2]))
