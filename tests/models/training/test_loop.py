import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.pack import People
from models.evaluation.pck import Accuracy
from models.networks.checkpoint import load_weights, read_checkpoint
from models.networks.pose import PoseNetwork
from models.training import loop
from models.training.config import TrainingConfig
from models.training.loop import TrainingData, train
from models.training.options import RunError
from models.training.run import Run

Configure = Callable[..., TrainingConfig]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of every file in a folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.slow
def test_a_run_learns_logs_and_says_when_it_is_finished(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure("64/16:96", rate=1e-3, frozen_stages=0, keep=1)
    train(config)
    with (config.out / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert [int(line["crops"]) for line in log] == [24, 48, 72, 96]
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    best = max(log, key=lambda line: float(line["pckh"]))["crops"]
    assert {path.name for path in config.out.glob("averaged-*.pt")} == {f"averaged-{n}.pt" for n in (best, 96)}
    assert read_checkpoint(config.out / "checkpoint.pt")["seen"] == 96
    load_weights(PoseNetwork(18, 16), config.out / "averaged-96.pt")

    before = files(config.out)
    capsys.readouterr()
    train(config)
    assert "is finished: 96 crops" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"rate was 0\.001 and is 0\.01"):
        train(replace(config, rate=1e-2))
    assert files(config.out) == before


def interrupt(monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    """Let the next run end in Ctrl-C when it has seen so many crops."""
    step = Run.step

    def interrupted(run: Run, *batch: Any) -> None:
        if run.seen >= seen:
            raise KeyboardInterrupt
        step(run, *batch)

    monkeypatch.setattr(Run, "step", interrupted)


def killed(run: Run) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = configure("64/16:42", "64/8:30")
    resumed = replace(whole, out=whole.out.with_name("resumed"))
    train(whole)
    for seen in (36, 66):  # the second resumes in the second phase; each repeats steps that no checkpoint holds
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, seen)
            train(resumed)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "save", killed)  # the log is a line ahead of the checkpoint
        train(resumed)
    assert read_checkpoint(resumed.out / "checkpoint.pt")["seen"] == 48
    train(resumed)

    ends = [read_checkpoint(config.out / "checkpoint.pt") for config in (whole, resumed)]
    assert [(end["seen"], end["updates"]) for end in ends] == [(72, 3), (72, 3)]
    for kind in ("network", "average"):
        one, other = (end[kind] for end in ends)
        assert [name for name, value in one.items() if not torch.equal(value, other[name])] == [], kind
    logs = [(config.out / "log.csv").read_text() for config in (whole, resumed)]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_averaged_weights_move_however_few_steps_lie_between_evaluations(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = []

    def evaluate(network: PoseNetwork, development: People, stride: int, device: str) -> Accuracy:
        evaluated.append({name: value.clone() for name, value in network.state_dict().items()})
        return original(network, development, stride, device)

    original = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", evaluate)
    config = configure("64/16:36", evaluate_every=12)
    train(config)
    torch.manual_seed(0)
    states = [PoseNetwork(18, 16).state_dict()]
    states += [read_checkpoint(config.out / f"averaged-{seen}.pt")["average"] for seen in (12, 24, 36)]
    layer = "backbone.layer4.1.conv2.weight"
    moved = [not torch.equal(one[layer], other[layer]) for one, other in pairwise(states)]
    assert moved == [True, False, True]  # updates follow the first and the fifth step
    assert all(torch.equal(state[layer], each[layer]) for state, each in zip(states[1:], evaluated, strict=True))
    assert states[-1]["backbone.bn1.num_batches_tracked"] == 0  # frozen
    assert states[-1]["backbone.layer4.0.bn1.num_batches_tracked"] == 5


@pytest.mark.slow
def test_frozen_stages_stay_as_they_are(configure: Configure) -> None:
    config = configure("64/16:12")
    train(config)
    state = read_checkpoint(config.out / "checkpoint.pt")["network"]
    torch.manual_seed(0)
    start = PoseNetwork(18, 16).state_dict()
    same = {name for name, value in state.items() if torch.equal(value, start[name])}
    assert {name for name in start if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))} <= same
    assert not {name for name in same if name.startswith("backbone.layer4") and name.endswith("weight")}


def test_people_of_the_training_packs_have_pseudo_labels_and_those_of_mpii_are_developed_on(
    configure: Configure,
) -> None:
    data = TrainingData.read(configure())
    assert data.counts == {"train-lspet-0": 6, "train-mpii": 12, "dev": 5}
    assert [person.source for person in data.people] == ["lspet"] * 6 + ["mpii"] * 12
    # The drawn pack's LSPET people lack the pelvis; the two models do not.
    assert np.allclose(data.weights[:6, 6], 1)
    assert (data.weights[6:] == 1).all()
    assert [person.id for person in data.development] == [f"mpii_{index}" for index in (0, 2, 3, 4)]
