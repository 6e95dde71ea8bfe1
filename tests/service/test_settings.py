import pytest

from service.problems import StartupError
from service.settings import PREFIX, Settings


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
