"""The network: ONNX sessions behind a small protocol."""

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import INPUT, OUTPUTS, Contract, ContractError, check_tensors
from models.spec.crop import INPUT_SIZE
from service.errors import StartupError
from service.host import first_gpu, peak_resident_bytes, resident_bytes, usable_cpus
from service.inference.providers import open_another, open_session
from service.settings import Settings

_log = logging.getLogger(__name__)

_SMALL_OUTPUTS: Final = OUTPUTS[:3]  # all but the heatmaps, which are the last
ON_GPU: Final = ("cuda", "tensorrt")


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the network says of N crops with J joints.

    Attributes:
        coordinates: float32 [N, J, 2], x then y, normalised (-1 to 1 over the crop).
        covariance: float32 [N, J, 3], Var x, Cov xy, Var y, normalised units squared.
        confidence: float32 [N, J], 0 to 1.
        heatmaps: float32 [N, J, rows, columns], each sums to 1; None where nobody asked for them.
    """

    coordinates: NDArray[np.float32]
    covariance: NDArray[np.float32]
    confidence: NDArray[np.float32]
    heatmaps: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, rows: slice) -> "Estimates":
        """The estimates of a range of crops."""
        heatmaps = None if self.heatmaps is None else self.heatmaps[rows]
        return Estimates(self.coordinates[rows], self.covariance[rows], self.confidence[rows], heatmaps)

    @classmethod
    def concatenate(cls, parts: Sequence["Estimates"]) -> Self:
        """Several estimates as one, in order; without heatmaps where a part has none."""
        heatmaps = [part.heatmaps for part in parts if part.heatmaps is not None]
        return cls(
            coordinates=np.concatenate([part.coordinates for part in parts]),
            covariance=np.concatenate([part.covariance for part in parts]),
            confidence=np.concatenate([part.confidence for part in parts]),
            heatmaps=np.concatenate(heatmaps) if len(heatmaps) == len(parts) else None,
        )


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is computing: names for answers and metrics, and the contract of the model file.

    Attributes:
        as_asked: Whether the provider is the one asked for, which for `auto` is the best installed.
        gpu: Name of NVML's first card, where a GPU computes and it can be told.
    """

    name: str
    version: str
    provider: str
    precision: str
    threads: int
    contract: Contract
    as_asked: bool = True
    gpu: str | None = None


class Engine(Protocol):
    """Runs the network on batches of crops."""

    @property
    def info(self) -> EngineInfo:
        """What computes."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Sizes of batch that run at full speed, ascending from 1."""

    @property
    def streams(self) -> int:
        """How many calls of `run` may be under way at once, then shared ones; with 1, there are none such."""

    def warm_up(self) -> None:
        """Run everything once that would be slow the first time."""

    def run(self, images: NDArray[np.uint8], heatmaps: bool = False, shared: bool = False) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3] with 1 <= N <= `batch_sizes[-1]`.

        Heatmaps are 99 % of the answer's bytes, so they are copied out only when asked for. A shared call takes one
        stream's part of the processor; any other takes all of it, and must be the only one under way.
        """

    def memory_bytes(self) -> float:
        """Memory that inference has needed: our reading of Table 4's last column."""

    def session_bytes(self) -> float:
        """What the runtime and its session have added to the process' resident set; nan where that is not told."""


