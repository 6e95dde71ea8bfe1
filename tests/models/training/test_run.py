import csv
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from models.data.pack import ABSENT
from models.networks.checkpoint import load_weights, read_checkpoint
from models.networks.dsnt import absence_loss, joint_losses
from models.networks.pose import PoseNetwork
from models.training.run import (
    AVERAGE_DECAY,
    AVERAGE_EVERY,
    Run,
    Stage,
    autocast,
    freeze,
    lead_px,
    learning_rate,
    moving_average,
    parameter_groups,
    parse_options,
    train,
)


def options(pack: Path, out: Path, stages: list[str], *more: str) -> list[str]:
    small = ["--depth", "18", "--batch", "6", "--threads", "1", "--device", "cpu", "--evaluate-every", "24"]
    return ["--data", str(pack), "--out", str(out), "--stages", *stages, *small, *more]


@pytest.mark.slow
def test_training_learns_logs_and_goes_on_where_it_stopped(pack: Path, tmp_path: Path) -> None:
    train(parse_options(options(pack, tmp_path, ["64/16:96"], "--rate", "1e-3", "--frozen-stages", "0")))
    with (tmp_path / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert [int(line["crops"]) for line in log] == [24, 48, 72, 96]
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    first = read_checkpoint(tmp_path / "checkpoint.pt")
    assert first["seen"] == 96
    assert {int(path.stem.removeprefix("averaged-")) for path in tmp_path.glob("averaged-*.pt")} == {24, 48, 72, 96}
    load_weights(PoseNetwork(18, 16), tmp_path / "averaged-96.pt")

    train(parse_options(options(pack, tmp_path, ["64/16:96", "64/8:24"], "--frozen-stages", "0")))
    second = read_checkpoint(tmp_path / "checkpoint.pt")
    assert second["seen"] == 120
    assert second["updates"] > first["updates"]


def interrupt(monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    """Let the next run end in Ctrl-C when it has seen so many crops."""
    step = Run.step

    def interrupted(run: Run, *batch: Any) -> None:
        if run.seen >= seen:
            raise KeyboardInterrupt
        step(run, *batch)

    monkeypatch.setattr(Run, "step", interrupted)


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ["64/16:42", "64/8:30"]
    train(parse_options(options(pack, tmp_path / "whole", stages)))
    for seen in (36, 66):  # the second resumes in the second stage; each repeats steps that no checkpoint holds
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, seen)
            train(parse_options(options(pack, tmp_path / "resumed", stages)))
    assert read_checkpoint(tmp_path / "resumed" / "checkpoint.pt")["seen"] == 48
    train(parse_options(options(pack, tmp_path / "resumed", stages)))

    whole, resumed = (read_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "resumed"))
    assert (whole["seen"], whole["updates"]) == (resumed["seen"], resumed["updates"]) == (72, 3)
    for kind in ("network", "average"):
        differ = [name for name, value in whole[kind].items() if not torch.equal(value, resumed[kind][name])]
        assert differ == [], kind
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "resumed" / "log.csv").read_text()


@pytest.mark.slow
def test_averaged_weights_move_however_few_steps_lie_between_evaluations(pack: Path, tmp_path: Path) -> None:
    train(parse_options(options(pack, tmp_path, ["64/16:36"], "--evaluate-every", "12")))
    torch.manual_seed(0)
    states = [PoseNetwork(18, 16).state_dict()]
    states += [read_checkpoint(tmp_path / f"averaged-{seen}.pt")["average"] for seen in (12, 24, 36)]
    layer = "backbone.layer4.1.conv2.weight"
    moved = [not torch.equal(one[layer], other[layer]) for one, other in pairwise(states)]
    assert moved == [True, False, True]  # updates follow the first and the fifth step
    assert states[-1]["backbone.bn1.num_batches_tracked"] == 0  # frozen
    assert states[-1]["backbone.layer4.0.bn1.num_batches_tracked"] == 5


