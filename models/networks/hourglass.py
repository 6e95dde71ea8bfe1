"""Stacked hourglasses: the network that Table 4's fifth row times.

Newell, Yang and Deng 2016, "Stacked Hourglass Networks for Human Pose Estimation" (arXiv 1603.06937), with the layers
of their own Torch code, biases included: 25,434,112 parameters with 8 stacks and 16 joints. The 25.6 million often
quoted are a PyTorch port's, whose stem doubles its channels one residual earlier.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

CHANNELS: Final = 256

_LEVELS: Final = 4  # halvings: 64 x 64 features down to 4 x 4
_MOST_STACKS: Final = 8


class Residual(nn.Module):
    """Pre-activation bottleneck: 1x1 to half the channels, 3x3, 1x1, each behind batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = outputs // 2
        self.body = nn.Sequential(
            _preactivated(inputs, middle, 1), _preactivated(middle, middle, 3), _preactivated(middle, outputs, 1)
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, h, w]."""
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


class Hourglass(nn.Module):
    """Down to half the resolution and back, with a smaller hourglass inside, beside a path that stays.

    Args:
        levels: How often the resolution is halved.
        residuals: Residuals at each place.
    """

    def __init__(self, levels: int, residuals: int) -> None:
        super().__init__()
        self.beside = _residuals(residuals)
        self.before = _residuals(residuals)
        self.inside = Hourglass(levels - 1, residuals) if levels > 1 else _residuals(residuals)
        self.behind = _residuals(residuals)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 256, h, w] to the same; h and w are multiples of 2^levels."""
        low = self.behind(self.inside(self.before(functional.max_pool2d(x, 2))))
        return self.beside(x) + functional.interpolate(low, scale_factor=2)  # type: ignore[no-any-return]


class Stack(nn.Module):
    """An hourglass and its heatmaps, which intermediate supervision compares with the truth as well.

    Args:
        joints: Number of heatmaps.
        residuals: Residuals at each place.
        last: Whether no stack follows.
    """

    def __init__(self, joints: int, residuals: int, last: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Hourglass(_LEVELS, residuals),
            _residuals(residuals),
            nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.BatchNorm2d(CHANNELS), nn.ReLU()),
        )
        self.heatmap = nn.Conv2d(CHANNELS, joints, 1)
        self.from_features = None if last else nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.from_heatmap = None if last else nn.Conv2d(joints, CHANNELS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 256, h, w] to the unnormalised maps Z [N, joints, h, w] and what the next stack sees, [N, 256, h, w]."""
        features = self.features(x)
        z = self.heatmap(features)
        if self.from_features is not None and self.from_heatmap is not None:
            x = x + self.from_features(features) + self.from_heatmap(z)
        return z, x


class StackedHourglass(nn.Module):
    """1, 2, 4 or 8 hourglasses, each looking at the picture's features and at the heatmaps of the one before.

    Fewer stacks have more residuals at each place, 8 in all, so that the number of parameters stays about the same.

    Args:
        stacks: Number of hourglasses.
        joints: Number of heatmaps.
    """

    def __init__(self, stacks: int = _MOST_STACKS, joints: int = 16) -> None:
        if stacks not in (1, 2, 4, 8):
            raise ValueError(f"an hourglass network has 1, 2, 4 or 8 stacks, not {stacks}")
        super().__init__()
        self.stem = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU()),
            nn.Sequential(Residual(64, 128), nn.MaxPool2d(2)),
            nn.Sequential(Residual(128, 128), Residual(128, CHANNELS)),
        )
        self.stacks = nn.ModuleList(
            Stack(joints, _MOST_STACKS // stacks, last=index == stacks - 1) for index in range(stacks)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised pictures [N, 3, h, w] to each stack's unnormalised maps Z [N, joints, h / 4, w / 4].

        h and w are multiples of 64; 256 gives the papers' 64 x 64 maps.
        """
        x, maps = self.stem(images), []
        for stack in self.stacks:
            z, x = stack(x)
            maps.append(z)
        return maps


def _preactivated(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """A convolution behind batch norm and ReLU."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, size, padding=size // 2))


def _residuals(count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(CHANNELS, CHANNELS) for _ in range(count)))
