"""The raw session: every provider and precision that this machine has, with 1 and 2 threads, batches and streams."""

import time
from dataclasses import asdict
from typing import Any, Final, get_args

from models.spec.contract import ModelSpec
from service.errors import StartupError
from service.host import peak_resident_bytes
from service.inference.onnx_engine import OnnxEngine
from service.settings import Precision, Provider, Settings
from tests.benchmarks.processes import run_apart
from tests.benchmarks.server import ROOT
from tests.benchmarks.session import time_batches
from tests.benchmarks.tables import line

_THREADS: Final = (1, 2)


def measure(seconds: float) -> dict[str, Any]:
    """Time each session in a process of its own, for about `seconds` altogether."""
    names = [(provider, precision) for provider in get_args(Provider) for precision in get_args(Precision)]
    refusals = {name: run_apart(_refusal, *name) for name in names if "auto" not in name}
    possible = [name for name, refusal in refusals.items() if refusal is None]
    share = seconds / max(1, len(possible) * len(_THREADS))
    sessions = [run_apart(_time_session, *name, threads, share) for name in possible for threads in _THREADS]
    refused = list(dict.fromkeys(refusal for refusal in refusals.values() if refusal))
    figures = {"chosen": run_apart(_chosen), "sessions": sessions, "refused": refused}
    _show(figures)
    return figures


def _refusal(provider: str, precision: str) -> str | None:
    """Why the service would not start with these settings; None where it would."""
    try:
        OnnxEngine(Settings.load(provider=provider, precision=precision), ModelSpec)
    except StartupError as error:
        return str(error).replace(f"{ROOT}/", "")
    return None


def _chosen() -> dict[str, Any]:
    """What the service takes when it is told nothing else."""
    info = OnnxEngine(Settings.load(), ModelSpec).info
    return {"provider": info.provider, "precision": info.precision, "threads": info.threads}


def _time_session(provider: str, precision: str, threads: int, seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    engine = OnnxEngine(Settings.load(provider=provider, precision=precision, threads=threads), ModelSpec)
    engine.warm_up()
    start_seconds = time.perf_counter() - start
    batches = [asdict(batch) for batch in time_batches(engine, seconds)]
    return {
        "provider": provider,
        "precision": precision,
        "threads": threads,
        "start_seconds": start_seconds,
        "peak_resident_mib": peak_resident_bytes() / 2**20,
        "batches": batches,
    }


def _show(figures: dict[str, Any]) -> None:
    """Print a line for each session and size of batch; the service's own choice is starred."""
    print(line("session", "threads", "streams", "batch", "median ms", "images/s", "CPU ms", "peak MiB"))
    for session in figures["sessions"]:
        star = "*" if all(session[key] == value for key, value in figures["chosen"].items()) else " "
        for batch in session["batches"]:
            name = f"{star} {session['provider']} {session['precision']}"
            shape = (session["threads"], batch["streams"], batch["batch"])
            times = (batch["median_ms"], batch["images_per_second"], batch["cpu_ms"])
            print(line(name, *shape, *times, session["peak_resident_mib"]))
    print("* the service's own choice here")
    for refusal in figures["refused"]:
        print(f"not here: {refusal}")
