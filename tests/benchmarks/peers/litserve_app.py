"""LitServe: one worker that decodes and computes whatever waits, up to the largest batch."""

import base64
import sys
from typing import Any

import litserve
import numpy as np
from pose import LARGEST_BATCH, Network, crop, joints


class Pose(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request: dict[str, Any]) -> tuple[np.ndarray, tuple[float, float, float]]:
        return crop(base64.b64decode(request["photo"]), request["box"])

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, cut: list[Any]) -> list[Any]:
        coordinates = self.network(np.stack([pixels for pixels, _ in cut]))
        return [joints(found, square) for found, (_, square) in zip(coordinates, cut, strict=True)]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: list[list[float]]) -> dict[str, Any]:
        return {"joints": output}


if __name__ == "__main__":
    api = Pose(max_batch_size=LARGEST_BATCH, batch_timeout=0.001, api_path="/pose")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
