"""Export an untrained stacked hourglass to time: `python -m export.hourglass --stacks 8 --out FILE.onnx`.

How long a network takes does not depend on what its weights are. Input and storage are as in the service's own model:
uint8 crops, normalised in the graph, and float16 weights.
"""

import argparse
from pathlib import Path
from typing import Final

import onnx
import torch
from torch import Tensor, nn

from export.graph import store_as_float16, trace
from models.networks.pose import HourglassPoseNetwork, normalise

SIZE_PX: Final = 256
"""Side of the hourglass's crops, in both papers."""


class HourglassGraph(nn.Module):
    """What the file computes."""

    def __init__(self, stacks: int) -> None:
        super().__init__()
        self.network = HourglassPoseNetwork(stacks)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """RGB crops uint8 [N, 256, 256, 3] to coordinates [N, 16, 2] and heatmaps [N, 16, 64, 64]."""
        coordinates, heatmaps = self.network(normalise(images))
        return coordinates, heatmaps


def export_hourglass(stacks: int) -> onnx.ModelProto:
    """An ONNX model of an hourglass with random weights, stored as float16."""
    torch.manual_seed(0)
    return store_as_float16(trace(HourglassGraph(stacks), SIZE_PX, ("coordinates", "heatmaps")))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m export.hourglass", description=__doc__.partition("\n")[0])
    parser.add_argument("--stacks", type=int, default=8, help="1, 2, 4 or 8 (default: 8)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(export_hourglass(options.stacks), str(options.out))


if __name__ == "__main__":
    main()
