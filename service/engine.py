"""The network: one ONNX session behind a small protocol."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.contract import INPUT, OUTPUTS, Contract, ContractError, check_tensors
from models.crop import INPUT_SIZE
from service.cpus import usable_cpus
from service.memory import device_memory_used, peak_resident_bytes, resident_bytes
from service.problems import StartupError
from service.session import open_session, open_streams
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
    """

    name: str
    version: str
    provider: str
    precision: str
    threads: int
    contract: Contract
    as_asked: bool = True


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
        """What the runtime and its session have added to the process' resident set."""


class OnnxEngine:
    """A session of onnxruntime that keeps the contract of `models.contract`.

    A GPU computes batches. A processor computes few images one by one with all of its threads, and more side by side in
    the streams of a second session, each with its share: a batch's threads would wait for each other at every layer.

    The CPU and OpenVINO providers are what the project is tested with. The CUDA and TensorRT providers are asked for in
    the same way and checked after the session is made, but were not run here.

    Raises:
        StartupError: The model file or the runtime cannot do what the settings ask for.
    """

    def __init__(self, settings: Settings) -> None:
        self._device_memory = device_memory_used()
        self._memory_before = self._device_memory()
        resident_before = resident_bytes()
        threads = settings.threads or usable_cpus()
        self._plan, self._session = open_session(settings, threads)
        self._session_bytes = resident_bytes() - resident_before
        plan = self._plan
        contract = self._read_contract(plan.file)
        self._info = EngineInfo(
            contract.name, contract.version, plan.provider, plan.precision, threads, contract, plan.as_asked
        )
        self._batch_sizes = _batch_sizes(plan.provider, settings.max_batch or 32)
        self._most_streams = 1 if plan.provider in ON_GPU else min(threads, settings.max_batch or 4)
        self._shared: Any = None
        _log.info("%s on %s (%s), %d threads", contract.name, plan.provider, plan.precision, threads)

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
        """Open the streams, and run once with each batch size that the provider would prepare during a request."""
        start = time.perf_counter()
        image = np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
        for size in self._batch_sizes if self._plan.provider == "tensorrt" else (1,):
            self.run(image.repeat(size, axis=0))
        if self._most_streams > 1:
            resident_before = resident_bytes()
            self._shared = open_streams(self._plan, self._info.threads, self._most_streams)
            self._session_bytes += resident_bytes() - resident_before
            with ThreadPoolExecutor(self._most_streams) as pool:
                list(pool.map(lambda _: self.run(image, shared=True), range(self._most_streams)))
        _log.info("warmed up in %.2f s, streams: %d", time.perf_counter() - start, self.streams)

    def run(self, images: NDArray[np.uint8], heatmaps: bool = False, shared: bool = False) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3]; padded to the next size that runs at full speed."""
        count = len(images)
        size = next((size for size in self._batch_sizes if size >= count), count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        session = self._shared if shared else self._session
        binding = session.io_binding()
        binding.bind_cpu_input(INPUT, images)
        for name in OUTPUTS if heatmaps else _SMALL_OUTPUTS:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        coordinates, covariance, confidence, *maps = binding.copy_outputs_to_cpu()
        return Estimates(coordinates, covariance, confidence, maps[0] if heatmaps else None)[:count]

    def memory_bytes(self) -> float:
        """On a GPU the device's memory in use less its value before the session; on a CPU the peak resident set."""
        if self._info.provider in ON_GPU:
            return self._device_memory() - self._memory_before
        return peak_resident_bytes()

    def session_bytes(self) -> float:
        """What the runtime and its session have added to the process' resident set."""
        return self._session_bytes


def _batch_sizes(provider: str, largest: int) -> tuple[int, ...]:
    """TensorRT prepares itself for each size anew; on a processor there is nothing to gain from batches."""
    match provider:
        case "cuda":
            return tuple(range(1, largest + 1))
        case "tensorrt":
            return buckets(largest)
        case _:
            return (1,)


def buckets(largest: int) -> tuple[int, ...]:
    """The batch sizes 1, 2, 4, 8, ... up to `largest`, which is always the last."""
    powers = (2**exponent for exponent in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)
