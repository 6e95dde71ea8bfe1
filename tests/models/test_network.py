import torch

from models.crop import OUTSIDE_COLOUR
from models.dsnt import dsnt
from models.network import PoseNetwork, normalise


def test_pose_is_the_expectation_of_its_heatmaps() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        pose = PoseNetwork(18, 16).eval()(torch.randn(3, 3, 64, 64))
    assert pose.heatmaps.shape == (3, 16, 4, 4)
    assert torch.allclose(pose.heatmaps.sum((-2, -1)), torch.ones(3, 16))
    assert torch.equal(pose.coordinates, dsnt(pose.heatmaps))


def test_heatmaps_start_nearly_flat() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        heatmaps = PoseNetwork(18, 8)(torch.randn(2, 3, 64, 64)).heatmaps
    assert heatmaps.max() < 2 / 64


def test_normalisation_maps_the_outside_colour_to_nought() -> None:
    picture = torch.tensor(OUTSIDE_COLOUR, dtype=torch.uint8).expand(1, 2, 2, 3)
    assert normalise(picture).abs().max() < 0.02
    white = normalise(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).flatten()
    assert torch.allclose(white, torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3)
