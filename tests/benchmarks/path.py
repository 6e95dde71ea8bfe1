"""The path: what HTTP, decoding and cropping cost a photo, with a network that answers at once."""

import asyncio
import statistics
import sys
import time
from typing import Any, Final

from tests.benchmarks.generator import closed_loop
from tests.benchmarks.photos import Photo, large_photo, small_photo
from tests.benchmarks.server import Server, serving
from tests.benchmarks.tables import line
from tests.benchmarks.wire import Connection

_LIKE_SERVE: Final = "--http h11 --ws none --no-access-log --no-server-header"
UVICORN: Final = (sys.executable, "-m", "uvicorn", "--port", "{port}", *_LIKE_SERVE.split())
SERVICE: Final = (*UVICORN, "--factory", "tests.benchmarks.noop:service")
ECHO: Final = (*UVICORN, "--lifespan", "off", "tests.benchmarks.noop:echo")

_WARM_UP_ROUNDS: Final = 10
_FEWEST_ROUNDS: Final = 10
_CLIENTS: Final = 32


def measure(seconds: float) -> dict[str, Any]:
    """Ask for small and large photos with a box, one by one and from 32 clients."""
    photos = (small_photo(), large_photo())
    share = seconds / len(photos) / 2
    with serving(SERVICE, photos[0].call) as service, serving(ECHO, photos[0].call) as echo:
        alone = [asyncio.run(_rounds(service, echo, photo, share)) for photo in photos]
        loaded = [
            {"photo": photo.name, "clients": _CLIENTS, **closed_loop(service, photo.call, _CLIENTS, share).figures()}
            for photo in photos
        ]
    figures = {"alone": alone, "loaded": loaded}
    _show(figures)
    return figures


async def _rounds(service: Server, echo: Server, photo: Photo, seconds: float) -> dict[str, Any]:
    """Medians of the service, the echo, and decoding and cropping in this process, taken in turns."""
    message = photo.call.message()
    connections = [await Connection.open(server.port) for server in (service, echo)]
    rounds: list[tuple[float, float, float]] = []
    start = time.perf_counter()
    while len(rounds) < _WARM_UP_ROUNDS + _FEWEST_ROUNDS or time.perf_counter() < start + seconds:
        times = []
        for connection in connections:
            begin = time.perf_counter()
            assert (await connection.ask(message)).status == 200
            times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        photo.cut()
        rounds.append((*times, time.perf_counter() - begin))
    for connection in connections:
        connection.close()
    medians = [statistics.median(column) * 1000 for column in zip(*rounds[_WARM_UP_ROUNDS:], strict=True)]
    names = ("service_ms", "echo_ms", "decode_and_crop_ms")
    return {
        "photo": photo.name,
        "bytes": len(photo.data),
        "rounds": len(rounds),
        **dict(zip(names, medians, strict=True)),
    }


def _show(figures: dict[str, Any]) -> None:
    """Print what the path costs, alone and under load."""
    print(line("one client, median ms", "service", "echo", "decode+crop", "beyond both"))
    for row in figures["alone"]:
        service, echo, prepared = (row[f"{name}_ms"] for name in ("service", "echo", "decode_and_crop"))
        print(line(row["photo"], *(f"{ms:.2f}" for ms in (service, echo, prepared, service - echo - prepared))))
    print()
    print(line(f"{_CLIENTS} clients", "req/s", "CPU ms", "load CPU ms"))
    for row in figures["loaded"]:
        own = (f"{row[name]:.2f}" for name in ("server_cpu_ms", "generator_cpu_ms"))
        print(line(row["photo"], row["per_second"], *own))
