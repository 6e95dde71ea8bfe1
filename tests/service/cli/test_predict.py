import dataclasses
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from service.cli.main import main
from tests.support.paths import PHOTOS
from tests.support.standin import StandIn

ASTRONAUT = str(PHOTOS / "astronaut.jpg")


def test_predict_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", ASTRONAUT, "--box", "60,10,300,500", "--box=-9,0,50,50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "photo 512 x 512"
    assert lines[2] == "person 0, box 60, 10, 300, 500"
    assert sum(line.startswith("left_wrist") for line in lines) == 2


def test_predict_prints_the_services_own_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", ASTRONAUT, "--json"]) == 0
    (person,) = json.loads(capsys.readouterr().out)["people"]
    assert person["whole_image"] is True
    assert len(person["joints"]) == 16
    assert "heatmaps" not in person


def test_heatmaps_are_printed_as_json_only(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", ASTRONAUT, "--json", "--heatmaps"]) == 0
    assert json.loads(capsys.readouterr().out)["people"][0]["heatmaps"]["shape"] == [16, 28, 28]
    engine.batches.clear()
    assert main(["predict", ASTRONAUT, "--heatmaps"]) == 2
    assert capsys.readouterr().err == "dsnt-pose: --heatmaps needs --json: a table has no room for them\n"
    assert engine.batches == []


def test_predict_draws(tmp_path: Path) -> None:
    assert main(["predict", ASTRONAUT, "-o", str(tmp_path / "out.png")]) == 0
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.size == (512, 512)


def test_predict_refuses_an_unknown_kind_of_picture_at_once(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["predict", ASTRONAUT, "-o", "out.unknown"])
    assert "out.unknown does not end as a picture does" in capsys.readouterr().err
    assert engine.batches == []


def test_predict_has_as_much_time_as_it_needs(
    engine: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many images as a request may have, of a server that could not answer one in time."""
    monkeypatch.setenv("DSNT_POSE_DEADLINE_SECONDS", "1e-9")
    monkeypatch.setenv("DSNT_POSE_DRAIN_SECONDS", "0")
    engine.batch_sizes = (1,)
    boxes = [f"--box={7 * index},10,90,200" for index in range(64)]
    assert main(["predict", ASTRONAUT, "--flip", "--refine", *boxes]) == 0
    assert capsys.readouterr().out.count("\nperson ") == 64
    assert 2 * 64 < len(engine.batches) <= 3 * 2 * 64


def test_a_joint_that_the_terminal_cannot_spell_is_escaped(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = engine.info.spec
    joints = ("coude_gauché", *spec.skeleton.joints[1:])
    skeleton = dataclasses.replace(spec.skeleton, joints=joints)
    engine.info = dataclasses.replace(engine.info, spec=dataclasses.replace(spec, skeleton=skeleton))
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["predict", ASTRONAUT, "--no-refine"]) == 0
    terminal.seek(0)
    assert "\ncoude_gauch\\xe9 " in terminal.read()
