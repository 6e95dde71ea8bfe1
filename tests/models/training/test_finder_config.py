from dataclasses import fields, replace
from pathlib import Path

import pytest

from models.training.finder_config import FinderConfig

REQUIRED = ["--data", "x", "--out", "y", "--start", "z.safetensors"]


def test_the_command_line_reads_every_field_with_its_type() -> None:
    config = FinderConfig.parse([*REQUIRED, "--views", "64", "--sizes", "64", "96", "--share", "0.3", "--nobody", "2"])
    paths = {"data": Path("x"), "out": Path("y"), "start": Path("z.safetensors")}
    assert config == FinderConfig(**paths, views=64, sizes=(64, 96), share=0.3, nobody=2)
    assert FinderConfig.parse(REQUIRED) == FinderConfig(**paths)
    assert config.to_json()["sizes"] == [64, 96]
    assert set(config.to_json()) == {each.name for each in fields(FinderConfig)}


def test_paths_and_places_decide_nothing() -> None:
    config = FinderConfig.parse(REQUIRED)
    elsewhere = replace(config, data=Path("a"), out=Path("b"), start=Path("c"), threads=3, save_every=1, device="cuda")
    assert elsewhere.deciding() == config.deciding()
    for change in (
        {"rate": 1.0},
        {"sizes": (64,)},
        {"share": 0.1},
        {"precision": "bfloat16"},
        {"beside": 0.0},
        {"people": 0.4},
    ):
        assert replace(config, **change).deciding() != config.deciding()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--views", "15"], "the run has 15 views, fewer than one batch of 16"),
        (["--batch", "0"], "--batch is at least 1, not 0"),
        (["--nobody", "0"], "--nobody is at least 1, not 0"),
        (["--save-every", "0"], "--save-every is at least 1, not 0"),
        (["--rate", "nan"], "--rate is a number above 0, not nan"),
        (["--backbone-rate", "0"], "--backbone-rate is a number above 0, not 0.0"),
        (["--seed", "-1"], "--seed is a number from 0 up, not -1"),
        (["--share", "1.5"], "--share is a number from 0 to 1, not 1.5"),
        (["--people", "-0.1"], "--people is a number from 0 to 1, not -0.1"),
        (["--beside", "nan"], "--beside is a number from 0 to 1, not nan"),
        (["--sizes", "416", "100"], "an input's side is a multiple of 32, not 100"),
        (["--sizes", "0"], "an input's side is a multiple of 32, not 0"),
        (["--precision", "half"], "'half' (choose from"),
    ],
)
def test_options_of_no_run_are_refused_in_a_sentence(
    option: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        FinderConfig.parse([*REQUIRED, *option])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m models.training.finder: error: ")
    assert sentence in last


def test_unknown_names_are_refused_without_the_command_line_too() -> None:
    with pytest.raises(ValueError, match="--precision is one of float32, bfloat16, not half"):
        replace(FinderConfig.parse(REQUIRED), precision="half")
