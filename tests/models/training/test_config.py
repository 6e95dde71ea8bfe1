import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from models.training.config import Phase, TrainingConfig

REQUIRED = ["--data", "x", "--out", "y"]


def test_the_command_line_reads_every_field_with_its_type() -> None:
    files = ["--start", "z.onnx", "z.pt", "--pseudo-labels", "own.jsonl.gz"]
    numbers = ["--phases", "64/16:80", "224/8:40", "--depth", "18", "--sigma", "4", "--seed", "3", "--keep", "2"]
    config = TrainingConfig.parse([*REQUIRED, *files, *numbers, "--regulariser", "kl", "--frozen-statistics"])
    expected = TrainingConfig(
        data=Path("x"),
        out=Path("y"),
        start=(Path("z.onnx"), Path("z.pt")),
        pseudo_labels=(Path("own.jsonl.gz"),),
        frozen_statistics=True,
        phases=(Phase(64, 16, 80), Phase(224, 8, 40)),
        depth=18,
        regulariser="kl",
        sigma=4.0,
        seed=3,
        keep=2,
    )
    assert config == expected
    assert config.crops == 120


def test_what_is_left_out_is_the_fields_default() -> None:
    assert TrainingConfig.parse(REQUIRED) == TrainingConfig(data=Path("x"), out=Path("y"))


def test_help_names_every_field_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        TrainingConfig.parse(["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for each in fields(TrainingConfig):
        assert f"--{each.name.replace('_', '-')} " in shown
    assert "128/16:80000 192/16:60000 224/8:12000" in shown


def test_options_become_json_and_paths_and_places_decide_nothing() -> None:
    config = TrainingConfig(data=Path("x"), out=Path("y"), phases=(Phase(64, 16, 80),))
    options = json.loads(json.dumps(config.to_json()))
    assert options["phases"] == ["64/16:80"]
    assert options["data"] == "x"
    assert set(options) == {each.name for each in fields(TrainingConfig)}
    elsewhere = replace(config, data=Path("a"), out=Path("b"), start=(Path("c"),), device="cpu", threads=3, keep=1)
    elsewhere = replace(elsewhere, pseudo_labels=(Path("d"),))
    assert elsewhere.deciding() == config.deciding()
    for name, value in {
        "frozen_statistics": True,
        "rate": 1.0,
        "seed": 1,
        "batch": 8,
        "phases": (Phase(64, 8, 80),),
    }.items():
        assert replace(config, **{name: value}).deciding() != config.deciding()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--evaluate-every", "0"], "--evaluate-every is at least 1, not 0"),
        (["--batch", "0"], "--batch is at least 1, not 0"),
        (["--keep", "0"], "--keep is at least 1, not 0"),
        (["--rate", "-1"], "--rate is a number above 0, not -1.0"),
        (["--rate", "nan"], "--rate is a number above 0, not nan"),
        (["--weight", "-0.5"], "--weight is a number from 0 up, not -0.5"),
        (["--phases", "64/16:3", "64/8:4", "--batch", "8"], "have 7 crops together, fewer than one batch of 8"),
        (["--phases", "128:60000"], "a phase is SIZE/STRIDE:CROPS such as 128/16:60000, not 128:60000"),
        (["--phases", "128/12:600"], "a phase's stride is one of 4, 8, 16, 32, not 12"),
        (["--phases", "100/16:600"], "a phase's size is a multiple of its stride 16, not 100"),
        (["--phases", "128/16:0"], "a phase has at least 1 crop, not 0"),
        (["--activation", "tanh"], "'tanh' (choose from"),
        (["--regulariser", "l2"], "'l2' (choose from"),
        (["--optimiser", "sgd"], "'sgd' (choose from"),
        (["--schedule", "line"], "'line' (choose from"),
        (["--depth", "19"], "19 (choose from"),
        (["--frozen-stages", "5"], "5 (choose from"),
    ],
)
def test_options_of_no_run_are_refused_in_a_sentence(
    option: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        TrainingConfig.parse([*REQUIRED, *option])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m models.training: error: ")
    assert sentence in last


@pytest.mark.parametrize(("name", "value"), [("activation", "tanh"), ("depth", 19), ("optimiser", "sgd")])
def test_unknown_names_are_refused_without_the_command_line_too(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"--{name} is one of .*, not {value}"):
        TrainingConfig(data=Path("x"), out=Path("y"), **{name: value})
