import pytest

from service.cli import predict, report, serve
from service.inference.engine import Networks
from tests.support.standin import StandIn


@pytest.fixture(autouse=True)
def stand_in(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in computes for every command."""
    for command in (serve, predict):
        monkeypatch.setattr(command, "open_networks", lambda _: Networks(engine))
    monkeypatch.setattr(report, "OnnxEngine", lambda *_: engine)
