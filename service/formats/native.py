"""What goes over the wire, as frozen pydantic models: they are the OpenAPI document.

Answers are built as plain data of the models' shape, which tests hold against them: validating one on its way out would
take longer than all else that is done to it.
Positions and spreads are rounded to 1/10,000 of a photo pixel, times to a microsecond.
"""

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from service.inference.engine import EngineInfo
from service.poses.people import Person, Poses

MEDIA_TYPE: Final = "application/json"

BoxArray = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="x, y, width, height in photo pixels", examples=[[60, 10, 300, 500]]),
]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Model(_Document):
    """What computed the answer."""

    name: str = Field(examples=["dsntr-resnet50-28px"])
    version: str
    provider: str = Field(examples=["openvino"])
    precision: str = Field(examples=["bf16"])


class ImageSize(_Document):
    """Size of the photo as a person sees it (EXIF orientation applied), in pixels."""

    width: int
    height: int


class CropSquare(_Document):
    """The square that the network saw: top-left corner (may be negative) and side, in photo pixels."""

    x: float
    y: float
    side: float


class Std(_Document):
    """The heatmap's spread: standard deviations along its principal axes. Not an error bar: see `confidence`."""

    major: float = Field(description="photo pixels")
    minor: float = Field(description="photo pixels")
    angle: float = Field(description="degrees of the major axis from +x towards +y, in (-90, 90]")


class Joint(_Document):
    """A joint; (0, 0) is the outer corner of the photo's first pixel, x right, y down. Left is the person's left."""

    name: str = Field(examples=["right_ankle"])
    x: float = Field(description="photo pixels")
    y: float = Field(description="photo pixels")
    confidence: float = Field(description="calibrated probability of being within half a head of the truth")
    std: Std


class Heatmaps(_Document):
    """All joints' heatmaps, the main modes: base64 of little-endian float16 in C order; each map sums to 1."""

    shape: list[int] = Field(description="joints, rows, columns", examples=[[16, 28, 28]])
    dtype: Literal["float16"] = "float16"
    data: str


class PersonAnswer(_Document):
    """One person."""

    box: BoxArray
    whole_image: bool = Field(description="true when there was no box and nobody was looked for: `box` is the photo")
    score: float | None = Field(
        description="calibrated probability that there is a person, boxed so that the pose is worth drawing; null "
        "where the box came with the request, or nobody was looked for"
    )
    crop: CropSquare
    joints: list[Joint]
    heatmaps: Heatmaps | None = Field(None, description="only when the option `heatmaps` is true")


class Timing(_Document):
    """Seconds of each stage; `Server-Timing` has the same in milliseconds."""

    decode: float = Field(description="the wait for a decoding thread included")
    crop: float
    find: float = Field(description="of the network that finds people; 0 where nobody was looked for")
    queue: float
    inference: float
    total: float


class PoseAnswer(_Document):
    """The people of one photo, in the order of the boxes; of those who were found, the largest first."""

    model: Model
    image: ImageSize
    people: list[PersonAnswer]
    found: int = Field(description="how many people there are; more than `people` where these are limited")
    timing: Timing


def encode(poses: Poses, info: EngineInfo) -> bytes:
    """The answer to `POST /pose` as JSON."""
    return to_json(answer(poses, info))


def answer(poses: Poses, info: EngineInfo) -> dict[str, Any]:
    """The answer to `POST /pose`, a `PoseAnswer` as plain data."""
    return {
        "model": {
            "name": info.spec.name,
            "version": info.spec.version,
            "provider": info.provider,
            "precision": info.precision,
        },
        "image": {"width": poses.width, "height": poses.height},
        "people": [_person(person, poses.skeleton.joints) for person in poses.people],
        "found": poses.found,
        "timing": {stage: round(seconds, 6) for stage, seconds in poses.timing.items()},
    }


def _person(person: Person, names: Sequence[str]) -> dict[str, Any]:
    std = person.std.round(4)
    std[:, 2][std[:, 2] == -90] = 90  # the same axis: an angle just above -90 was rounded
    rows = zip(names, person.joints.round(4).tolist(), person.confidence.tolist(), std.tolist(), strict=True)
    document = {
        "box": [round(side, 4) for side in (person.box.x, person.box.y, person.box.width, person.box.height)],
        "whole_image": person.whole_image,
        "score": None if person.score is None else round(person.score, 4),
        "crop": {name: round(getattr(person.crop, name), 4) for name in ("x", "y", "side")},
        "joints": [
            {
                "name": name,
                "x": x,
                "y": y,
                "confidence": round(confidence, 4),
                "std": {"major": major, "minor": minor, "angle": angle},
            }
            for name, (x, y), confidence, (major, minor, angle) in rows
        ],
    }
    return document if person.heatmaps is None else {**document, "heatmaps": encode_heatmaps(person.heatmaps)}


def encode_heatmaps(heatmaps: NDArray[np.float32]) -> dict[str, Any]:
    """Heatmaps [J, rows, columns] as little-endian float16 in base64."""
    data = base64.b64encode(np.ascontiguousarray(heatmaps, "<f2").tobytes()).decode("ascii")
    return {"shape": list(heatmaps.shape), "dtype": "float16", "data": data}