def test_the_average_has_a_short_memory_at_first_and_then_a_long_one() -> None:
    for updates, new in ((1, 5 / 6), (5, 1 / 2), (10_000, 1 - AVERAGE_DECAY**AVERAGE_EVERY)):
        averaged = torch.zeros(3)
        moving_average([averaged], [torch.ones(3)], torch.tensor(updates))
        assert averaged.tolist() == pytest.approx([new] * 3)


def test_counts_of_batches_are_copied_and_statistics_averaged(pack: Path, tmp_path: Path) -> None:
    run = Run.begin(parse_options(options(pack, tmp_path, ["64/16:24"])))
    norm, averaged = (network.get_submodule("backbone.bn1") for network in (run.network, run.average.module))
    for batches in (10, 101):
        norm.running_mean.fill_(batches)
        norm.num_batches_tracked.fill_(batches)
        run.average.update_parameters(run.network)
    assert averaged.num_batches_tracked == 101
    assert averaged.running_mean.tolist() == pytest.approx([(10 + 5 * 101) / 6] * 64)


@pytest.mark.slow
def test_frozen_stages_stay_as_they_are(pack: Path, tmp_path: Path) -> None:
    train(parse_options(options(pack, tmp_path, ["64/16:12"])))
    state = read_checkpoint(tmp_path / "checkpoint.pt")["network"]
    torch.manual_seed(0)
    start = PoseNetwork(18, 16).state_dict()
    same = {name for name, value in state.items() if torch.equal(value, start[name])}
    assert {name for name in start if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))} <= same
    assert not {name for name in same if name.startswith("backbone.layer4") and name.endswith("weight")}


def test_every_learning_parameter_is_in_one_group() -> None:
    network = PoseNetwork(18, 16)
    groups = parameter_groups(network, 1, 10.0, 0.01)
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len(set(map(id, grouped)))
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters() if p.requires_grad}
    assert groups[-1]["times"] == 10


def test_batch_norm_of_frozen_stages_keeps_its_statistics() -> None:
    network = PoseNetwork(18, 16).train()
    freeze(network, 1)
    assert not network.backbone.bn1.training
    assert not any(m.training for m in network.backbone.get_submodule("layer1").modules())
    assert all(m.training for m in network.backbone.get_submodule("layer2").modules())


def test_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1001)]
    assert rates[0] < 0.02
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_coarser_strides_are_cut_ahead_by_half_the_difference() -> None:
    """Cell i looks at pixel stride * i; with the lead it looks as far ahead of its centre as the shipped stride."""
    for stride in (8, 16, 32):
        looked_at, centre = lead_px(stride), stride / 2
        assert math.isclose(centre - looked_at, 4)


def test_stages_are_read_and_others_refused() -> None:
    assert Stage.parse("128/16:60000") == Stage(128, 16, 60_000)
    with pytest.raises(SystemExit):
        parse_options(["--data", "x", "--out", "y", "--stages", "128:60000"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--evaluate-every", "0"], "--batch and --evaluate-every must be at least 1"),
        (["--batch", "0"], "--batch and --evaluate-every must be at least 1"),
        (["--stages", "64/16:3", "64/8:4", "--batch", "8"], "have 7 crops together, fewer than one batch of 8"),
    ],
)
def test_options_without_a_single_step_are_refused(
    given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--data", "x", "--out", "y", *given])
    assert sentence in capsys.readouterr().err


def test_absent_joints_are_to_have_flat_maps_and_unlabelled_ones_count_nothing(pack: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = Run.begin(parse_options(options(pack, tmp_path, ["64/16:24"])))
    images, joints = torch.randn(2, 3, 64, 64), torch.rand(2, 16, 2) - 0.5
    run.network.eval()
    with torch.no_grad(), autocast("cpu"):
        heatmaps = run.network(images).heatmaps
    there, absent = joint_losses(heatmaps, joints, sigma_px=0.5), absence_loss(heatmaps)
    for value, losses in ((1.0, there), (ABSENT, absent)):
        weights = torch.full((2, 16), value)
        weights[0, 5:] = 0
        counted = torch.cat([losses[0, :5], losses[1]])
        run.step(images, joints, weights, rate=0.0)
        assert run.losses[-1] == pytest.approx(counted.mean().item(), rel=1e-4)
