import io
import json

import pytest

from service.cli.main import main
from tests.support.standin import StandIn


def test_report_times_single_images_and_prints_table_4(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--runs", "7"]) == 0
    printed = capsys.readouterr().out
    assert engine.is_warm
    assert engine.batches == [1] * 7
    assert "\nDSNTr ResNet-50@28px " in printed
    assert "\nstand-in, here " in printed
    assert "of 7 runs: runs timed for this report" in " ".join(printed.split())


def test_report_prints_what_the_route_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["paper", "deployment", "notes"]
    assert report["deployment"]["time"]["runs"] == 50


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str) -> str:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["report", "--runs", "1", *arguments]) == 0
    terminal.seek(0)
    return terminal.read()


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", "+-"), ("cp1252", "±"), ("utf-8", "±")])
def test_a_terminal_without_a_plus_minus_sign_gets_a_table_too(
    encoding: str, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(monkeypatch, encoding).splitlines()
    assert f"18.6 {sign} 0.5" in lines[9]
    assert len({len(line) for line in lines[2:12]}) == 1, "the columns are not aligned"


def test_json_on_an_ascii_terminal_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = json.loads(printed(monkeypatch, "ascii", "--json"))["notes"]
    assert any("Mean ± standard deviation" in note for note in notes)


@pytest.mark.parametrize("runs", ["0", "-1", "1.5", "x"])
def test_report_needs_a_run(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", f"--runs={runs}"])
    assert f"argument --runs: {runs} is not a whole number of at least 1" in capsys.readouterr().err
