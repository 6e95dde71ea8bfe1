"""What every peer does around its framework, written as a user would: the session, a photo's crop, a crop's joints."""

import io
import json
import math
import os
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

LARGEST_BATCH = 4
OUTSIDE_COLOUR = (124, 116, 104)


class Network:
    """The service's own model file, provider, options and threads, as the benchmark tells them."""

    def __init__(self) -> None:
        told = json.loads(os.environ["POSE_SESSION"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = told["threads"]
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(told["model"], options, [(told["provider"], told["options"])])
        taken = self._session.get_providers()[0]
        assert taken == told["provider"], f"{told['provider']} was replaced by {taken}"
        for size in range(1, LARGEST_BATCH + 1):  # OpenVINO compiles the network anew for each
            self(np.zeros((size, 224, 224, 3), np.uint8))

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Crops uint8 [N, 224, 224, 3] to coordinates float32 [N, 16, 2], -1 to 1."""
        return self._session.run(["coordinates"], {"images": crops})[0]


def crop(photo: bytes, box: list[float]) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A person's square, uint8 [224, 224, 3], and its left, top and side in photo pixels."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo))).convert("RGB")
    x, y, width, height = box
    side = 1.25 * max(width, height)
    left, top = x + (width - side) / 2, y + (height - side) / 2
    first_x, first_y, size = math.floor(left), math.floor(top), math.ceil(side) + 1
    square = Image.new("RGB", (size, size), OUTSIDE_COLOUR)
    square.paste(image, (-first_x, -first_y))
    window = (left - first_x, top - first_y, left - first_x + side, top - first_y + side)
    return np.asarray(square.resize((224, 224), Image.Resampling.BILINEAR, window)), (left, top, side)


def joints(coordinates: np.ndarray, square: tuple[float, float, float]) -> list[list[Any]]:
    """Coordinates [16, 2] to photo pixels."""
    left, top, side = square
    return ((coordinates + 1) / 2 * side + (left, top)).round(4).tolist()
