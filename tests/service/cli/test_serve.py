import socket

import pytest

from service.api.server import listen
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


def test_the_second_of_two_starts_ends_before_the_model_loads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.cli.serve.open_networks", lambda _: pytest.fail("the model is loaded"))
    with listen("127.0.0.1", 0) as first:  # which binds, and does not listen yet
        port = first.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert capsys.readouterr().err == f"dsnt-pose: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_port_that_another_takes_meanwhile_ends_the_start_with_one_sentence(
    engine: StandIn, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        engine.warm_up = other.listen  # type: ignore[method-assign]
        assert main(["serve", "--port", str(port)]) == 2
    sentence = f"cannot listen on 127.0.0.1:{port}: another process began to do so meanwhile"
    assert capsys.readouterr().err == f"dsnt-pose: {sentence}\n"
    assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]
