import torch

from models.networks.dsnt import dsnt, main_mode
from models.networks.pose import SOFTNESS, PoseNetwork, normalise, soften
from models.spec.crop import OUTSIDE_COLOUR


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


def test_normalisation_maps_the_outside_colour_to_zero() -> None:
    picture = torch.tensor(OUTSIDE_COLOUR, dtype=torch.uint8).expand(1, 2, 2, 3)
    assert normalise(picture).abs().max() < 0.02
    white = normalise(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).flatten()
    assert torch.allclose(white, torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3)


def test_softening_spreads_a_pixel_over_its_neighbours_and_loses_nothing() -> None:
    picture = torch.zeros(1, 3, 5, 5)
    picture[..., 2, 2] = 9
    soft = soften(picture)
    assert soft[0, 0, 2].tolist() == [0, SOFTNESS, 9 - 8 * SOFTNESS, SOFTNESS, 0]
    assert torch.allclose(soft.sum((-2, -1)), picture.sum((-2, -1)))
    assert torch.allclose(soften(torch.ones(1, 3, 5, 5))[..., 1:-1, 1:-1], torch.ones(3, 3))


def test_inference_reads_the_main_modes_in_softened_pictures() -> None:
    torch.manual_seed(0)
    network, images = PoseNetwork(18, 8).eval(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        outputs, (heatmaps, mode_mass) = network.infer(images), main_mode(network(soften(images)).heatmaps)
    assert torch.equal(outputs.heatmaps, heatmaps)
    assert torch.equal(outputs.coordinates, dsnt(heatmaps))
    assert torch.equal(outputs.mode_mass, mode_mass)
