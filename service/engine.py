"""The network: one ONNX session behind a small protocol. The only module that knows onnxruntime."""

import importlib.metadata
import json
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.contract import INPUT, OUTPUTS, Contract, ContractError, check_tensors
from models.crop import INPUT_SIZE
from service.cpus import has_native_bf16, usable_cpus
from service.problems import StartupError
from service.settings import Settings

_log = logging.getLogger(__name__)

RUNTIMES: Final = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")
"""Distributions that share the import package `onnxruntime`: exactly one may be installed."""

_PROVIDERS: Final = {  # best first
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the network says of N crops with J joints.

    Attributes:
        coordinates: float32 [N, J, 2], x then y, normalised (-1 to 1 over the crop).
        covariance: float32 [N, J, 3], Var x, Cov xy, Var y, normalised units squared.
        confidence: float32 [N, J], 0 to 1.
        heatmaps: float32 [N, J, rows, columns], each sums to 1.
    """

    coordinates: NDArray[np.float32]
    covariance: NDArray[np.float32]
    confidence: NDArray[np.float32]
    heatmaps: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, rows: slice) -> "Estimates":
        """The estimates of a range of crops."""
        return Estimates(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence["Estimates"]) -> Self:
        """Several estimates as one, in order."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is computing: names for answers and metrics, and the contract of the model file."""

    name: str
    version: str
    provider: str
    precision: str
    contract: Contract


class Engine(Protocol):
    """Runs the network on batches of crops; called by one thread at a time."""

    @property
    def info(self) -> EngineInfo:
        """What computes."""

    @property
    def largest_batch(self) -> int:
        """Most images that `run` takes at once."""

    def warm_up(self) -> None:
        """Run every batch size that would be slow the first time."""

    def run(self, images: NDArray[np.uint8]) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3] with 1 <= N <= `largest_batch`."""

    def memory_bytes(self) -> float:
        """Memory that inference has needed: our reading of Table 4's last column."""


class OnnxEngine:
    """A session of onnxruntime that keeps the contract of `models.contract`.

    The CPU and OpenVINO providers are what the project is tested with. The CUDA provider is asked for in the same way
    and checked after the session is made, but was not run here.

    Raises:
        StartupError: The model file or the runtime cannot do what the settings ask for.
    """

    def __init__(self, settings: Settings) -> None:
        _check_runtimes()
        if not settings.model.is_file():
            raise StartupError(f"there is no model file at {settings.model}; DSNT_POSE_MODEL or --model names one")
        self._device_memory = _device_memory_used()
        self._memory_before = self._device_memory()
        threads = settings.threads or usable_cpus()
        self._provider, self._session = _open_session(settings, threads)
        contract = self._read_contract(settings.model)
        self._info = EngineInfo(contract.name, contract.version, self._provider, _precision(self._provider), contract)
        self._largest_batch = settings.max_batch or (32 if self._provider == "cuda" else 4)
        # Only OpenVINO compiles the network anew for each batch size.
        self._buckets = buckets(self._largest_batch) if self._provider == "openvino" else ()
        _log.info("%s on %s (%s), %d threads", contract.name, self._provider, self._info.precision, threads)

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
    def largest_batch(self) -> int:
        """Most images that `run` takes at once."""
        return self._largest_batch

    def warm_up(self) -> None:
        """Run once with each batch size that the provider would otherwise prepare during a request."""
        for size in self._buckets or (1,):
            start = time.perf_counter()
            self.run(np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))
            _log.info("warmed up batch %d in %.2f s", size, time.perf_counter() - start)

    def run(self, images: NDArray[np.uint8]) -> Estimates:
        """Estimate joints in crops, uint8 [N, 224, 224, 3]; padded to a warm batch size where that is faster."""
        count = len(images)
        size = next((bucket for bucket in self._buckets if bucket >= count), count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        return Estimates(*self._session.run(OUTPUTS, {INPUT: images}))[:count]

    def memory_bytes(self) -> float:
        """On a GPU the device's memory in use less its value before the session; on a CPU the peak resident set."""
        if self._provider == "cuda":
            return self._device_memory() - self._memory_before
        return peak_resident_bytes()


def peak_resident_bytes() -> float:
    """The process' peak resident set; `getrusage` would count that of the process that started it as well."""
    peak_kib = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return float(peak_kib[1]) * 1024 if peak_kib else math.nan


def buckets(largest: int) -> tuple[int, ...]:
    """The batch sizes 1, 2, 4, 8, ... up to `largest`, which is always the last."""
    powers = (2**exponent for exponent in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)


def _check_runtimes() -> None:
    """Refuse to start without a runtime, or with two of them in each other's files."""
    found = [name for name in RUNTIMES if _is_installed(name)]
    if not found:
        raise StartupError(
            "no runtime is installed; install one of dsnt-pose[cpu], dsnt-pose[openvino], dsnt-pose[gpu]"
        )
    if len(found) > 1:
        raise StartupError(
            f"{' and '.join(found)} are installed together and overwrite each other's files; "
            f"uninstall all of them, then install one"
        )


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _open_session(settings: Settings, threads: int) -> tuple[str, Any]:
    """The first provider that the session really uses, and the session.

    `auto` goes on to the next best; a provider that was asked for by name is used or is an error.
    """
    import onnxruntime as ort  # noqa: PLC0415 - half a second, and `predict --help` needs none of it

    available = [name for name, long_name in _PROVIDERS.items() if long_name in ort.get_available_providers()]
    wanted = available if settings.provider == "auto" else [settings.provider]
    if settings.provider != "auto" and settings.provider not in available:
        raise StartupError(
            f"the provider {settings.provider} is not in the installed runtime, which has {', '.join(available)}"
        )
    for name in wanted:
        session = _make_session(ort, settings.model, name, threads)
        if session.get_providers()[0] == _PROVIDERS[name]:
            return name, session
        _log.warning("onnxruntime replaced the provider %s by %s", name, session.get_providers()[0])
    raise StartupError(
        f"the provider {settings.provider} was asked for, but onnxruntime silently took "
        f"{session.get_providers()[0]} in its place; its log above says why"
    )


def _make_session(ort: Any, model: Path, name: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if name == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        provider = (_PROVIDERS[name], _provider_options(name, threads))
        session = ort.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # onnxruntime raises classes of its own for each kind of broken file
        told = str(error).strip().splitlines()[0]
        raise StartupError(f"onnxruntime cannot load {model} with the provider {name}: {told}") from error
    session.disable_fallback()
    return session


def _provider_options(name: str, threads: int) -> dict[str, str]:
    """Options of a provider.

    OpenVINO computes in float32 unless told otherwise, takes `load_config` as JSON text only, and leaves the work to
    the CPU provider without a word when it dislikes an option.
    """
    if name == "openvino":
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if has_native_bf16() else "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        return {"device_type": "CPU", "load_config": json.dumps({"CPU": hints})}
    # The default, an exhaustive search, is repeated for every batch size that comes.
    return {"cudnn_conv_algo_search": "HEURISTIC"} if name == "cuda" else {}


def _precision(provider: str) -> str:
    return "bf16" if provider == "openvino" and has_native_bf16() else "fp32"


def _device_memory_used() -> Callable[[], float]:
    """A function that tells the first GPU's memory in use, in bytes; 0 where NVML is missing."""
    try:
        import pynvml  # noqa: PLC0415 - comes with the gpu extra only

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # no module, no driver, no device
        return lambda: 0.0
    return lambda: float(pynvml.nvmlDeviceGetMemoryInfo(device).used)
