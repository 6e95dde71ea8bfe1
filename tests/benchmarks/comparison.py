"""Peers: the same model file and photo behind what a user would write or pick instead, in turns with our service."""

import json
import sysconfig
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import ModelSpec
from service.host import usable_cpus
from service.inference.providers import PROVIDERS, Plan, open_session
from service.settings import Settings
from tests.benchmarks import load
from tests.benchmarks.environments import PEERS_FOLDER, python_of
from tests.benchmarks.generator import Load, closed_loop
from tests.benchmarks.peer import PEERS, Peer
from tests.benchmarks.photos import small_photo
from tests.benchmarks.processes import peak_resident_mib
from tests.benchmarks.server import Server, ServerError, paused, serving
from tests.benchmarks.tables import errors, line
from tests.benchmarks.wire import Call

OURS: Final = "dsnt-pose"

_CLIENTS: Final = (1, 32)
_ROUNDS: Final = 4


def measure(seconds: float) -> dict[str, Any]:
    """Load our service and each peer with the same photo in turns, for about `seconds` altogether.

    Environments that are missing are made first; a peer that does not install or start is told of and left out.
    """
    photo, settings = small_photo(), Settings.load()
    threads = settings.threads or usable_cpus()
    plan, _ = open_session(settings, threads, ModelSpec.statement)
    environment = _environment(plan, threads)
    servers: dict[str, dict[str, Any]] = {}
    print(_HEAD)
    with serving(load.SERVICE, photo.call) as ours:
        turns = _Turns(ours, photo.call, seconds / (len(PEERS) * len(_CLIENTS) * _ROUNDS * 2))
        for name, peer in PEERS.items():
            try:
                servers[name] = _measure_peer(name, peer, environment, turns)
            except (ServerError, OSError) as error:
                servers[name] = {"failed": str(error)}
            _print(name, servers[name])
        passes = [{"clients": clients, **Load.pooled(turns.own[clients]).figures()} for clients in _CLIENTS]
        own = {"joints_off_px": 0.0, **_weight(ours), "passes": passes}
    _print(OURS, own)
    names = {"provider": plan.provider, "precision": plan.precision, "threads": threads}
    return {**names, "photo": photo.name, "servers": {OURS: own, **servers}}


class _Turns:
    """Passes of our service and of a peer by turns: the machine changes its pace from one minute to the next.

    Attributes:
        ours: Our service.
        own: Every pass of our service by number of clients.
    """

    def __init__(self, ours: Server, call: Call, pass_seconds: float) -> None:
        self.ours = ours
        self.own: dict[int, list[Load]] = {clients: [] for clients in _CLIENTS}
        self._call = call
        self._pass_seconds = pass_seconds

    def take(self, peer: Server, call: Call, clients: int) -> dict[str, Any]:
        """A peer's figures over all rounds, and ours as a multiple of its throughput, over all and by round."""
        own: list[Load] = []
        theirs: list[Load] = []
        both = [(own, self.ours, self._call, peer), (theirs, peer, call, self.ours)]
        for _ in range(_ROUNDS):
            for loads, server, asked, other in both:
                with paused(other):
                    loads.append(closed_loop(server, asked, clients, self._pass_seconds))
            both.reverse()
        self.own[clients] += own
        return {
            "clients": clients,
            **Load.pooled(theirs).figures(),
            "ours_is": _ratio(own, theirs),
            "ours_is_by_round": [_ratio([a], [b]) for a, b in zip(own, theirs, strict=True)],
        }


def _measure_peer(name: str, peer: Peer, environment: dict[str, str], turns: _Turns) -> dict[str, Any]:
    command, call = (str(python_of(name)), *peer.command), peer.call(small_photo())
    with serving(command, call, PEERS_FOLDER, environment) as server:
        off = np.abs(_positions(peer.joints(json.loads(server.first.body))) - _wanted(turns.ours))
        passes = [turns.take(server, call, clients) for clients in _CLIENTS]
        return {"joints_off_px": float(np.nanmax(off)), **_weight(server), "passes": passes}


def _weight(server: Server) -> dict[str, float]:
    return {"start_seconds": server.start_seconds, "peak_resident_mib": peak_resident_mib(server.pid)}


def _ratio(own: Sequence[Load], theirs: Sequence[Load]) -> float | None:
    """Our throughput as a multiple of theirs; None where they answered nothing."""
    ours, others = (sum(each.answered for each in loads) for loads in (own, theirs))
    return ours / others if others else None


def _environment(plan: Plan, threads: int) -> dict[str, str]:
    """What tells the peers which session to make."""
    provider = PROVIDERS[plan.provider]
    session = {
        "model": str(plan.file),
        "provider": provider.long_name,
        "options": provider.options(plan.precision, threads, 1),
        "threads": threads,
    }
    return {
        "POSE_SESSION": json.dumps(session),
        "BENTOML_DO_NOT_TRACK": "true",
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),  # Triton's backend loads Python as a library
    }


def _wanted(ours: Server) -> NDArray[np.float64]:
    """Our joints [16, 2]; nan where a joint is not in the picture: it may be anywhere, and moves with the decoder."""
    joints = json.loads(ours.first.body)["people"][0]["joints"]
    return _positions([(j["x"], j["y"]) if j["confidence"] >= 0.5 else (np.nan, np.nan) for j in joints])


def _positions(joints: list[Any]) -> NDArray[np.float64]:
    """Joints as an answer has them, nested or not, in photo pixels [16, 2]."""
    return np.array(joints, np.float64).reshape(16, 2)


_HEAD: Final = line("server", "clients", "req/s", "p50 ms", "p99 ms", "ours is", "by round", "peak MiB", "off by px")


def _print(name: str, found: dict[str, Any]) -> None:
    """A server's lines."""
    if "failed" in found:
        print(f"{name:<24}{found['failed']}")
        return
    for taken in found["passes"]:
        by_round = [ratio for ratio in taken.get("ours_is_by_round", []) if ratio is not None]
        spread = f"{min(by_round):.2f}-{max(by_round):.2f}" if by_round else None
        ratio = f"{taken['ours_is']:.2f} x" if by_round else None
        cells = (taken["clients"], taken["per_second"], taken["p50_ms"], taken["p99_ms"], ratio, spread)
        weight = (found["peak_resident_mib"], f"{found['joints_off_px']:.2f}")
        print(line(name, *cells, *weight) + "  ".join(["", *errors(taken)]))
