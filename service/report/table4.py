"""The live Table 4: the paper's seven methods as printed, and below them what this deployment measures of itself.

The paper states no protocol for its Time and Memory; `Report.notes` state ours, in every format.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.spec.contract import JOINT_OUTPUTS, StatedAccuracy
from models.spec.paper import CITATION, COLUMNS, TABLE_4
from service.host import processor_name, usable_cpus
from service.inference.engine import Engine, EngineInfo

Source = Literal["live traffic", "start", "now"]

_RUNS_OF: Final[dict[Source, str]] = {
    "live traffic": "the last single-image batches of live traffic",
    "start": "runs timed when the service started, for want of traffic",
    "now": "runs timed for this report",
}


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class PaperRow(_Document):
    """A row of the paper's Table 4; None where it prints none."""

    method: str
    pckh: dict[str, float] = Field(description="PCKh@0.5 on the MPII test set, percent")
    time_ms: float | None
    time_deviation_ms: float | None
    memory_mib: float | None


class MeasuredTime(_Document):
    """Our reading of Time: forward passes over exactly one image, in milliseconds."""

    mean_ms: float
    deviation_ms: float = Field(description="standard deviation of the runs")
    median_ms: float
    runs: int
    source: Source = Field(description="where the runs come from")


class MeasuredMemory(_Document):
    """Our reading of Memory, in MiB."""

    kind: Literal["peak resident set", "device memory"]
    total_mib: float | None = Field(description="null where the device's memory is unknown")
    session_mib: float | None = Field(
        description="what the runtime and its session added to the process' resident set; null where that is unknown"
    )


class Hardware(_Document):
    """What computed."""

    processor: str
    usable_cpus: int
    gpu: str | None = Field(description="NVML's first card; null on a CPU, or without NVML")
    provider: str
    precision: str
    threads: int


class Deployment(_Document):
    """This deployment's row."""

    model: str
    version: str
    pckh: dict[str, float | None] = Field(description="as the model file states it, percent")
    dataset: str = Field(description="the people that PCKh was measured on")
    people: int | None
    time: MeasuredTime
    memory: MeasuredMemory
    hardware: Hardware


class Report(_Document):
    """The live Table 4."""

    paper: tuple[PaperRow, ...]
    deployment: Deployment
    notes: tuple[str, ...] = Field(description="where the figures come from and what they mean")


def _paper_rows() -> tuple[PaperRow, ...]:
    return tuple(
        PaperRow(
            method=row.name,
            pckh=dict(row.pckh),
            time_ms=row.time_ms,
            time_deviation_ms=row.time_deviation_ms,
            memory_mib=row.memory_mib,
        )
        for row in TABLE_4
    )


def noise(size_px: int) -> NDArray[np.uint8]:
    """A batch of one image of noise, uint8 [1, size, size, 3], the same each time."""
    return np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3), np.uint8)


def time_runs(run: Callable[[], object], runs: int, seconds: float = math.inf) -> list[float]:
    """Seconds of each of `runs` warm runs; none begins once they have taken `seconds` together."""
    times: list[float] = []
    while len(times) < runs and sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def time_engine(engine: Engine, runs: int, seconds: float = math.inf) -> list[float]:
    """`time_runs` of a warm engine, on exactly one image."""
    spec = engine.info.spec
    image = noise(spec.crop.size)
    return time_runs(lambda: engine.run(image, JOINT_OUTPUTS), runs, seconds)


def summarise(seconds: Sequence[float], source: Source) -> MeasuredTime:
    """Mean, standard deviation and median of at least one run."""
    return MeasuredTime(
        mean_ms=round(statistics.fmean(seconds) * 1000, 3),
        deviation_ms=round(statistics.stdev(seconds) * 1000, 3) if len(seconds) > 1 else 0.0,
        median_ms=round(statistics.median(seconds) * 1000, 3),
        runs=len(seconds),
        source=source,
    )


def build_report(engine: Engine, seconds: Sequence[float], source: Source) -> Report:
    """Table 4 with this deployment's row.

    Args:
        engine: The network, warm.
        seconds: Durations of its runs on exactly one image, at least one.
        source: Where these runs come from.
    """
    info, spec = engine.info, engine.info.spec
    deployment = Deployment(
        model=spec.name,
        version=spec.version,
        pckh={column: _finite(figure) for column, figure in _pckh(spec.accuracy).items()},
        dataset=spec.accuracy.dataset,
        people=spec.accuracy.people,
        time=summarise(seconds, source),
        memory=_memory(engine),
        hardware=_hardware(info),
    )
    return Report(paper=_paper_rows(), deployment=deployment, notes=_notes(deployment))


def _pckh(accuracy: StatedAccuracy) -> dict[str, float | None]:
    stated = {**accuracy.per_joint, "Total": accuracy.total}
    return {column: stated.get(column) for column in COLUMNS}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _memory(engine: Engine) -> MeasuredMemory:
    return MeasuredMemory(
        kind="device memory" if engine.info.on_gpu else "peak resident set",
        total_mib=_mib(engine.memory_bytes()),
        session_mib=_mib(engine.session_bytes()),
    )


def _mib(count: float) -> float | None:
    return round(count / 2**20, 1) if math.isfinite(count) else None


def _hardware(info: EngineInfo) -> Hardware:
    return Hardware(
        processor=processor_name(),
        usable_cpus=usable_cpus(),
        gpu=info.gpu,
        provider=info.provider,
        precision=info.precision,
        threads=info.threads,
    )


def _notes(here: Deployment) -> tuple[str, ...]:
    hardware = here.hardware
    memory = {
        "peak resident set": "the peak resident set of the whole process",
        "device memory": "device memory by NVML less its value before there was a session for each size of batch",
    }[here.memory.kind]
    computer = f"{hardware.gpu} and {hardware.processor}" if hardware.gpu else hardware.processor
    people = "an unknown number of" if here.people is None else here.people
    return (
        f"The seven methods are as printed in Table 4 of {CITATION}: PCKh@0.5 on the MPII test set, no flips or "
        "scales. "
        "The paper states neither a protocol for time and memory nor the card that they were measured on; "
        "it trained on a Titan X.",
        f"{here.model} is measured here, by a protocol of our own, on {computer} (usable CPUs: "
        f"{hardware.usable_cpus}), provider {hardware.provider}, {hardware.precision}, threads: {hardware.threads}.",
        "Time: one warm forward pass over exactly one image, with input copy and read-back; the passes of flip and "
        "refine are not added up. Mean ± standard deviation (median in brackets) of "
        f"{here.time.runs} runs: {_RUNS_OF[here.time.source]}.",
        f"Memory: {memory} (in brackets, what the runtime and its session added to the resident set).",
        f"PCKh@0.5 of {here.model} is what its file states, on other people than the seven methods': "
        f"{here.dataset}, {people} people.",
    )