class OnnxEngine:
    """Sessions of onnxruntime that keep the contract of `models.spec.contract`.

    A GPU computes batches, each size in a session of its own: onnxruntime keeps its choice of CUDA algorithms for one
    size only, and choosing takes 0.15 s where computing takes 3 ms. A processor computes few images one by one with all
    of its threads, and more side by side in the streams of a second session, each with its share: a batch's threads
    would wait for each other at every layer.

    Raises:
        StartupError: The model file or the runtime cannot do what the settings ask for.
    """

    def __init__(self, settings: Settings) -> None:
        self._gpu = first_gpu()
        self._device_bytes_before = self._device_bytes()
        resident_before = resident_bytes()
        threads = settings.threads or usable_cpus()
        self._plan, self._session = open_session(settings, threads)
        self._session_bytes = resident_bytes() - resident_before
        plan = self._plan
        contract = self._read_contract(plan.file)
        on_gpu = plan.provider in ON_GPU
        self._info = EngineInfo(
            contract.name,
            contract.version,
            plan.provider,
            plan.precision,
            threads,
            contract,
            plan.as_asked,
            self._gpu.name if self._gpu and on_gpu else None,
        )
        self._batch_sizes = buckets(settings.max_batch or 8) if on_gpu else (1,)
        self._larger: dict[int, Any] = {}
        self._most_streams = 1 if on_gpu else min(threads, settings.max_batch or 4)
        self._shared: Any = None
        named = f"{contract.name}, version {contract.version}, from {plan.file}"
        _log.info("%s, on %s (%s), %d threads", named, plan.provider, plan.precision, threads)

    def _read_contract(self, path: Path) -> Contract:
        try:
            contract = Contract.from_metadata(self._session.get_modelmeta().custom_metadata_map)
            check_tensors(self._session.get_inputs(), self._session.get_outputs(), contract)
        except ContractError as error:
            raise StartupError(f"{path} is not a model of this service: {error}") from error
        return contract

    @property
    def info(self) -> EngineInfo:
        """What computes."""
        return self._info

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Sizes of batch that run at full speed, ascending from 1."""
        return self._batch_sizes

    @property
    def streams(self) -> int:
        """How many calls of `run` may be under way at once, then shared ones; 1 before `warm_up`."""
        return self._most_streams if self._shared else 1

    def warm_up(self) -> None:
        """Open the sessions for larger batches, or for streams, and run each once."""
        start = time.perf_counter()
        image = np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
        resident_before = resident_bytes()
        self._larger = {size: open_another(self._plan, self._info.threads) for size in self._batch_sizes[1:]}
        if self._most_streams > 1:
            self._shared = open_another(self._plan, self._info.threads, self._most_streams)
        self._session_bytes += resident_bytes() - resident_before
        for size in self._batch_sizes:
            self.run(image.repeat(size, axis=0))
        if self._shared:
            with ThreadPoolExecutor(self._most_streams) as pool:
                list(pool.map(lambda _: self.run(image, shared=True), range(self._most_streams)))
        _log.info("warmed up in %.2f s, streams: %d", time.perf_counter() - start, self.streams)

    def run(self, images: NDArray[np.uint8], heatmaps: bool = False, shared: bool = False) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3]; padded to the next size that runs at full speed."""
        count = len(images)
        size = next((size for size in self._batch_sizes if size >= count), count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        session = self._shared if shared else self._larger.get(size, self._session)
        binding = session.io_binding()
        binding.bind_cpu_input(INPUT, images)
        for name in OUTPUTS if heatmaps else _SMALL_OUTPUTS:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        coordinates, covariance, confidence, *maps = binding.copy_outputs_to_cpu()
        return Estimates(coordinates, covariance, confidence, maps[0] if heatmaps else None)[:count]

    def memory_bytes(self) -> float:
        """On a GPU the memory in use less its value before the first session; on a CPU the peak resident set."""
        if self._info.provider in ON_GPU:
            return self._device_bytes() - self._device_bytes_before
        return peak_resident_bytes()

    def session_bytes(self) -> float:
        """What the runtime and its session have added to the process' resident set; nan where that is not told."""
        return self._session_bytes

    def _device_bytes(self) -> float:
        return self._gpu.memory_used() if self._gpu else math.nan


def buckets(largest: int) -> tuple[int, ...]:
    """The batch sizes 1, 2, 4, 8, ... up to `largest`, which is always the last."""
    powers = (2**exponent for exponent in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)
