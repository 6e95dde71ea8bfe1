from pathlib import Path

import pytest

from service.metrics import Metrics
from tests.support.standin import StandIn


@pytest.fixture(scope="session")
def exported() -> set[str]:
    """Names of all series that the service exports."""
    metrics = Metrics()
    metrics.describe_model(StandIn().info)
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    return (Path(__file__).parents[1] / "photos/astronaut.jpg").read_bytes()
