"""Servers of a test, which end with it whatever becomes of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.test_server import Server, starting

STAND_IN = ("-m", "tests.support.program")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts services, with the stand-in for the network unless another program is named."""
    with ExitStack() as servers:

        def serve(program: Sequence[str] = STAND_IN, **environment: str) -> Server:
            log = tmp_path / f"log-{len(list(tmp_path.iterdir()))}"
            return servers.enter_context(starting(log, program, **environment))

        yield serve
