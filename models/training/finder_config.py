"""What a training run of the finder is: one typed option a field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final

import torch

from models.networks.finder import STRIDES
from models.training.options import Option, RunOptions, flag

PRECISIONS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def parse_size(text: str) -> int:
    """Read the side of an input.

    Raises:
        ValueError: It is no multiple of the coarsest grid's cells.
    """
    if not text.isdecimal() or int(text) < STRIDES[-1] or int(text) % STRIDES[-1]:
        raise ValueError(f"an input's side is a multiple of {STRIDES[-1]}, not {text}")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderConfig(RunOptions):
    """The options of a run; a field's help says what it is."""

    command: ClassVar[str] = "python -m models.training.finder"
    summary: ClassVar[str] = "Train the finder."

    data: Annotated[Path, Option("folder of the scenes packs, and of the people packs for --people", decides=False)]
    out: Annotated[Path, Option("folder of the run, outside the tree, with its checkpoint and log", decides=False)]
    start: Annotated[Path, Option("weights to start from and to mix with: .safetensors, .onnx, .pt", decides=False)]
    views: Annotated[int, Option("views of photos that the run learns from")] = 16_000
    sizes: Annotated[
        tuple[int, ...], Option("sides of the inputs, one at random a step", parse=parse_size, form="SIDE")
    ] = (320, 352, 384, 416, 416, 448)
    batch: Annotated[int, Option("views of a step")] = 16
    rate: Annotated[float, Option("largest learning rate")] = 1e-4
    backbone_rate: Annotated[float, Option("learning rate of the backbone, times the others'")] = 0.3
    weight_decay: Annotated[float, Option("decay of the convolutions' weights")] = 0.01
    nobody: Annotated[int, Option("how often a photo of nobody is seen for each time that another is")] = 1
    beside: Annotated[float, Option("fraction of the photos of which only a part beside all people is seen")] = 0.1
    people: Annotated[float, Option("fraction of the views that are of a person of the people packs")] = 0.0
    share: Annotated[float, Option("share of the trained weights in the mean with the start's at the end")] = 0.5
    seed: Annotated[int, Option("of everything that is random")] = 0
    threads: Annotated[int, Option("processor threads; 0 leaves the choice to torch", decides=False)] = 0
    device: Annotated[str, Option("where to train", decides=False)] = "cuda" if torch.cuda.is_available() else "cpu"
    precision: Annotated[
        str, Option("of the network: bfloat16 is faster where the processor has AMX, slower elsewhere", PRECISIONS)
    ] = "float32"
    save_every: Annotated[int, Option("views between checkpoints", decides=False)] = 1_600

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A number is out of its range, or the run has fewer views than a batch.
        """
        for name in ("batch", "save_every", "nobody"):
            if getattr(self, name) < 1:
                raise ValueError(f"{flag(name)} is at least 1, not {getattr(self, name)}")
        for name in ("rate", "backbone_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{flag(name)} is a number above 0, not {getattr(self, name)}")
        for name in ("weight_decay", "threads", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{flag(name)} is a number from 0 up, not {getattr(self, name)}")
        for name in ("beside", "people", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{flag(name)} is a number from 0 to 1, not {getattr(self, name)}")
        self.check_choices()
        if self.views < self.batch:
            raise ValueError(f"the run has {self.views} views, fewer than one batch of {self.batch}")

    @property
    def files(self) -> Mapping[str, Path]:
        """The starting weights."""
        return {"start": self.start}
