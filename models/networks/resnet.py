"""ResNet-18, 34, 50 and 101 without their classifier, with resolution bought by dilation.

He et al. 2015, "Deep Residual Learning for Image Recognition", in its first version: the stride of a stage sits in its
first convolution, the first 1x1 of a bottleneck, where later re-implementations moved it to the 3x3. State-dict names
are torchvision's.
"""

from typing import Final

from torch import Tensor, nn

STAGE_CHANNELS: Final = (64, 128, 256, 512)

OUTPUT_STRIDES: Final = (4, 8, 16, 32)
"""Input pixels per cell that a ResNet can have."""

# Input pixels per cell after the stem and layer1.
_STEM_STRIDE: Final = 4


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        # The first stage's shortcut keeps its shape and needs no projection.
        self.downsample = _projection(inputs, channels) if first and inputs != channels else None

    def set_reach(self, stride: int, before: int, dilation: int) -> None:
        """Set the stride, the dilation in front of it (`before`) and behind it."""
        _set_reach(self.conv1, stride, before)
        _set_reach(self.conv2, 1, dilation)
        _set_projection_stride(self.downsample, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, channels, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1 with the stride, 3x3 behind it, 1x1."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inputs, channels * self.expansion) if first else None

    def set_reach(self, stride: int, before: int, dilation: int) -> None:
        """Set the stride, the dilation in front of it (`before`, which a 1x1 does not feel) and behind it."""
        del before
        _set_reach(self.conv1, stride, 1)
        _set_reach(self.conv2, 1, dilation)
        _set_projection_stride(self.downsample, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, 4 * channels, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


ARCHITECTURES: Final[dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""Block and number of blocks in each stage, by depth."""


class ResNet(nn.Module):
    """Features at one cell per `output_stride` input pixels.

    A stage whose stride would go beyond `output_stride` keeps stride 1, and every filter behind the missing stride is
    dilated so that it sees what it saw before: weights move between output strides unchanged. Cell i then looks at
    input pixel `output_stride * i`, not at the cell's centre, so coordinates shift when the stride changes.

    Args:
        depth: 18, 34, 50 or 101.
        output_stride: 32, 16, 8 or 4: feature maps of 7, 14, 28 or 56 cells for 224 px.

    Attributes:
        channels: Channels of the features.
    """

    def __init__(self, depth: int = 50, output_stride: int = 32) -> None:
        if depth not in ARCHITECTURES:
            raise ValueError(f"ResNet depth is one of {', '.join(map(str, ARCHITECTURES))}, not {depth}")
        super().__init__()
        block, blocks = ARCHITECTURES[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, (count, channels) in enumerate(zip(blocks, STAGE_CHANNELS, strict=True), 1):
            layer = nn.Sequential()
            for index in range(count):
                layer.append(block(inputs, channels, first=index == 0))
                inputs = channels * block.expansion
            self.add_module(f"layer{stage}", layer)
        self.channels = inputs
        self.set_output_stride(output_stride)

    def set_output_stride(self, output_stride: int) -> None:
        """Change the resolution of the features; the weights stay.

        Raises:
            ValueError: `output_stride` is not 4, 8, 16 or 32.
        """
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output stride is one of {', '.join(map(str, OUTPUT_STRIDES))}, not {output_stride}")
        reached, dilation = _STEM_STRIDE, 1
        for stage in range(1, 5):
            stride, before = (1 if stage == 1 else 2), dilation
            if reached * stride > output_stride:
                stride, dilation = 1, dilation * 2
            reached *= stride
            for index, block in enumerate(self.get_submodule(f"layer{stage}").children()):
                block.set_reach(stride if index == 0 else 1, before if index == 0 else dilation, dilation)  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures [N, 3, h, w] to features [N, channels, h / output_stride, w / output_stride]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x  # type: ignore[no-any-return]


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    """The 1x1 convolution of a shortcut whose shape changes."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def _set_projection_stride(projection: nn.Sequential | None, stride: int) -> None:
    if projection is not None:
        _set_reach(projection.get_submodule("0"), stride, 1)


def _set_reach(convolution: nn.Module, stride: int, dilation: int) -> None:
    """Set a convolution's stride and dilation, with the padding that keeps the size at stride 1."""
    assert isinstance(convolution, nn.Conv2d)
    convolution.stride = (stride, stride)
    convolution.dilation = (dilation, dilation)
    padding = dilation * (convolution.kernel_size[0] // 2)
    convolution.padding = (padding, padding)
