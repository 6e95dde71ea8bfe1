import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.data.pack import PackError
from models.data.person_views import PersonViews
from models.data.scene_views import View
from models.data.scenes import Scene
from models.networks.checkpoint import read_checkpoint
from models.networks.finder import FinderNetwork, cells, decode, grid_shapes
from models.networks.pose import normalise
from models.training import finder
from models.training.assignment import corners, iou
from models.training.finder import FinderRun, main, mixed, parameter_groups, prepare, train
from models.training.finder_batches import SceneBatches
from models.training.finder_config import FinderConfig
from models.training.options import RunError
from models.training.record import digest

Configure = Callable[..., FinderConfig]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of which every cell states low scores, as detectors are begun."""
    torch.manual_seed(0)
    network = FinderNetwork()
    with torch.no_grad():
        for head in network.head:
            head[1].bias[0] = -3.0
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture
def configure(scenes_pack: Path, start: Path, tmp_path: Path) -> Configure:
    """`configure(views=16, ...)`: a small run on the drawn scenes."""

    def small(**options: Any) -> FinderConfig:
        fixed = {"data": scenes_pack, "start": start, "out": tmp_path / "run", "threads": 1, "device": "cpu"}
        return FinderConfig(**{**fixed, "sizes": (64,), "batch": 4, "save_every": 8, **options})

    return small


def log(config: FinderConfig) -> list[dict[str, str]]:
    with (config.out / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_steps_on_one_batch_lower_its_loss_and_find_its_people(configure: Configure) -> None:
    config = configure(views=400, rate=1e-3, backbone_rate=1.0)
    run, data = prepare(config)
    batch = SceneBatches.of(data.scenes, config).draw(8)
    assert [len(people) for people in batch.people] == [2, 0, 0, 0]
    before = run.loss(batch).item()
    for _ in range(60):
        run.step(batch)
    assert run.seen == 240
    assert run.loss(batch).item() < 0.7 * before
    with torch.no_grad():
        findings = run.network(normalise(batch.pictures))
    scores, surest = findings.logits.sigmoid().max(1)
    assert scores[0] > 0.4
    assert (scores[1:] < 0.1).all()
    boxes = corners(decode(findings.sides, cells(grid_shapes(64, 64))))
    assert iou(boxes[0, surest[0]], corners(batch.people[0])).max() > 0.6


def test_the_loss_is_nearly_the_same_in_bfloat16(configure: Configure) -> None:
    run, data = prepare(configure(views=4))
    batch = SceneBatches.of(data.scenes, run.config).draw(0)
    exact = run.loss(batch).item()
    run.config = replace(run.config, precision="bfloat16")
    assert run.loss(batch).item() == pytest.approx(exact, rel=0.02)
    assert run.loss(batch).item() != exact


@pytest.mark.slow
def test_a_run_logs_and_writes_weights_mixed_with_the_start(configure: Configure, start: Path) -> None:
    config = configure(views=60, save_every=20, rate=1e-3, backbone_rate=1.0, share=0.25)
    train(config)
    assert [int(line["views"]) for line in log(config)] == [20, 40, 60]
    record = json.loads((config.out / "run.json").read_text())
    assert record["data"]["scenes-train-0"]["photos"] == 9
    assert set(record["data"]) == {"start", "scenes-train-0", "scenes-train-1"}
    average = read_checkpoint(config.out / "checkpoint.pt")["average"]
    before, after = load_file(start), load_file(config.out / "finder.safetensors")
    assert set(after) == set(before)
    for name, value in after.items():
        assert value.dtype == torch.float16
        assert torch.allclose(value.float(), 0.75 * before[name] + 0.25 * average[name], rtol=1e-3, atol=1e-6)
    assert any((average[name] - before[name]).abs().max() > 1e-3 for name in before)


def test_a_resumed_run_equals_the_uninterrupted_one(
    configure: Configure, finder_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = configure(views=20, data=finder_pack, people=0.4)
    resumed = replace(whole, out=whole.out.with_name("resumed"))
    train(whole)
    step = FinderRun.step

    def interrupted(run: FinderRun, batch: Any) -> None:
        if run.seen >= 12:
            raise KeyboardInterrupt
        step(run, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FinderRun, "step", interrupted)
        train(resumed)
    assert [line["views"] for line in log(resumed)] == ["8"]
    train(resumed)
    assert [line["views"] for line in log(resumed)] == ["8", "16", "20"]
    assert log(resumed) == log(whole)
    ours, theirs = (load_file(config.out / "finder.safetensors") for config in (whole, resumed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_people_packs_are_read_and_recorded_where_the_options_ask_for_views_of_people(
    configure: Configure, finder_pack: Path
) -> None:
    def recorded(config: FinderConfig, people: int) -> dict[str, Any]:
        _, data = prepare(config)
        assert len(data.people) == people
        record: dict[str, Any] = json.loads((config.out / "run.json").read_text())
        return record["data"]

    without = configure(data=finder_pack)
    scenes = recorded(without, people=0)
    assert set(scenes) == {"start", "scenes-train-0", "scenes-train-1"}
    both = recorded(replace(without, people=0.4, out=without.out.with_name("people")), people=12 + 6)
    assert set(both) == {*scenes, "train-mpii", "train-lspet-0"}
    assert both["scenes-train-0"] == scenes["scenes-train-0"]
    assert both["train-mpii"] == {
        "people": 12,
        "tar": digest(finder_pack / "train-mpii.tar"),
        "jsonl": digest(finder_pack / "train-mpii.jsonl.gz"),
    }


def test_a_run_learns_from_the_people_packs(
    configure: Configure, finder_pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = []
    view = PersonViews.view

    def noted(views: PersonViews, person: Scene, *rest: Any) -> View:
        sources.append(person.source)
        return view(views, person, *rest)

    monkeypatch.setattr(PersonViews, "view", noted)
    train(configure(views=8, data=finder_pack, people=1.0))
    assert len(sources) == 8
    assert set(sources) <= {"mpii", "lspet"}
    assert "15 photos and 18 people, float32 on cpu" in capsys.readouterr().out


def test_people_without_labels_or_without_photos_to_paste_them_over_are_refused(
    configure: Configure, finder_pack: Path, scenes_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PackError, match=r"holds no training pack \(train-\*\.tar"):
        prepare(configure(data=scenes_pack, people=0.4))
    read = finder.read_scenes
    with monkeypatch.context() as patch, pytest.raises(PackError, match=r"no photo of nobody, which --people 0\.4"):
        patch.setattr(finder, "read_scenes", lambda *packs: [scene for scene in read(*packs) if len(scene.boxes)])
        prepare(configure(data=finder_pack, people=0.4))
    monkeypatch.setattr(finder, "read_people", lambda *packs: [])
    with pytest.raises(PackError, match=r"nobody with enough labelled joints for --people 0\.4"):
        prepare(configure(data=finder_pack, people=0.4))


def test_a_finished_run_stays_as_it_is(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(views=4)
    train(config)
    before = {path.name: path.read_bytes() for path in config.out.iterdir()}
    with pytest.raises(RunError, match=r"rate was 0\.0001 and is 0\.01"):
        train(replace(config, rate=1e-2))
    capsys.readouterr()
    train(config)
    assert "written: " in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in config.out.iterdir()} == before


def test_the_backbone_learns_slowly_and_biases_do_not_decay(configure: Configure) -> None:
    network = FinderNetwork()
    groups = parameter_groups(network, configure(backbone_rate=0.3, weight_decay=0.02))
    of = {id(p): (group["times"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        is_backbone = name.startswith(("stem", "stages"))
        assert of[id(parameter)] == (0.3 if is_backbone else 1.0, 0.02 if name.endswith("weight") else 0.0)


def test_mixing_is_a_weighted_mean() -> None:
    start, trained = {"a": torch.tensor([0.0, 4.0])}, {"a": torch.tensor([2.0, 0.0])}
    assert mixed(start, trained, 0.25)["a"].tolist() == [0.5, 3.0]
    assert mixed(start, trained, 0.0)["a"].tolist() == [0.0, 4.0]


def test_what_no_run_can_begin_with_is_one_sentence(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(config: FinderConfig) -> str:
        arguments = ["--data", str(config.data), "--start", str(config.start), "--out", str(config.out)]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--batch", str(config.batch), "--views", "64", "--device", config.device])
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert "has 15 photos for training, fewer than --batch 16" in refusal(configure(batch=16, views=64))
    assert "cannot be read as weights" in refusal(configure(start=broken))
    assert "holds no training pack" in refusal(configure(data=tmp_path))
    assert "--device nowhere" in refusal(configure(device="nowhere"))


def test_a_picture_that_cannot_be_decoded_ends_the_run(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    read = finder.read_scenes
    monkeypatch.setattr(
        finder, "read_scenes", lambda *packs: [replace(scene, picture=b"no picture") for scene in read(*packs)]
    )
    with pytest.raises(PackError, match=r"the picture of scenes-train-._. cannot be decoded"):
        train(configure(views=4))
