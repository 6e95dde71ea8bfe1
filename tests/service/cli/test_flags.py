"""Settings and options are flags: each is said once, in its field."""

import re

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from service.cli.flags import (
    ENGINE_SETTINGS,
    PHOTO_SETTINGS,
    SERVER_SETTINGS,
    Parser,
    add_options,
    add_settings,
    bounds,
    read_options,
    read_settings,
)
from service.errors import BadOption, StartupError
from service.poses.options import Options
from service.settings import Settings


def parser() -> Parser:
    parser = Parser("test")
    add_settings(parser, SERVER_SETTINGS)
    add_options(parser, boxes={"flag": "--box", "metavar": "X,Y,W,H", "more": "May be repeated."})
    return parser


def help_of(flag: str) -> str:
    """The flag's own lines of the help, as one."""
    text = parser().format_help()
    (own,) = re.findall(rf"^  {flag}\b.*\n(?: {{4,}}.*\n)*", text, re.MULTILINE)
    return " ".join(own.split())


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_flag_with_its_description_bounds_and_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    field = Settings.model_fields[name]
    shown = help_of("--" + name.replace("_", "-"))
    assert str(field.description) in shown
    assert f"default: {field.default if field.default != '' else 'none'})" in shown
    assert bounds(field) in shown


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Field(0, ge=0, le=65535), "0 to 65,535"),
        (Field(1.0, gt=0, le=3600), "above 0, at most 3,600"),
        (Field(1, ge=1), "at least 1"),
        (Field("x"), ""),
    ],
)
def test_bounds_in_words(field: FieldInfo, words: str) -> None:
    assert bounds(field) == words


def test_the_kind_of_a_value_is_said() -> None:
    usage = " ".join(parser().format_usage().split())
    for part in ("[--port N]", "[--model FILE]", "[--host TEXT]", "[--log-level debug|info|warning|error]"):
        assert part in usage


def test_flags_go_before_the_environment_and_the_rest_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSNT_POSE_PORT", "9000")
    monkeypatch.setenv("DSNT_POSE_MAX_PEOPLE", "7")
    chosen = parser().parse_args(["--port", "0", "--deadline-seconds", "1.5", "--model", "a.onnx"])
    settings = read_settings(chosen)
    assert (settings.port, settings.max_people, settings.deadline_seconds, str(settings.model)) == (0, 7, 1.5, "a.onnx")


def test_a_wrong_value_names_the_flag_or_the_variable_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=r"--max-people = '0': Input should be greater than or equal to 1\)$"):
        read_settings(parser().parse_args(["--max-people", "0"]))
    monkeypatch.setenv("DSNT_POSE_MAX_PEOPLE", "0")
    with pytest.raises(StartupError, match="DSNT_POSE_MAX_PEOPLE = '0': "):
        read_settings(parser().parse_args([]))


def test_a_command_may_have_some_of_the_settings() -> None:
    narrow = Parser("test")
    add_settings(narrow, ENGINE_SETTINGS + PHOTO_SETTINGS)
    chosen = narrow.parse_args(["--threads", "1"])
    assert set(vars(chosen)) == {*ENGINE_SETTINGS, *PHOTO_SETTINGS}
    assert read_settings(chosen).threads == 1


@pytest.mark.parametrize("name", Options.model_fields)
def test_every_option_is_a_flag_with_its_description(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    assert str(Options.model_fields[name].description) in help_of({"boxes": "--box"}.get(name, f"--{name}"))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], Options()),
        (["--flip"], Options(flip=True)),
        (["--no-flip"], Options()),
        (["--heatmaps"], Options(heatmaps=True)),
        (["--refine"], Options(refine=True)),
        (["--no-refine"], Options(refine=False)),
        (["--box", "1,2,3,4", "--box=-5,6.5,7,8"], Options(boxes=[[1, 2, 3, 4], [-5, 6.5, 7, 8]])),
    ],
)
def test_flags_are_a_requests_options(arguments: list[str], options: Options) -> None:
    assert read_options(parser().parse_args(arguments), max_people=2) == options


def test_more_boxes_than_the_limit_are_refused() -> None:
    with pytest.raises(BadOption, match="the request has 2 boxes; the limit is 1"):
        read_options(parser().parse_args(["--box", "1,2,3,4", "--box", "1,2,3,4"]), max_people=1)


def test_a_percent_sign_in_a_description_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Settings.model_fields, "threads", Field(0, description="At most 100 % of them."))
    assert "At most 100 % of them. (default: 0)" in help_of("--threads")


def test_a_wrong_command_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--port"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "test: argument --port: expected one argument; --help says more\n"


def test_options_and_settings_share_no_name() -> None:
    assert not Options.model_fields.keys() & Settings.model_fields.keys()
