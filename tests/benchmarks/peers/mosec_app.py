"""mosec: two processes decode, one computes whatever waits, up to the largest batch."""

from typing import Any

import numpy as np
from mosec import Server, Worker
from mosec.mixin import MsgpackMixin
from pose import LARGEST_BATCH, Network, crop, joints


class Crop(MsgpackMixin, Worker):
    def forward(self, data: dict[str, Any]) -> Any:
        return crop(data["photo"], data["box"])


class Estimate(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        coordinates = self.network(np.stack([pixels for pixels, _ in data]))
        return [{"joints": joints(found, square)} for found, (_, square) in zip(coordinates, data, strict=True)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Crop, num=2)
    server.append_worker(Estimate, max_batch_size=LARGEST_BATCH, max_wait_time=1)
    server.run()
