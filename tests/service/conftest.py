from collections.abc import Iterator

import pytest

from service.api.app import create_app
from service.inference.engine import Networks
from service.metrics import Metrics
from service.settings import Settings
from tests.support.client import Client, serving
from tests.support.standin import StandIn


@pytest.fixture
def settings() -> Settings:
    return Settings(deadline_seconds=20, max_body_bytes=2**20)


@pytest.fixture
def engine() -> Iterator[StandIn]:
    engine = StandIn()
    yield engine
    engine.gate.set()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(settings: Settings, engine: StandIn) -> Iterator[Client]:
    with serving(create_app(settings, lambda _: Networks(engine))) as client:
        yield client
