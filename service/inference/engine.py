"""The network behind a small protocol: crops in, arrays by name out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.spec.contract import ModelSpec
from models.spec.finder import FinderSpec

SpecT_co = TypeVar("SpecT_co", bound=ModelSpec | FinderSpec, covariant=True)

Outputs = Mapping[str, NDArray[np.float32]]
"""What a network gives for N images: arrays by the names of its spec, the first axis of each the image."""


def rows(outputs: Outputs, chosen: slice) -> Outputs:
    """The outputs of a range of images."""
    return {name: values[chosen] for name, values in outputs.items()}


def concatenate(answers: Sequence[Outputs]) -> Outputs:
    """Several outputs of the same names as one, in order."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


@dataclass(frozen=True)  # with slots, Python 3.11 cannot make a generic one
class Info(Generic[SpecT_co]):
    """What computes: the model, on which provider, in which precision.

    Attributes:
        on_gpu: Whether the provider computes on a GPU.
        as_asked: Whether the provider is the one asked for, which for `auto` is the best installed.
        gpu: Name of NVML's first card, where a GPU computes and it is known.
    """

    spec: SpecT_co
    provider: str
    precision: str
    threads: int
    on_gpu: bool = False
    as_asked: bool = True
    gpu: str | None = None


EngineInfo = Info[ModelSpec]
"""What computes the joints."""


class NetworkEngine(Protocol[SpecT_co]):
    """Runs a network on batches of images."""

    @property
    def info(self) -> Info[SpecT_co]:
        """What computes."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Sizes of batch that run at full speed, ascending from 1."""

    @property
    def streams(self) -> int:
        """How many calls of `run` may be under way at once, then shared ones; with 1, there are none such."""

    def warm_up(self) -> None:
        """Run everything once that would be slow the first time."""

    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        """Compute the `wanted` outputs of images, uint8 [N, height, width, 3] with 1 <= N <= `batch_sizes[-1]`.

        What is not wanted is not copied out of the network: heatmaps are 99 % of its outputs' bytes. A shared call
        takes one stream's part of the processor; any other takes all of it, and must be the only one under way.
        """

    def memory_bytes(self) -> float:
        """Memory that inference has needed: our reading of Table 4's last column."""

    def session_bytes(self) -> float:
        """What the runtime and its session have added to the process' resident set; nan where that is not known."""


Engine = NetworkEngine[ModelSpec]
"""Runs the network that gives joints."""

FinderEngine = NetworkEngine[FinderSpec]
"""Runs the network that boxes people."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What a service computes with.

    Attributes:
        pose: Gives the joints of a crop.
        finder: Boxes the people of a photo; None where nobody is to be looked for.
    """

    pose: Engine
    finder: FinderEngine | None = None
