"""An engine of onnxruntime sessions."""

import logging
import math
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Generic, cast

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import INPUT, ModelSpec, variant
from models.spec.finder import FinderSpec
from models.spec.metadata import ContractError
from service.errors import StartupError
from service.host import first_gpu, peak_resident_bytes, resident_bytes, usable_cpus
from service.inference.engine import Info, Networks, Outputs, SpecT_co, rows
from service.inference.providers import open_another, open_session
from service.settings import Settings

_log = logging.getLogger(__name__)

ON_GPU: Final = ("cuda", "tensorrt")


class OnnxEngine(Generic[SpecT_co]):
    """Sessions of onnxruntime over one of our model files.

    A GPU computes batches, each size in a session of its own: onnxruntime keeps its choice of CUDA algorithms for one
    size only, and choosing takes 0.15 s where computing takes 3 ms. A processor computes few images one by one with all
    of its threads, and more side by side in the streams of a second session, each with its share: a batch's threads
    would wait for each other at every layer.

    Args:
        settings: Which file, on what, with how many threads.
        kind: What the file is to be.

    Raises:
        StartupError: The model file or the runtime cannot do what the settings ask for.
    """

    def __init__(self, settings: Settings, kind: type[SpecT_co]) -> None:
        self._gpu = first_gpu()
        self._device_bytes_before = self._device_bytes()
        resident_before = resident_bytes()
        threads = settings.threads or usable_cpus()
        self._plan, self._session = open_session(settings, threads, kind.statement)
        self._session_bytes = resident_bytes() - resident_before
        plan = self._plan
        spec = self._read_spec(kind, plan.file)
        on_gpu = plan.provider in ON_GPU
        gpu = self._gpu.name if self._gpu and on_gpu else None
        self._info = Info(spec, plan.provider, plan.precision, threads, on_gpu, plan.as_asked, gpu)
        self._batch_sizes = buckets(settings.max_batch or 8) if on_gpu and spec.has_one_size else (1,)
        self._larger: dict[int, Any] = {}
        self._most_streams = 1 if on_gpu else min(threads, settings.max_batch or 4)
        self._shared: Any = None
        named = f"{spec.name}, version {spec.version}, from {plan.file}"
        _log.info("%s, on %s (%s), %d threads", named, plan.provider, plan.precision, threads)

    def _read_spec(self, kind: type[SpecT_co], path: Path) -> SpecT_co:
        session = self._session
        metadata = session.get_modelmeta().custom_metadata_map
        try:
            spec = kind.read(metadata, session.get_inputs(), session.get_outputs())
            return cast(SpecT_co, spec)
        except ContractError as error:
            raise StartupError(f"{path} is not a model of this service: {error}") from error

    @property
    def info(self) -> Info[SpecT_co]:
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
        spec = self._info.spec
        images = [np.zeros((1, *size, 3), np.uint8) for size in spec.input_sizes]
        resident_before = resident_bytes()
        self._larger = {size: open_another(self._plan, self._info.threads) for size in self._batch_sizes[1:]}
        if self._most_streams > 1:
            self._shared = open_another(self._plan, self._info.threads, self._most_streams)
        self._session_bytes += resident_bytes() - resident_before
        for size in self._batch_sizes:
            for image in images:
                self.run(image.repeat(size, axis=0), spec.outputs)
        if self._shared:
            with ThreadPoolExecutor(self._most_streams) as pool:
                list(pool.map(lambda _: self.run(images[0], spec.outputs, shared=True), range(self._most_streams)))
        _log.info("warmed up in %.2f s, streams: %d", time.perf_counter() - start, self.streams)

    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        """Compute outputs of images, uint8 [N, height, width, 3]; padded to the next size that runs at full speed."""
        count = len(images)
        size = next((size for size in self._batch_sizes if size >= count), count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        session = self._shared if shared else self._larger.get(size, self._session)
        binding = session.io_binding()
        binding.bind_cpu_input(INPUT, images)
        for name in wanted:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        return rows(dict(zip(wanted, binding.copy_outputs_to_cpu(), strict=True)), slice(count))

    def memory_bytes(self) -> float:
        """On a GPU the memory in use less its value before the first session; on a CPU the peak resident set."""
        if self._info.on_gpu:
            return self._device_bytes() - self._device_bytes_before
        return peak_resident_bytes()

    def session_bytes(self) -> float:
        """What the runtime and its session have added to the process' resident set; nan where that is not known."""
        return self._session_bytes

    def _device_bytes(self) -> float:
        return self._gpu.memory_used() if self._gpu else math.nan


def buckets(largest: int) -> tuple[int, ...]:
    """The batch sizes 1, 2, 4, 8, ... up to `largest`, which is always the last."""
    powers = (2**exponent for exponent in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)


def open_networks(settings: Settings) -> Networks:
    """The network that gives joints and, unless the settings name none, the one that finds people.

    Raises:
        StartupError: A model file or the runtime cannot do what the settings ask for.
    """
    return Networks(OnnxEngine(settings, ModelSpec), open_finder(settings) if settings.has_finder else None)


def open_finder(settings: Settings) -> OnnxEngine[FinderSpec]:
    """The network that finds people, in the precision of the settings if it has a file for that."""
    precision = settings.precision if variant(settings.finder, settings.precision).is_file() else "auto"
    chosen = settings.model_copy(update={"model": settings.finder, "precision": precision})
    return OnnxEngine(chosen, FinderSpec)
