"""The finder's network: NanoDet-g (RangiLyu 2021) with people as its only class, its decoding and its weights.

Three grids of cells cover the picture, at 8, 16 and 32 pixels a cell. Each cell states a score and, for each side of a
box around its person, a distribution over 0, 1, ..., 10 cells of distance from its centre.

Backbone: a stem and four stages of cross-stage-partial form, 3 x 3 convolutions throughout. Neck: a path-aggregation
pyramid of plain sums. Head: a 3 x 3 and a 1 x 1 convolution for each grid, not shared. There is no batch norm: it is
folded into the convolutions. Its input is normalised as the pose network's is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.checkpoint import StateDict, load_weights, read_tensors
from models.networks.pose import normalise

STRIDES: Final = (8, 16, 32)
"""Pixels a cell of each grid."""

DISTANCES: Final = 11
"""Distances that a side's distribution is over: 0 to 10 cells."""

_CHANNELS: Final = 128
_PUBLISHED_CLASSES: Final = 80
_LAST_CONVOLUTIONS: Final = tuple(
    f"head.{grid}.1.{kind}" for grid in range(len(STRIDES)) for kind in ("weight", "bias")
)


class Findings(NamedTuple):
    """What the network says of a batch, before decoding.

    C counts the cells of the three grids, finest first, row by row.

    Attributes:
        logits: [N, C], of the score.
        sides: [N, C, 4, 11], logits of the distances from the cell's centre to the left, top, right and bottom side.
    """

    logits: Tensor
    sides: Tensor


class Convolution(nn.Sequential):
    """A 3 x 3 convolution and leaky ReLU: [N, inputs, h, w] to [N, outputs, h / stride, w / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True))


class Block(nn.Module):
    """Two convolutions of half the channels in a row, both outputs side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = Convolution(channels, channels // 2)
        self.two = Convolution(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, h, w] to the same shape."""
        y = self.one(x)
        return torch.cat((self.two(y), y), 1)


class Stage(nn.Module):
    """What blocks make of the first convolution's output, beside that output."""

    def __init__(self, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.enter = Convolution(channels, channels, stride)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.join = Convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, h, w] to [N, 2 * channels, h / stride, w / stride]."""
        x = self.enter(x)
        return torch.cat((self.join(self.blocks(x)), x), 1)


class FinderNetwork(nn.Module):
    """NanoDet-g, every cell of which looks for a person."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList((Stage(32, 1, 1), Stage(64, 2, 2), Stage(128, 2, 2), Stage(256, 3, 2)))
        self.lateral = nn.ModuleList(nn.Conv2d(channels, _CHANNELS, 1) for channels in (128, 256, 512))
        self.head = nn.ModuleList(
            nn.Sequential(Convolution(_CHANNELS, _CHANNELS), nn.Conv2d(_CHANNELS, 1 + 4 * DISTANCES, 1))
            for _ in STRIDES
        )

    def grids(self, images: Tensor) -> list[Tensor]:
        """Normalised pictures [N, 3, h, w] to the three grids [N, 1 + 4 * 11, h / stride, w / stride]."""
        return [head(features) for head, features in zip(self.head, self._pyramid(images), strict=True)]

    def forward(self, images: Tensor) -> Findings:
        """Normalised pictures [N, 3, h, w], sides multiples of 32, to what each cell says."""
        return _findings(self.grids(images))

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """[N, 3, h, w] to features [N, 128, h / stride, w / stride]."""
        x = self.pool(self.stem(images))
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        c3, c4, c5 = (lateral(features) for lateral, features in zip(self.lateral, stages[1:], strict=True))
        c4 = c4 + F.interpolate(c5, scale_factor=2, mode="bilinear")
        p3 = c3 + F.interpolate(c4, scale_factor=2, mode="bilinear")
        p4 = c4 + F.avg_pool2d(p3, 2)  # what bilinear interpolation to half the size is
        return [p3, p4, c5 + F.avg_pool2d(p4, 2)]


class FinderGraph(nn.Module):
    """What the finder's file computes; state-dict names are `FinderNetwork`'s, so training can start from the file."""

    def __init__(self, network: FinderNetwork) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        self._network = (network,)  # a tuple keeps its tensors from being registered twice

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """RGB pictures uint8 [N, H, W, 3], sides multiples of 32, to boxes [N, C, 4] and scores [N, C].

        Boxes are x, y, width, height in the picture's pixels.
        """
        grids = self._network[0].grids(normalise(images))
        findings = _findings(grids)
        boxes = decode(findings.sides, cells([grid.shape[2:] for grid in grids], images.device))
        return boxes, findings.logits.sigmoid()


def cells(shapes: Sequence[tuple[int, ...]], device: torch.device | None = None) -> Tensor:
    """The cells [C, 3] of grids of these (rows, columns): centre x, centre y and stride, in input pixels."""
    grids = []
    for stride, (rows, columns) in zip(STRIDES, shapes, strict=True):
        y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
        centres = (x.flatten() + 0.5) * stride, (y.flatten() + 0.5) * stride
        grids.append(torch.stack((*centres, torch.full_like(centres[0], stride)), -1))
    return torch.cat(grids)


def grid_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of the three grids of an input, its sides multiples of 32."""
    return [(height // stride, width // stride) for stride in STRIDES]


def decode(sides: Tensor, places: Tensor) -> Tensor:
    """Sides [N, C, 4, 11] as logits and the cells [C, 3] to boxes [N, C, 4]: x, y, width, height in input pixels."""
    steps = torch.arange(DISTANCES, dtype=sides.dtype, device=sides.device)
    distances = (sides.softmax(-1) * steps).sum(-1) * places[:, 2:]
    left, top, right, bottom = distances.unbind(-1)
    x, y, _ = places.unbind(-1)
    return torch.stack((x - left, y - top, left + right, top + bottom), -1)


def load_finder(network: FinderNetwork, *paths: Path) -> None:
    """Fill a network from a file, or with the mean of several files' weights.

    Args:
        network: To be filled.
        paths: A training checkpoint `.pt`, a finder's float `.onnx`, or `.safetensors`, either of this network or of
            NanoDet-g as published: with 80 classes, of which people are the first, and channels blue, green, red.

    Raises:
        WeightsError: A file cannot be read, lacks weights of the network, or has some of another shape.
    """
    load_weights(network, *paths, read=_read_finder)


def _read_finder(path: Path) -> StateDict:
    state = {name: value.float() for name, value in read_tensors(path).items()}
    if len(state.get(_LAST_CONVOLUTIONS[0], ())) == _PUBLISHED_CLASSES + 4 * DISTANCES:
        state["stem.0.weight"] = state["stem.0.weight"].flip(1)  # to red, green, blue
        for name in _LAST_CONVOLUTIONS:
            state[name] = torch.cat((state[name][:1], state[name][_PUBLISHED_CLASSES:]))
    return state


def _findings(grids: Sequence[Tensor]) -> Findings:
    """Grids [N, 1 + 4 * 11, rows, columns] side by side."""
    values = torch.cat([grid.flatten(2) for grid in grids], 2).transpose(1, 2)
    return Findings(values[..., 0], values[..., 1:].reshape(*values.shape[:2], 4, DISTANCES))
