"""The network: one ONNX session behind a small protocol."""

import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.contract import INPUT, OUTPUTS, Contract, ContractError, check_tensors
from models.crop import INPUT_SIZE
from service.cpus import usable_cpus
from service.problems import StartupError
from service.session import open_session
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
    """Runs the network on batches of crops; called by one thread at a time."""

    @property
    def info(self) -> EngineInfo:
        """What computes."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Sizes of batch that run at full speed, ascending from 1; `run` takes any size up to the last."""

    def warm_up(self) -> None:
        """Run every batch size that would be slow the first time."""

    def run(self, images: NDArray[np.uint8], heatmaps: bool = False) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3] with 1 <= N <= `batch_sizes[-1]`.

        Heatmaps are 99 % of the answer's bytes, so they are copied out only when asked for.
        """

    def memory_bytes(self) -> float:
        """Memory that inference has needed: our reading of Table 4's last column."""

    def session_bytes(self) -> float:
        """What the runtime and its session have added to the process' resident set."""


class OnnxEngine:
    """A session of onnxruntime that keeps the contract of `models.contract`.

    The CPU and OpenVINO providers are what the project is tested with. The CUDA and TensorRT providers are asked for in
    the same way and checked after the session is made, but were not run here.

    Raises:
        StartupError: The model file or the runtime cannot do what the settings ask for.
    """

    def __init__(self, settings: Settings) -> None:
        self._device_memory = _device_memory_used()
        self._memory_before = self._device_memory()
        resident_before = resident_bytes()
        threads = settings.threads or usable_cpus()
        plan, self._session = open_session(settings, threads)
        self._session_bytes = resident_bytes() - resident_before
        contract = self._read_contract(plan.file)
        self._info = EngineInfo(
            contract.name, contract.version, plan.provider, plan.precision, threads, contract, plan.as_asked
        )
        largest = settings.max_batch or (32 if plan.provider in ON_GPU else 4)
        self._compiles = plan.provider in ("openvino", "tensorrt")  # the network anew for each size of batch
        self._batch_sizes = buckets(largest) if self._compiles else tuple(range(1, largest + 1))
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
        """Sizes of batch that run at full speed, ascending from 1; `run` takes any size up to the last."""
        return self._batch_sizes

    def warm_up(self) -> None:
        """Run once with each batch size that the provider would otherwise prepare during a request."""
        for size in self._batch_sizes if self._compiles else (1,):
            start = time.perf_counter()
            self.run(np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))
            _log.info("warmed up batch %d in %.2f s", size, time.perf_counter() - start)

    def run(self, images: NDArray[np.uint8], heatmaps: bool = False) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3]; padded to the next size that runs at full speed."""
        count = len(images)
        size = next(size for size in self._batch_sizes if size >= count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        binding = self._session.io_binding()
        binding.bind_cpu_input(INPUT, images)
        for name in OUTPUTS if heatmaps else _SMALL_OUTPUTS:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
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


def peak_resident_bytes() -> float:
    """The process' peak resident set; `getrusage` would count that of the process that started it as well."""
    return _status_bytes("VmHWM")


def resident_bytes() -> float:
    """The process' resident set at this moment."""
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> float:
    kib = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return float(kib[1]) * 1024 if kib else math.nan


def buckets(largest: int) -> tuple[int, ...]:
    """The batch sizes 1, 2, 4, 8, ... up to `largest`, which is always the last."""
    powers = (2**exponent for exponent in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)


def _device_memory_used() -> Callable[[], float]:
    """A function that tells the first GPU's memory in use, in bytes; 0 where NVML is missing."""
    try:
        import pynvml  # noqa: PLC0415 - comes with the gpu extra only

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # no module, no driver, no device
        return lambda: 0.0
    return lambda: float(pynvml.nvmlDeviceGetMemoryInfo(device).used)
