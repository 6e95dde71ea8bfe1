"""The first GPU, as NVML tells of it."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card.

    Attributes:
        name: As its maker calls it.
        memory_used: Tells the memory in use by all processes, in bytes, since NVML does not see a container's own; nan
            where the card does not tell.
    """

    name: str
    memory_used: Callable[[], float]


def first_gpu() -> Gpu | None:
    """NVML's first card, whichever computes; None where there is none, or no driver, or no NVML."""
    try:
        import pynvml  # noqa: PLC0415 - comes with the gpu extra only

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(device)

        def memory_used() -> float:
            try:
                return float(pynvml.nvmlDeviceGetMemoryInfo(device).used)
            except pynvml.NVMLError:
                return math.nan

    except Exception as error:  # no module, no driver, no device
        _log.debug("no GPU can be told of: %s", error)
        return None
    return Gpu(name, memory_used)
