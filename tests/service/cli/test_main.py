import json
import os
from pathlib import Path

import pytest
from PIL import Image

from service.cli import main as cli
from tests.support.paths import PHOTOS
from tests.support.standin import StandIn

ASTRONAUT = str(PHOTOS / "astronaut.jpg")


@pytest.fixture(autouse=True)
def stand_in(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "OnnxEngine", lambda _: engine)


def test_predict_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", ASTRONAUT, "--box", "60,10,300,500", "--box=-9,0,50,50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "photo 512 x 512"
    assert lines[2] == "person 0, box 60, 10, 300, 500"
    assert sum(line.startswith("left_wrist") for line in lines) == 2


def test_predict_prints_the_services_own_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", ASTRONAUT, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["people"][0]["whole_image"] is True
    assert len(answer["people"][0]["joints"]) == 16


def test_predict_draws(tmp_path: Path) -> None:
    assert cli.main(["predict", ASTRONAUT, "-o", str(tmp_path / "out.png")]) == 0
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.size == (512, 512)


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        assert cli.main(["predict", ASTRONAUT, "-o", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").exists()


def test_predict_refuses_an_unknown_kind_of_picture_at_once(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["predict", ASTRONAUT, "-o", "out.unknown"])
    assert "out.unknown does not end as a picture does" in capsys.readouterr().err
    assert engine.batches == []


def test_report_times_single_images_and_prints_table_4(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--runs", "7"]) == 0
    printed = capsys.readouterr().out
    assert engine.is_warm
    assert engine.batches == [1] * 7
    assert "\nDSNTr ResNet-50@28px " in printed
    assert "\nstand-in, here " in printed
    assert "of 7 runs: runs timed for this report" in " ".join(printed.split())


def test_report_prints_what_the_route_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["paper", "deployment", "notes"]
    assert report["deployment"]["time"]["runs"] == 50


@pytest.mark.parametrize("runs", ["0", "-1", "1.5", "x"])
def test_report_needs_a_run(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["report", f"--runs={runs}"])
    assert f"argument --runs: {runs} is not a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["predict", "none.jpg"], 2, "cannot read none.jpg: No such file or directory"),
        (["predict", __file__], 1, "are not a photo in any of the formats"),
        (["predict", ASTRONAUT, "--box", "1,2,3"], 1, "must be four numbers"),
        (["predict", ASTRONAUT, "-o", "none/out.png"], 2, "cannot write none/out.png"),
        (["serve", "--port", "x"], 2, "the setting port is wrong"),
        (["serve", "--host", "203.0.113.1"], 2, "cannot listen on 203.0.113.1:8000: "),
        (["serve", "--host", "a..b"], 2, "cannot listen on a..b:8000: "),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    told = capsys.readouterr().err
    assert told.startswith("dsnt-pose: ")
    assert sentence in told
    assert told.count("\n") == 1


def test_a_service_that_cannot_start_ends_with_one_sentence(
    engine: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handlers are this process' own
    monkeypatch.setenv("DSNT_POSE_DEADLINE", "9")
    engine.fails_on = lambda _: RuntimeError("no memory")
    assert cli.main(["serve", "--port", "0"]) == 2
    assert "DSNT_POSE_DEADLINE is not a setting; did you mean DSNT_POSE_DEADLINE_SECONDS?" in caplog.messages
    assert capsys.readouterr().err == "dsnt-pose: the service cannot start: no memory\n"
