import pytest

from service.errors import StartupError
from service.settings import PREFIX, Settings, environment_warnings


def test_every_setting_is_described_and_keeps_its_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
        assert field.description, name
    assert Settings.load() == Settings.model_validate(Settings.load().model_dump())


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSNT_POSE_PORT", "9000")
    monkeypatch.setenv("DSNT_POSE_HOST", "0.0.0.0")
    chosen = Settings.load(port="9001", host=None)
    assert (chosen.port, chosen.host) == (9001, "0.0.0.0")


@pytest.mark.parametrize(("name", "value"), [("port", "70000"), ("provider", "abacus"), ("deadline_seconds", "0")])
def test_a_wrong_setting_is_one_sentence_that_names_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(StartupError, match=f"the setting {name} is wrong .*{PREFIX}{name.upper()} = '{value}'"):
        Settings.load()


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
    default = Settings.load()
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == default
    assert environment_warnings(KUBERNETES) == [
        "DSNT_POSE_PORT = 'tcp://10.96.12.7:8000' is the address of a Kubernetes Service, not a port; "
        "the default 8000 is used"
    ]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = Settings.load()
    monkeypatch.setenv(PREFIX + name.upper(), "")
    assert Settings.load() == default
    assert environment_warnings() == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("DSNT_POSE_THREDS", "DSNT_POSE_THREDS is not a setting; did you mean DSNT_POSE_THREADS?"),
        ("dsnt_pose_max_box", "DSNT_POSE_MAX_BOX is not a setting; did you mean DSNT_POSE_MAX_BOXES?"),
        ("DSNT_POSE_ZZZ", "DSNT_POSE_ZZZ is not a setting"),
    ],
)
def test_an_unknown_variable_is_named_with_the_setting_that_it_resembles(name: str, sentence: str) -> None:
    assert environment_warnings({name: "4", "DSNT_POSE_THREADS": "4", "THREDS": "4"}) == [sentence]
