from pathlib import Path

import pytest

from service.metrics import Metrics


@pytest.fixture(scope="session")
def exported() -> set[str]:
    """Names of all series that the service exports."""
    metrics = Metrics()
    metrics.describe_model("stand-in", "1", "cpu", "fp32", as_asked=True)
    metrics.describe_accuracy("MPII", 88.1)
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    return (Path(__file__).parents[1] / "photos/astronaut.jpg").read_bytes()
