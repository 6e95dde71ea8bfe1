"""Peers: the same model file and photo behind what a user would write or pick instead, in the same run."""

import json
import sysconfig
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.cpus import usable_cpus
from service.session import PROVIDERS, open_session, provider_options
from service.settings import Settings
from tests.benchmarks import load
from tests.benchmarks.environments import PEERS_FOLDER, python_of
from tests.benchmarks.generator import closed_loop
from tests.benchmarks.peer import PEERS, Peer
from tests.benchmarks.photos import small_photo
from tests.benchmarks.processes import peak_resident_mib
from tests.benchmarks.server import Server, ServerError, serving
from tests.benchmarks.session import Witness
from tests.benchmarks.tables import line, remarks
from tests.benchmarks.wire import Call

OURS: Final = "dsnt-pose"

_CLIENTS: Final = (1, 32)


def measure(seconds: float) -> dict[str, Any]:
    """Load our service and each peer with the same photo, for about `seconds` altogether.

    Environments that are missing are made first; a peer that does not install or start is told of and left out.
    """
    photo, settings = small_photo(), Settings.load()
    witness = Witness(settings, seconds / (len(PEERS) + 1) / len(_CLIENTS))
    environment = _environment(settings)
    print(_HEAD)
    with serving(load.SERVICE, photo.call) as server:
        joints = json.loads(server.first.body)["people"][0]["joints"]
        # A joint that is not in the picture may be anywhere, and is elsewhere when a photo is decoded otherwise.
        wanted = _positions([(j["x"], j["y"]) if j["confidence"] >= 0.5 else (np.nan, np.nan) for j in joints])
        servers = {OURS: {"joints_off_px": 0.0, **_load(server, photo.call, witness)}}
    _print(OURS, servers)
    for name, peer in PEERS.items():
        try:
            servers[name] = _measure_peer(name, peer, environment, wanted, witness)
        except (ServerError, OSError) as error:
            servers[name] = {"failed": str(error)}
        _print(name, servers)
    return {**witness.engine_names(), "photo": photo.name, "servers": servers}


def _measure_peer(
    name: str, peer: Peer, environment: dict[str, str], wanted: NDArray[np.float64], witness: Witness
) -> dict[str, Any]:
    command, call = (str(python_of(name)), *peer.command), peer.call(small_photo())
    with serving(command, call, PEERS_FOLDER, environment) as server:
        joints = _positions(peer.joints(json.loads(server.first.body)))
        return {"joints_off_px": float(np.nanmax(np.abs(joints - wanted))), **_load(server, call, witness)}


def _load(server: Server, call: Call, witness: Witness) -> dict[str, Any]:
    passes = []
    for clients in _CLIENTS:
        found = witness.steadily(lambda seconds, n=clients: closed_loop(server, call, n, seconds).figures())
        passes.append({"clients": clients, **found})
    return {
        "start_seconds": server.start_seconds,
        "peak_resident_mib": peak_resident_mib(server.pid),
        "passes": passes,
    }


def _environment(settings: Settings) -> dict[str, str]:
    """What tells the peers which session to make."""
    threads = settings.threads or usable_cpus()
    plan, _ = open_session(settings, threads)
    session = {
        "model": str(plan.file),
        "provider": PROVIDERS[plan.provider],
        "options": provider_options(plan, threads),
        "threads": threads,
    }
    return {
        "POSE_SESSION": json.dumps(session),
        "BENTOML_DO_NOT_TRACK": "true",
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),  # Triton's backend loads Python as a library
    }


def _positions(joints: list[Any]) -> NDArray[np.float64]:
    """Joints as an answer has them, nested or not, in photo pixels [16, 2]."""
    return np.array(joints, np.float64).reshape(16, 2)


_HEAD: Final = line("server", "clients", "req/s", "p50 ms", "p99 ms", "ours is", "peak MiB", "off by px")


def _print(name: str, servers: dict[str, Any]) -> None:
    """A server's lines, with our throughput as a multiple of its own."""
    found = servers[name]
    if "failed" in found:
        print(f"{name:<24}{found['failed']}")
        return
    for ours, theirs in zip(servers[OURS]["passes"], found["passes"], strict=True):
        ratio = f"{ours['per_second'] / theirs['per_second']:.2f} x" if theirs["per_second"] else None
        times = (theirs["per_second"], theirs["p50_ms"], theirs["p99_ms"])
        cells = (theirs["clients"], *times, ratio, found["peak_resident_mib"], f"{found['joints_off_px']:.2f}")
        print(line(name, *cells) + remarks(theirs))
