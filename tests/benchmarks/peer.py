"""The peers in `peers/`: how each is started, how it wants a photo and its box, and how it answers."""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.photos import Photo
from tests.benchmarks.wire import Call


@dataclass(frozen=True)
class Peer:
    """A server in `peers/`.

    Attributes:
        command: What the interpreter of its environment is given; `{port}` stands for the port.
        call: The request for a photo with a box.
        joints: The joints in its answer.
    """

    command: tuple[str, ...]
    call: Callable[[Photo], Call]
    joints: Callable[[Any], list[Any]] = lambda answer: list(answer["joints"])


def _fastapi_call(photo: Photo) -> Call:
    return Call("/pose?" + "&".join(f"box={side:g}" for side in _box(photo)), photo.data)


def _litserve_call(photo: Photo) -> Call:
    text = base64.b64encode(photo.data).decode()
    return Call("/pose", json.dumps({"photo": text, "box": _box(photo)}).encode(), "application/json")


def _bentoml_call(photo: Photo) -> Call:
    parts = ((b'name="photo"; filename="photo.jpg"', photo.data), (b'name="box"', json.dumps(_box(photo)).encode()))
    body = b"".join(b"--cut\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % part for part in parts)
    return Call("/pose", body + b"--cut--\r\n", "multipart/form-data; boundary=cut")


def _mosec_call(photo: Photo) -> Call:
    """MessagePack of `{"photo": bytes, "box": [float64, ...]}`."""
    size, box = struct.pack(">I", len(photo.data)), b"".join(b"\xcb" + struct.pack(">d", side) for side in _box(photo))
    return Call("/inference", b"\x82\xa5photo\xc6%b%b\xa3box\x94%b" % (size, photo.data, box))


def _triton_call(photo: Photo) -> Call:
    """Open Inference Protocol with its binary extension: a JSON head, then the photo after its length."""
    binary = struct.pack("<I", len(photo.data)) + photo.data
    size = {"binary_data_size": len(binary)}
    inputs = [
        {"name": "photo", "shape": [1, 1], "datatype": "BYTES", "parameters": size},
        {"name": "box", "shape": [1, 4], "datatype": "FP32", "data": _box(photo)},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    return Call("/v2/models/pose/infer", head + binary, headers=(("Inference-Header-Content-Length", str(len(head))),))


def _box(photo: Photo) -> list[float]:
    (box,) = photo.boxes
    return [box.x, box.y, box.width, box.height]


PEERS: Final = {
    "fastapi": Peer(("fastapi_app.py", "{port}"), _fastapi_call),
    "litserve": Peer(("litserve_app.py", "{port}"), _litserve_call),
    "bentoml": Peer(
        ("-m", "bentoml", "serve", "bentoml_app:Pose", "--host", "127.0.0.1", "--port", "{port}"), _bentoml_call
    ),
    "mosec": Peer(("mosec_app.py", "--address", "127.0.0.1", "--port", "{port}", "--timeout", "60000"), _mosec_call),
    "triton": Peer(("triton_app.py", "{port}"), _triton_call, lambda answer: list(answer["outputs"][0]["data"])),
}
