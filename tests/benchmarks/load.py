"""The service over HTTP: closed loops of 1 to 64 clients, open arrivals up to more than it can take, four photos."""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from service.host import usable_cpus
from service.settings import Settings
from tests.benchmarks import path
from tests.benchmarks.generator import Load, closed_loop, open_loop
from tests.benchmarks.photos import Photo, large_photo, small_photo, whole
from tests.benchmarks.processes import peak_resident_mib
from tests.benchmarks.server import Server, serving
from tests.benchmarks.session import Witness, time_batch, time_batches
from tests.benchmarks.tables import line, remarks

SERVICE: Final = (sys.executable, "-m", "service", "serve", "--port", "{port}")

_CLIENTS: Final = (1, 2, 4, 8, 16, 32, 64)
_SHARES_OF_CAPACITY: Final = (0.5, 0.8, 0.95, 1.2)
_MANY: Final = 32
_ROUNDS: Final = 6
_PASSES_OF_ROUNDS: Final = 3  # in whose time all rounds are taken


def measure(seconds: float) -> dict[str, Any]:
    """Load the service in every way, for about `seconds` altogether."""
    photo = small_photo()
    others = (whole(photo), large_photo(), whole(large_photo()))
    count = len(_CLIENTS) + len(_SHARES_OF_CAPACITY) + len(others) + _PASSES_OF_ROUNDS
    pass_seconds = seconds / (count + 2)  # the bare session and the path are two more
    witness = Witness(Settings.load(), pass_seconds)
    session = [asdict(batch) for batch in time_batches(witness.engine, pass_seconds)]
    with serving(path.SERVICE, photo.call) as server:
        no_network = closed_loop(server, photo.call, _MANY, witness.window_seconds).figures()
    with serving(SERVICE, photo.call) as server:
        rounds = _take_turns(server, witness, [photo, *others], _PASSES_OF_ROUNDS * pass_seconds)
        print(line("photo", "load", "req/s", "p50 ms", "p90 ms", "p99 ms", "CPU ms") + "  batches")
        taker = _Taker(server, witness)
        closed = [taker.closed(photo, clients) for clients in _CLIENTS]
        capacity = max(found["per_second"] for found in closed)
        opened = [taker.open(photo, share, share * capacity) for share in _SHARES_OF_CAPACITY]
        other = [taker.closed(other, _MANY) for other in others]
        weight = {"start_seconds": server.start_seconds, "peak_resident_mib": peak_resident_mib(server.pid)}
    cores = _cores(session, no_network, next(found for found in closed if found["clients"] == _MANY))
    passes = {"in_turns": rounds, "closed": closed, "open": opened, "other_photos": other}
    figures = {**witness.engine_names(), **weight, "session": session, **passes, "cores": cores}
    _show(figures)
    return figures


def _take_turns(server: Server, witness: Witness, photos: Sequence[Photo], seconds: float) -> dict[str, Any]:
    """Time the bare session and one client with each photo in turns: a shared machine changes its pace within minutes.

    Returns:
        Medians in milliseconds by round, of the session and of each photo.
    """
    window = seconds / (_ROUNDS * (len(photos) + 1))
    session: list[float] = []
    clients: dict[str, list[float]] = {photo.name: [] for photo in photos}
    for _ in range(_ROUNDS):
        session.append(time_batch(witness.engine, 1, window).median_ms)
        for photo in photos:
            clients[photo.name].append(closed_loop(server, photo.call, 1, window).figures()["p50_ms"])
    turns = {"session_ms": session, "client_ms": clients}
    _show_turns(turns)
    return turns


class _Taker:
    """Takes passes of a running service."""

    def __init__(self, server: Server, witness: Witness) -> None:
        self._server = server
        self._witness = witness

    def closed(self, photo: Photo, clients: int) -> dict[str, Any]:
        names = {"photo": photo.name, "load": f"{clients} client{'s' * (clients > 1)}", "clients": clients}
        return self._take(names, lambda seconds: closed_loop(self._server, photo.call, clients, seconds))

    def open(self, photo: Photo, share: float, per_second: float) -> dict[str, Any]:
        names = {"photo": photo.name, "load": f"open, {share:.0%}", "arrivals_per_second": per_second}
        return self._take(names, lambda seconds: open_loop(self._server, photo.call, per_second, seconds))

    def _take(self, names: dict[str, Any], load: Callable[[float], Load]) -> dict[str, Any]:
        def measured(seconds: float) -> dict[str, Any]:
            before = self._server.batches()
            figures = load(seconds).figures()
            after = self._server.batches()
            return {
                **figures,
                "batches": {size: after[size] - before[size] for size in after if after[size] > before[size]},
            }

        found = names | self._witness.steadily(measured)
        times = (found[name] for name in ("p50_ms", "p90_ms", "p99_ms", "server_cpu_ms"))
        batches = ", ".join(f"{count} of {size}" for size, count in found["batches"].items())
        print(line(found["photo"], found["load"], found["per_second"], *times) + f"  {batches}{remarks(found)}")
        return found


def _cores(session: list[dict[str, Any]], no_network: dict[str, Any], loaded: dict[str, Any]) -> dict[str, float]:
    """What the cores allow if an image costs no more than its inference alone, its way with no network, and its client.

    Processor time of an image in milliseconds, images by second, and what was reached with many clients.
    """
    best = max(session, key=lambda batch: float(batch["images_per_second"]))
    parts = {
        "inference_cpu_ms": best["cpu_ms"],
        "path_cpu_ms": no_network["server_cpu_ms"],
        "generator_cpu_ms": loaded["generator_cpu_ms"],
    }
    allowed = usable_cpus() * 1000 / sum(parts.values())
    reached = loaded["per_second"]
    return {
        **parts,
        "service_cpu_ms": loaded["server_cpu_ms"],
        "allowed_per_second": allowed,
        "reached_per_second": reached,
        "share_of_allowed": reached / allowed,
        "share_of_session": reached / best["images_per_second"],
    }


def _show_turns(turns: dict[str, Any]) -> None:
    """Print how long one client waits, beside the session of the same round."""
    session = turns["session_ms"]
    print(line("one client, in turns", "median ms", "more ms", "times", "by round"))
    print(line("the bare session", statistics.median(session)))
    for name, client in turns["client_ms"].items():
        ratios = [waited / alone for waited, alone in zip(client, session, strict=True)]
        more = statistics.median(waited - alone for waited, alone in zip(client, session, strict=True))
        times = (f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}")
        print(line(name, statistics.median(client), more, *times))
    print()


def _show(figures: dict[str, Any]) -> None:
    """Print what the passes come to."""
    cores = figures["cores"]
    parts = " + ".join(f"{cores[f'{part}_cpu_ms']:.1f}" for part in ("inference", "path", "generator"))
    print(
        f"\n{_MANY} clients: {cores['reached_per_second']:.1f} images/s, {cores['share_of_session']:.2f} of the bare "
        f"session's best\n  {cores['share_of_allowed']:.2f} of the {cores['allowed_per_second']:.1f} that the cores "
        f"allow, {usable_cpus()} / ({parts}) CPU ms: inference, path, load generator"
    )
    memory = f"{figures['peak_resident_mib']:.0f} MiB"
    print(f"start to first answer: {figures['start_seconds']:.1f} s; peak resident set: {memory}")
