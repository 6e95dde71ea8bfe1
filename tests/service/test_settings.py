import os
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from service.errors import StartupError
from service.settings import PREFIX, Settings, environment_warnings

DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}
FIELDS = pytest.mark.parametrize(("name", "field"), Settings.model_fields.items(), ids=Settings.model_fields)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def limits_of(field: FieldInfo) -> dict[str, Any]:
    return {sign: getattr(rule, sign) for sign in ("gt", "ge", "le") for rule in field.metadata if hasattr(rule, sign)}


def another_value(field: FieldInfo) -> Any:
    """A value that is allowed and not the default."""
    if choices := get_args(field.annotation):
        return next(choice for choice in choices if choice != field.default)
    if "le" in limits_of(field):
        return type(field.default)(limits_of(field)["le"])
    return type(field.default)("/another")


@FIELDS
def test_each_variable_sets_its_own_setting_and_no_other(
    name: str, field: FieldInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = another_value(field)
    monkeypatch.setenv(f"DSNT_POSE_{name.upper()}", str(value))
    assert Settings.load().model_dump() == {**DEFAULTS, name: value}


@FIELDS
def test_what_is_chosen_goes_before_the_environment(
    name: str, field: FieldInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DSNT_POSE_{name.upper()}", str(field.default))
    value = another_value(field)
    assert getattr(Settings.load(**{name: str(value)}), name) == value
    monkeypatch.setenv(f"DSNT_POSE_{name.upper()}", str(value))
    assert getattr(Settings.load(**{name: None}), name) == value


@FIELDS
def test_a_value_beyond_its_bounds_is_one_sentence_that_names_them(
    name: str, field: FieldInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = limits_of(field)
    wrong = {"gt": lambda limit: limit, "ge": lambda limit: limit - 1, "le": lambda limit: limit + 1}
    values = {str(wrong[sign](limit)): str(limit) for sign, limit in limits.items()}
    if choices := get_args(field.annotation):
        values = {"abacus": "'" + "', '".join(choices[:-1])}
    assert values or isinstance(field.default, str | Path), "a number has bounds"
    for value, limit in values.items():
        monkeypatch.setenv(f"DSNT_POSE_{name.upper()}", value)
        with pytest.raises(StartupError) as refusal:
            Settings.load()
        sentence = str(refusal.value)
        assert sentence.startswith(f"the setting {name} is wrong (DSNT_POSE_{name.upper()} = '{value}': ")
        assert limit in sentence
        assert "\n" not in sentence


@FIELDS
def test_a_bound_itself_is_allowed_and_so_is_the_default(name: str, field: FieldInfo) -> None:
    limits = limits_of(field)
    for value in (field.default, *(limits[sign] for sign in ("ge", "le") if sign in limits)):
        assert getattr(Settings.load(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "text"), [("port", "x"), ("threads", "1.5"), ("deadline_seconds", "soon")])
def test_a_value_of_the_wrong_kind_is_refused(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=f"--{name.replace('_', '-')} = '{text}': Input should be a valid "):
        Settings.load(**{name: text})
    monkeypatch.setenv(f"DSNT_POSE_{name.upper()}", text)
    with pytest.raises(StartupError, match=f"DSNT_POSE_{name.upper()} = '{text}': Input should be a valid "):
        Settings.load()


@pytest.mark.parametrize("prefix", ["vision", "/vision/", "//vision", "/", "/<b>", "/a b", "/" + "x" * 200])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    assert Settings.load(root_path="/vision/pose-1.0").root_path == "/vision/pose-1.0"
    with pytest.raises(StartupError, match=f"the setting root_path is wrong .--root-path = '{prefix}': String should "):
        Settings.load(root_path=prefix)


def test_the_models_path_is_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DSNT_POSE_MODEL", str(tmp_path / "own model.onnx"))
    assert Settings.load().model == tmp_path / "own model.onnx"


def test_settings_do_not_change_under_way() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().port = 1  # type: ignore[misc]


KUBERNETES = {
    "DSNT_POSE_PORT": "tcp://10.96.12.7:8000",
    "DSNT_POSE_SERVICE_HOST": "10.96.12.7",
    "DSNT_POSE_SERVICE_PORT": "8000",
    "DSNT_POSE_SERVICE_PORT_HTTP": "8000",
    "DSNT_POSE_PORT_8000_TCP": "tcp://10.96.12.7:8000",
    "DSNT_POSE_PORT_8000_TCP_PROTO": "tcp",
    "DSNT_POSE_PORT_8000_TCP_PORT": "8000",
    "DSNT_POSE_PORT_8000_TCP_ADDR": "10.96.12.7",
    "DSNT_POSE_MODEL_SERVICE_HOST": "10.96.12.8",
    "DSNT_POSE_MODEL_PORT": "tcp://10.96.12.8:80",
    "DSNT_POSE_MODEL_PORT_80_TCP_ADDR": "10.96.12.8",
}
"""What Kubernetes sets for the Services dsnt-pose and dsnt-pose-model."""


def test_what_kubernetes_sets_for_a_service_does_not_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert Settings.load().model_dump() == DEFAULTS
    assert environment_warnings(KUBERNETES) == [
        "DSNT_POSE_PORT = 'tcp://10.96.12.7:8000' is the address of a Kubernetes Service, not a port; "
        "the default 8000 is used"
    ]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), "")
    assert Settings.load().model_dump() == DEFAULTS
    assert environment_warnings() == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("DSNT_POSE_THREDS", "DSNT_POSE_THREDS is not a setting; did you mean DSNT_POSE_THREADS?"),
        ("dsnt_pose_max_peple", "DSNT_POSE_MAX_PEPLE is not a setting; did you mean DSNT_POSE_MAX_PEOPLE?"),
        ("DSNT_POSE_ZZZ", "DSNT_POSE_ZZZ is not a setting"),
    ],
)
def test_an_unknown_variable_is_named_with_the_setting_that_it_resembles(name: str, sentence: str) -> None:
    assert environment_warnings({name: "4", "DSNT_POSE_THREADS": "4", "THREDS": "4"}) == [sentence]
