"""The load: clients in a closed loop and open arrivals, from a process of its own."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import uvloop
from numpy.typing import NDArray

from tests.benchmarks.processes import cpu_seconds, run_apart
from tests.benchmarks.server import Server
from tests.benchmarks.wire import Call, Connection

_TIMEOUT_SECONDS: Final = 60
_WARM_UP: Final = 0.1  # of the window's length, before it
_SEED: Final = 0


@dataclass(frozen=True)
class Load:
    """What came back in a window of time.

    Attributes:
        seconds: Length of the window.
        answered: Answers with status 200 that came within it.
        latencies: float64 [N], seconds from when each request was due to its answer.
        lags: float64 [N], seconds from when each request was due to its sending: the generator's own fault.
        statuses: int64 [N], 0 for a lost connection or no answer in a minute.
        server_cpu_seconds: Processor time of the server's processes in the window.
        generator_cpu_seconds: Likewise of the generator.
    """

    seconds: float
    answered: int
    latencies: NDArray[np.float64]
    lags: NDArray[np.float64]
    statuses: NDArray[np.int64]
    server_cpu_seconds: float
    generator_cpu_seconds: float

    @classmethod
    def pooled(cls, loads: Sequence["Load"]) -> Self:
        """Several windows as one."""
        arrays = ("latencies", "lags", "statuses")
        values = {field.name: [getattr(load, field.name) for load in loads] for field in fields(cls)}
        return cls(**{name: np.concatenate(each) if name in arrays else sum(each) for name, each in values.items()})

    def figures(self) -> dict[str, Any]:
        """What a table and a plot need: rates by second, times in milliseconds, processor time by answer."""
        is_ok = self.statuses == 200
        p50, p90, p99 = np.percentile(self.latencies[is_ok], (50, 90, 99)) * 1000 if is_ok.any() else [None] * 3
        return {
            "seconds": self.seconds,
            "requests": len(self.statuses),
            "per_second": self.answered / self.seconds,
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "errors": {str(status): int((self.statuses == status).sum()) for status in set(self.statuses[~is_ok])},
            "lag_p99_ms": np.percentile(self.lags, 99) * 1000 if len(self.lags) else None,
            "server_cpu_ms": self.server_cpu_seconds * 1000 / max(1, self.answered),
            "generator_cpu_ms": self.generator_cpu_seconds * 1000 / max(1, self.answered),
        }


def closed_loop(server: Server, call: Call, clients: int, seconds: float) -> Load:
    """Clients that each send the next request when the last is answered; what is answered in the window counts."""
    return run_apart(_run, server, call, seconds, clients=clients)


def open_loop(server: Server, call: Call, per_second: float, seconds: float) -> Load:
    """Requests that come by chance (Poisson), answered or not before; what is due in the window counts.

    A request's time runs from when it was due, so one that has to wait to be sent is not spared.
    """
    return run_apart(_run, server, call, seconds, per_second=per_second)


def _run(server: Server, call: Call, seconds: float, clients: int = 0, per_second: float = 0.0) -> Load:
    load = _Generator(server, call, seconds)
    return uvloop.run(load.run(load.closed(clients) if clients else load.open(per_second), by_due=not clients))


class _Generator:
    def __init__(self, server: Server, call: Call, seconds: float) -> None:
        self._server = server
        self._message = call.message()
        self._start = time.perf_counter()
        self._begin = self._start + _WARM_UP * seconds
        self._end = self._begin + seconds
        self._records: list[tuple[float, float, float, int]] = []  # due, sent, finished, status
        self._idle: list[Connection] = []

    async def run(self, requests: Coroutine[Any, Any, None], by_due: bool) -> Load:
        (server_cpu, own_cpu), _ = await asyncio.gather(self._cpu_seconds(), requests)
        due, sent, finished, status = np.array(self._records, np.float64).reshape(-1, 4).T
        in_window = (finished >= self._begin) & (finished < self._end)
        chosen = (due >= self._begin) & (due < self._end) if by_due else in_window
        return Load(
            seconds=self._end - self._begin,
            answered=int((in_window & (status == 200)).sum()),
            latencies=(finished - due)[chosen],
            lags=(sent - due)[chosen],
            statuses=status[chosen].astype(np.int64),
            server_cpu_seconds=server_cpu,
            generator_cpu_seconds=own_cpu,
        )

    async def closed(self, clients: int) -> None:
        async def client() -> None:
            while (now := time.perf_counter()) < self._end:
                await self._request(due=now)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def open(self, per_second: float) -> None:
        gaps, due = np.random.default_rng(_SEED), self._start
        async with asyncio.TaskGroup() as group:
            while (due := due + gaps.exponential(1 / per_second)) < self._end:
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(self._request(due))

    async def _request(self, due: float) -> None:
        connection = self._kept() or await Connection.open(self._server.port)
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                status = (await connection.ask(self._message)).status
        except TimeoutError:
            status = 0
        self._records.append((due, sent, time.perf_counter(), status))
        if status:
            self._idle.append(connection)
        else:
            connection.close()

    def _kept(self) -> Connection | None:
        """The connection that has been idle for the shortest time, if any is still open."""
        self._idle = [connection for connection in self._idle if connection.is_open]
        return self._idle.pop() if self._idle else None

    async def _cpu_seconds(self) -> tuple[float, float]:
        """Of the server and of this process, in the window."""
        await asyncio.sleep(self._begin - time.perf_counter())
        server, own = cpu_seconds(self._server.pid), time.process_time()
        await asyncio.sleep(self._end - time.perf_counter())
        return cpu_seconds(self._server.pid) - server, time.process_time() - own
