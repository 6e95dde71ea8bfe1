import pytest

from service.cli.main import main
from tests.support.standin import StandIn


@pytest.fixture(autouse=True)
def own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handlers are this process' own


def test_a_service_that_cannot_start_ends_with_one_sentence(
    engine: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DSNT_POSE_DEADLINE", "9")
    engine.fails_on = lambda _: RuntimeError("no memory")
    assert main(["serve", "--port", "0"]) == 2
    assert "DSNT_POSE_DEADLINE is not a setting; did you mean DSNT_POSE_DEADLINE_SECONDS?" in caplog.messages
    assert capsys.readouterr().err == "dsnt-pose: the service cannot start: no memory\n"
