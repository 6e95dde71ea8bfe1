from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import torch

from models.data.pack import ABSENT
from models.networks.checkpoint import save_checkpoint
from models.networks.dsnt import absence_loss, joint_losses
from models.networks.pose import PoseNetwork
from models.training.config import TrainingConfig
from models.training.device import autocast
from models.training.optimisation import AVERAGE_EVERY, CLIP_NORM
from models.training.run import Run

Configure = Callable[..., TrainingConfig]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

LITTLE: Final = {"batch": 2, "frozen_stages": 4}
"""Steps of the heatmap convolution alone are fast."""


def batch(people: int = 2) -> Batch:
    torch.manual_seed(0)
    return torch.randn(people, 3, 64, 64), torch.rand(people, 16, 2) - 0.5, torch.ones(people, 16)


def test_the_heatmap_convolution_has_a_rate_of_its_own(configure: Configure) -> None:
    run = Run.begin(configure(rate=1e-3, head_rate=7.0, **LITTLE))
    rate = run.rate
    assert 0 < rate <= 1e-3
    run.step(*batch())
    assert [group["lr"] for group in run.optimiser.param_groups] == pytest.approx([rate, rate, 7 * rate])


def test_rates_follow_the_schedule_over_all_phases(configure: Configure) -> None:
    run = Run.begin(configure("64/16:600", "64/8:600", rate=1.0))
    rates = []
    for seen in range(0, 1200, 6):
        run.seen = seen
        rates.append(run.rate)
    assert max(rates) == pytest.approx(1, abs=0.05)
    assert rates[-1] < 0.02
    assert rates[100] == pytest.approx(0.5, abs=0.05)


def test_gradients_are_clipped_to_a_norm(configure: Configure) -> None:
    run = Run.begin(configure(weight=1e4, **LITTLE))
    run.step(*batch())
    norm = torch.nn.utils.get_total_norm([p.grad for p in run.network.parameters() if p.grad is not None])
    assert norm.item() == pytest.approx(CLIP_NORM, rel=1e-2)


def test_averaged_weights_are_a_mean_over_the_steps(configure: Configure) -> None:
    run, kept = Run.begin(configure(rate=1e-2, **LITTLE)), []
    for _ in range(AVERAGE_EVERY + 1):
        run.step(*batch())
        kept.append(run.network.heatmap.weight.detach().clone())
    averaged = run.averaged(16).heatmap.weight
    torch.testing.assert_close(averaged, kept[0] / 6 + kept[-1] * 5 / 6)
    assert not torch.allclose(averaged, kept[-1], atol=1e-5)


def test_counts_of_batches_are_copied_and_statistics_averaged(configure: Configure) -> None:
    run = Run.begin(configure())
    norm, averaged = (network.get_submodule("backbone.bn1") for network in (run.network, run.average.module))
    for batches in (10, 101):
        norm.running_mean.fill_(batches)
        norm.num_batches_tracked.fill_(batches)
        run.average.update_parameters(run.network)
    assert averaged.num_batches_tracked == 101
    assert averaged.running_mean.tolist() == pytest.approx([(10 + 5 * 101) / 6] * 64)


def test_a_run_starts_from_the_mean_of_several_files(configure: Configure, tmp_path: Path) -> None:
    files = (tmp_path / "one.pt", tmp_path / "other.pt")
    states = []
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        states.append(PoseNetwork(18, 16).state_dict())
        save_checkpoint(file, {"average": states[-1]})
    name = "backbone.layer1.0.conv1.weight"
    mean = (states[0][name] + states[1][name]) / 2
    torch.testing.assert_close(Run.begin(configure(start=files)).network.state_dict()[name], mean)
    assert torch.equal(Run.begin(configure(start=files[:1])).network.state_dict()[name], states[0][name])


def test_absent_joints_are_to_have_flat_maps_and_unlabelled_ones_count_nothing(configure: Configure) -> None:
    run = Run.begin(configure())
    images, joints, _ = batch()
    run.network.eval()
    with torch.no_grad(), autocast("cpu"):
        heatmaps = run.network(images).heatmaps
    there, absent = joint_losses(heatmaps, joints, sigma_px=0.5), absence_loss(heatmaps)
    for value, losses in ((1.0, there), (ABSENT, absent)):
        weights = torch.full((2, 16), value)
        weights[0, 5:] = 0
        counted = torch.cat([losses[0, :5], losses[1]])
        assert run.loss(images, joints, weights).item() == pytest.approx(counted.mean().item(), rel=1e-4)
