"""The pose networks: backbone, 1x1 heatmap convolution, heatmap activation, DSNT.

DSNT and DSNTr are one network; the strategies differ in the loss that trains it (`dsnt.REGULARISERS`). Training takes
the expectation of whole heatmaps, as the paper does; inference that of their main modes, in softened pictures.
"""

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.dsnt import HEATMAP_ACTIVATIONS, covariance, dsnt, main_mode
from models.networks.hourglass import StackedHourglass
from models.networks.resnet import ResNet
from models.spec.crop import PIXEL_MEAN, PIXEL_STD
from models.spec.skeleton import JOINTS

SOFTNESS: Final = 0.25
"""How much of a pixel is, at inference, the mean of the 3 x 3 around it.

Training interpolates its crops, and enlarges close-ups from small pictures: close people are always soft there. Given
sharper ones than that, the network finds a small body in a close-up; softer ones cost small people in large photos.
"""


class Pose(NamedTuple):
    """What the network says of a batch in training: of whole heatmaps.

    Attributes:
        coordinates: [N, joints, 2], normalised to [-1, 1], x then y, float32.
        heatmaps: [N, joints, m, n], each summing to 1, float32.
    """

    coordinates: Tensor
    heatmaps: Tensor


class Outputs(NamedTuple):
    """What the network says of a batch at inference, all float32.

    Attributes:
        coordinates: [N, joints, 2], DSNT of `heatmaps`, normalised to [-1, 1], x then y.
        covariance: [N, joints, 3], Var x, Cov xy, Var y of `heatmaps` in normalised units squared.
        heatmaps: [N, joints, m, n], the main modes, each summing to 1.
        mode_mass: [N, joints], how much of the network's heatmap the main mode holds.
        maps: [N, joints, m, n], the network's whole heatmaps, each summing to 1.
    """

    coordinates: Tensor
    covariance: Tensor
    heatmaps: Tensor
    mode_mass: Tensor
    maps: Tensor


class PoseNetwork(nn.Module):
    """ResNet with a DSNT head.

    Args:
        depth: Depth of the ResNet.
        output_stride: Input pixels per heatmap cell; 8 gives 28 x 28 heatmaps for 224 px.
        activation: One of `dsnt.HEATMAP_ACTIVATIONS`.
        joints: Number of heatmaps.
    """

    def __init__(
        self, depth: int = 50, output_stride: int = 8, activation: str = "softmax", joints: int = len(JOINTS)
    ) -> None:
        super().__init__()
        self.backbone = ResNet(depth, output_stride)
        self.heatmap = nn.Conv2d(self.backbone.channels, joints, 1, bias=False)
        # Small enough that the first heatmaps are nearly flat: the loss starts at its most informative point.
        nn.init.normal_(self.heatmap.weight, std=0.001)
        self.activation = HEATMAP_ACTIVATIONS[activation]

    def forward(self, images: Tensor) -> Pose:
        """Normalised pictures [N, 3, h, w] to the pose in each."""
        heatmaps = self.activation(self.heatmap(self.backbone(images)))
        return Pose(dsnt(heatmaps), heatmaps)

    def infer(self, images: Tensor) -> Outputs:
        """Normalised pictures [N, 3, h, w] to the main modes' outputs for each, and the whole maps."""
        maps = self(soften(images)).heatmaps
        heatmaps, mode_mass = main_mode(maps)
        return Outputs(dsnt(heatmaps), covariance(heatmaps), heatmaps, mode_mass, maps)


class HourglassPoseNetwork(nn.Module):
    """Stacked hourglasses, each with a DSNT head; the last one's pose is the network's.

    Args:
        stacks: 1, 2, 4 or 8.
        activation: One of `dsnt.HEATMAP_ACTIVATIONS`.
        joints: Number of heatmaps.
    """

    def __init__(self, stacks: int = 8, activation: str = "softmax", joints: int = len(JOINTS)) -> None:
        super().__init__()
        self.backbone = StackedHourglass(stacks, joints)
        self.activation = HEATMAP_ACTIVATIONS[activation]

    def poses(self, images: Tensor) -> list[Pose]:
        """Each stack's pose of normalised pictures [N, 3, h, w]; intermediate supervision trains them all."""
        return [self._pose(z) for z in self.backbone(images)]

    def forward(self, images: Tensor) -> Pose:
        """Normalised pictures [N, 3, h, w] to the pose in each; the papers' are 256 x 256."""
        return self._pose(self.backbone(images)[-1])

    def _pose(self, z: Tensor) -> Pose:
        heatmaps = self.activation(z)
        return Pose(dsnt(heatmaps), heatmaps)


def soften(images: Tensor) -> Tensor:
    """Normalised pictures [N, 3, h, w] as soft as training's; what lies beyond them has the mean colour."""
    return images + SOFTNESS * (F.avg_pool2d(images, 3, stride=1, padding=1) - images)


def normalise(images: Tensor) -> Tensor:
    """RGB pictures uint8 [N, h, w, 3] to the network's input float32 [N, 3, h, w]."""
    mean = torch.tensor(PIXEL_MEAN, device=images.device) * 255
    std = torch.tensor(PIXEL_STD, device=images.device) * 255
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)
