"""The first GPU, as NVML tells of it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card.

    Attributes:
        name: As its maker calls it.
        memory_used: Tells the memory in use by all processes, in bytes: NVML does not see a container's own.
    """

    name: str
    memory_used: Callable[[], float]


def first_gpu() -> Gpu | None:
    """The first card; None where there is none, or no driver, or no NVML."""
    try:
        import pynvml  # noqa: PLC0415 - comes with the gpu extra only

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(device)
    except Exception as error:  # no module, no driver, no device
        _log.debug("no GPU can be told of: %s", error)
        return None
    return Gpu(name, lambda: float(pynvml.nvmlDeviceGetMemoryInfo(device).used))
