import os
from pathlib import Path

import pytest

from service.cli.main import build_parser, main
from tests.support.paths import PHOTOS
from tests.support.standin import StandIn

ASTRONAUT = str(PHOTOS / "astronaut.jpg")


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        assert main(["predict", ASTRONAUT, "-o", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["predict", "none.jpg"], 2, "cannot read none.jpg: No such file or directory"),
        (["predict", "two\nlines.jpg"], 2, "cannot read two lines.jpg: No such file or directory"),
        (["predict", __file__], 1, "are not a photo in any of the formats"),
        (["predict", ASTRONAUT, "--max-pixels", "9"], 1, "the limit is 9"),
        (["predict", ASTRONAUT, "--box", "1,2,3"], 1, "must be four numbers"),
        (["predict", ASTRONAUT, "-o", "none/out.png"], 2, "cannot write none/out.png"),
        (["report", "--threads", "-1"], 2, "--threads = '-1': Input should be greater than or equal to 0"),
        (["serve", "--port", "x"], 2, "the setting port is wrong"),
        (["serve", "--host", "203.0.113.1"], 2, "cannot listen on 203.0.113.1:8000: "),
        (["serve", "--host", "a..b"], 2, "cannot listen on a..b:8000: "),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    printed = capsys.readouterr().err
    assert printed.startswith("dsnt-pose: ")
    assert sentence in printed
    assert printed.count("\n") == 1


def test_a_failure_of_the_network_is_1(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    engine.fails_on = lambda _: RuntimeError("broken")
    assert main(["predict", ASTRONAUT]) == 1
    assert capsys.readouterr().err.startswith("dsnt-pose: ")


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["predict"], ["serve", "--unknown"], ["report", "two\nlines.jpg"]]
)
def test_a_wrong_command_line_is_2_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["serve"], ["predict"], ["report"]):
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        assert "Exit codes: 0 " in capsys.readouterr().out
    assert build_parser().parse_args(["serve"]).run.__module__ == "service.cli.serve"
