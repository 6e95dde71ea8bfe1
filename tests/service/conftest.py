import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.api.app import create_app
from service.metrics import Metrics
from service.settings import Settings
from tests.service.client import Client, serving
from tests.service.standin import StandIn

PHOTOS = Path(__file__).parents[1] / "photos"


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    return (PHOTOS / "astronaut.jpg").read_bytes()


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
    with serving(create_app(settings, lambda _: engine)) as client:
        yield client


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return encode
