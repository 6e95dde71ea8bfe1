import pytest

from service.cli import predict, report, serve
from tests.support.standin import StandIn


@pytest.fixture(autouse=True)
def stand_in(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in computes for every command."""
    for command in (serve, predict, report):
        monkeypatch.setattr(command, "OnnxEngine", lambda _: engine)
