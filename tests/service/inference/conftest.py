from collections.abc import Iterator

import pytest

from service.metrics import Metrics
from tests.support.bench import Bench
from tests.support.standin import StandIn


@pytest.fixture
def bench(engine: StandIn, metrics: Metrics) -> Iterator[Bench]:
    bench = Bench(engine, metrics)
    yield bench
    engine.gate.set()
    bench.workers.close(20)
