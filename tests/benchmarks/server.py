"""A server in processes of its own: started, asked until it answers, weighed, stopped."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.processes import family
from tests.benchmarks.wire import Answer, Call, Connection

ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 20


class ServerError(Exception):
    """A server did not start; the message ends with what it printed last."""


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        port: Where it listens on this machine.
        pid: Its first process.
        start_seconds: From the command to the first answer.
        first: That answer.
    """

    port: int
    pid: int
    start_seconds: float
    first: Answer

    def batches(self) -> dict[int, int]:
        """How many batches of each size our service has run so far, from its metrics."""
        text = asyncio.run(_ask(self.port, Call("/metrics"))).body.decode()
        metric = next(family for family in text_string_to_metric_families(text) if family.name == "pose_batch_size")
        counts, below = {}, 0
        for sample in metric.samples:
            if sample.name.endswith("_bucket") and sample.labels["le"] != "+Inf":
                counts[int(float(sample.labels["le"]))] = int(sample.value) - below
                below = int(sample.value)
        return counts


@contextlib.contextmanager
def serving(
    command: Sequence[str], call: Call, folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start a server, and stop it at the end.

    Args:
        command: What to start; `{port}` stands for the port to listen on.
        call: A request that is answered with 200 when the server is ready.
        folder: Where to start it.
        environment: Variables beside those of this process.

    Raises:
        ServerError: It ended, or did not answer within two minutes.
    """
    port = _free_port()
    words = [word.format(port=port) for word in command]
    variables = {"DSNT_POSE_DRAIN_DELAY_SECONDS": "0", **os.environ, **(environment or {})}  # there is no balancer
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            first = _first_answer(process, port, call)
            if first.status != 200:
                log.seek(0)
                told = log.read().decode(errors="replace")[-2000:]
                raise ServerError(f"{' '.join(words)} does not answer: {first}\n{told}")
            yield Server(port, process.pid, time.perf_counter() - start, first)
        finally:
            _stop(process)


@contextlib.contextmanager
def paused(server: Server) -> Iterator[None]:
    """Stop a server's processes for a while: some poll while they wait, which costs whoever is measured beside them."""
    members = family(server.pid)
    _send(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(members, signal.SIGCONT)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _first_answer(process: "subprocess.Popen[bytes]", port: int, call: Call) -> Answer:
    """The first answer with status 200, or the last one before patience or the process ended."""
    answer, limit = Answer(0, b""), time.monotonic() + _START_SECONDS
    while answer.status != 200 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
        with contextlib.suppress(OSError):
            answer = asyncio.run(_ask(port, call))
    return answer


async def _ask(port: int, call: Call) -> Answer:
    connection = await Connection.open(port)
    try:
        async with asyncio.timeout(_START_SECONDS):
            return await connection.ask(call.message())
    finally:
        connection.close()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    members = family(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    _send(members, signal.SIGKILL)
    process.wait()


def _send(members: Sequence[int], number: signal.Signals) -> None:
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)
