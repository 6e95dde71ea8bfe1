import pytest
import torch
from torch import nn

from models.networks.resnet import ARCHITECTURES, ResNet


@pytest.mark.parametrize("depth", ARCHITECTURES)
@pytest.mark.parametrize("stride", [32, 16, 8, 4])
def test_features_have_one_cell_per_stride(depth: int, stride: int) -> None:
    with torch.device("meta"):  # shapes only
        features = ResNet(depth, stride)(torch.zeros(1, 3, 64, 96))
    assert features.shape == (1, 2048 if depth >= 50 else 512, 64 // stride, 96 // stride)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride", [16, 8, 4])
def test_dilation_keeps_what_each_filter_sees(depth: int, stride: int) -> None:
    torch.manual_seed(0)
    network, images = ResNet(depth, 32).eval(), torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        coarse = network(images)
        network.set_output_stride(stride)
        fine = network(images)
    every = 32 // stride
    assert torch.allclose(fine[:, :, ::every, ::every], coarse, rtol=1e-3, atol=1e-4 * coarse.abs().max().item())


def test_strides_sit_in_the_first_1x1() -> None:
    network = ResNet(50, 32)
    strided = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    expected = ["conv1", *(f"layer{n}.0.{part}" for n in (2, 3, 4) for part in ("conv1", "downsample.0"))]
    assert strided == expected


def test_parameters_are_resnet_50s_without_its_classifier() -> None:
    assert sum(p.numel() for p in ResNet(50).parameters()) == 25_557_032 - 2048 * 1000 - 1000


@pytest.mark.parametrize(("depth", "stride"), [(19, 8), (50, 2), (50, 7)])
def test_other_depths_and_strides_are_refused(depth: int, stride: int) -> None:
    with pytest.raises(ValueError, match=str(depth if depth == 19 else stride)):
        ResNet(depth, stride)
