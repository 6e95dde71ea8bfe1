"""Who is in whole photos: a running service is asked, or another program's answers are read from a file.

A line of such a file is an answer of `POST /pose` to one photo, with the photo's id in its pack:

    {"photo": "coco_1", "people": [{"score": 0.9, "box": [x, y, width, height],
     "joints": [{"name": "left_knee", "x": 12.5, "y": 30.0, "confidence": 0.8}, ...]}, ...]}

Lengths are photo pixels. Joints that the program does not have are left out; whom it does not see has no entry.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.evaluation.finding import Found
from models.spec.crop import Box
from models.spec.skeleton import JOINTS

_CLIENTS: Final = 2
_ADDRESS: Final = ("http://", "https://")
_SECONDS: Final = 600
_BUSY: Final = 429  # says when to come back
_PATIENCE: Final = 20  # how often a photo is sent to a busy service


class AnswerError(ValueError):
    """A service or a file does not say what is to be measured."""


@dataclass(frozen=True, slots=True)
class Answer(Found):
    """What is said of a photo's people; `boxes` [n, 4] and `scores` [n] are `Found`'s, scores nan where there is none.

    Attributes:
        joints: float64 [n, 16, 2] in photo pixels, infinitely far away where a joint is left out.
        confidence: float64 [n, 16], 0 there.
    """

    joints: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read the body of an answer.

        Raises:
            AnswerError: Something is missing, or not what it should be.
        """
        try:
            people = document["people"]
            joints = np.array([_joints(person["joints"]) for person in people]).reshape(-1, len(JOINTS), 3)
            scores = [math.nan if person["score"] is None else float(person["score"]) for person in people]
            boxes = np.array([person["box"] for person in people], np.float64).reshape(-1, 4)
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerError(f"people have a score, a box and joints: {_complaint(error)}") from error
        return cls(boxes, np.array(scores), joints[..., :2], joints[..., 2])


def _joints(stated: Iterable[Mapping[str, Any]]) -> NDArray[np.float64]:
    """x, y and confidence [16, 3] of joints by name."""
    joints = np.tile([math.inf, math.inf, 0.0], (len(JOINTS), 1))
    for joint in stated:
        if joint["name"] not in JOINTS:
            raise ValueError(f"joints are {', '.join(JOINTS)}, not {joint['name']}")
        joints[JOINTS.index(joint["name"])] = joint["x"], joint["y"], joint["confidence"]
    return joints


def is_address(model: str) -> bool:
    """Whether a model is named by a service's address."""
    return model.startswith(_ADDRESS)


def ask_photos(url: str, pictures: Sequence[bytes], boxes: Sequence[Box] | None = None) -> list[Answer]:
    """Ask a running service, one request for each photo, which goes as it is stored.

    Args:
        url: The service's address; a query in it (`?flip=true`) goes with every request.
        pictures: Encoded photos.
        boxes: Around one person in each; None lets the service find people.

    Raises:
        AnswerError: The service cannot be reached, refuses a photo or gives another answer.
    """
    import httpx  # noqa: PLC0415 - only this way of asking needs it

    def ask(picture: bytes, box: Box | None) -> Answer:
        fields = {} if box is None else {"boxes": f"{box.x},{box.y},{box.width},{box.height}"}
        params, headers = query.merge(fields), {"content-type": "image/*"}
        for _ in range(_PATIENCE):
            response = client.post("/pose", params=params, content=picture, headers=headers)
            if response.status_code != _BUSY:
                break
            time.sleep(float(response.headers.get("retry-after", "1")))
        if response.is_error:
            raise AnswerError(f"{url} refuses a photo with status {response.status_code}: {response.text}")
        return Answer.read(response.json())

    query = httpx.URL(url).params
    try:
        with (
            httpx.Client(base_url=httpx.URL(url, query=None), timeout=_SECONDS) as client,
            ThreadPoolExecutor(_CLIENTS) as pool,
        ):
            return list(pool.map(ask, pictures, boxes or [None] * len(pictures)))
    except httpx.HTTPError as error:
        raise AnswerError(f"{url} gives no answer: {error}") from error


def read_answers(path: Path, photos: Sequence[str]) -> list[Answer]:
    """Read the answers to photos, named by their ids, from a file.

    Raises:
        AnswerError: The file cannot be read, says what cannot be, or does not have each photo once.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise AnswerError(f"{path} cannot be read: {error}") from error
    answers: dict[str, Answer] = {}
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
            photo, answer = str(document["photo"]), Answer.read(document)
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerError(f"{path}, line {number}: {_complaint(error)}") from error
        if photo in answers:
            raise AnswerError(f"{path}, line {number}: the photo {photo} has a line before")
        answers[photo] = answer
    if missing := [photo for photo in photos if photo not in answers]:
        raise AnswerError(f"{path} has no line for {len(missing)} of {len(photos)} photos, such as {missing[0]}")
    return [answers[photo] for photo in photos]


def _complaint(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
