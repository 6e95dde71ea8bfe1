"""What a training run of the pose network is: one typed option a field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

import torch

from models.data.pseudo_labels import pseudo_label_files
from models.networks.dsnt import HEATMAP_ACTIVATIONS, REGULARISERS
from models.networks.resnet import ARCHITECTURES, OUTPUT_STRIDES
from models.training.optimisation import OPTIMISERS, SCHEDULES
from models.training.options import Option, RunOptions, flag, numbered

_PHASE_FORM: Final = "SIZE/STRIDE:CROPS"


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run: `crops` crops of `size` px, one heatmap cell per `stride` px."""

    size: int
    stride: int
    crops: int

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: No crops, another stride than the backbone has, or a size that cells do not fill.
        """
        if self.stride not in OUTPUT_STRIDES:
            raise ValueError(f"a phase's stride is one of {', '.join(map(str, OUTPUT_STRIDES))}, not {self.stride}")
        if self.size < self.stride or self.size % self.stride:
            raise ValueError(f"a phase's size is a multiple of its stride {self.stride}, not {self.size}")
        if self.crops < 1:
            raise ValueError(f"a phase has at least 1 crop, not {self.crops}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SIZE/STRIDE:CROPS`, such as `128/16:60000`.

        Raises:
            ValueError: The text has another form, or a number that no phase can have.
        """
        shape, _, crops = text.partition(":")
        size, _, stride = shape.partition("/")
        if not (size.isdecimal() and stride.isdecimal() and crops.isdecimal()):
            raise ValueError(f"a phase is {_PHASE_FORM} such as 128/16:60000, not {text}")
        return cls(int(size), int(stride), int(crops))

    def __str__(self) -> str:
        return f"{self.size}/{self.stride}:{self.crops}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(RunOptions):
    """The options of a run; a field's help says what it is."""

    command: ClassVar[str] = "python -m models.training"
    summary: ClassVar[str] = "Train the pose network."

    data: Annotated[Path, Option("folder of the people pack", decides=False)]
    out: Annotated[Path, Option("folder of the run, outside the tree, with its checkpoint and log", decides=False)]
    start: Annotated[
        tuple[Path, ...],
        Option(
            "weights to start from, the mean of several: .safetensors (ImageNet or pose), a shipped .onnx, a .pt",
            decides=False,
            parse=Path,
            form="FILE",
        ),
    ] = ()
    pseudo_labels: Annotated[
        tuple[Path, ...],
        Option("files of pseudo-labels beside the pack's own", decides=False, parse=Path, form="FILE"),
    ] = ()
    phases: Annotated[tuple[Phase, ...], Option("parts of the run", parse=Phase.parse, form=_PHASE_FORM)] = (
        Phase(128, 16, 80_000),
        Phase(192, 16, 60_000),
        Phase(224, 8, 12_000),
    )
    depth: Annotated[int, Option("depth of the ResNet; evaluation and export know 50 only", ARCHITECTURES)] = 50
    activation: Annotated[
        str, Option("paper, Table 2; evaluation and export know softmax only", HEATMAP_ACTIVATIONS)
    ] = "softmax"
    regulariser: Annotated[str, Option("paper, Table 3; none is DSNT, js is DSNTr", REGULARISERS)] = "js"
    sigma: Annotated[float, Option("the regulariser's sigma, input pixels: one cell of a 28 x 28 map")] = 8.0
    weight: Annotated[float, Option("the regulariser's weight lambda; of absent joints too")] = 1.0
    optimiser: Annotated[str, Option("how gradients change the weights", OPTIMISERS)] = "adamw"
    schedule: Annotated[str, Option("how the learning rate changes over the run", SCHEDULES)] = "cosine"
    rate: Annotated[float, Option("largest learning rate")] = 4e-4
    head_rate: Annotated[float, Option("learning rate of the heatmap convolution, times the others'")] = 10.0
    weight_decay: Annotated[float, Option("decay of the convolutions' weights")] = 0.01
    batch: Annotated[int, Option("crops of a step")] = 32
    frozen_stages: Annotated[int, Option("ResNet stages that stay as they are; 0 trains all", range(5))] = 1
    frozen_statistics: Annotated[bool, Option("batch norm's statistics stay as they are: of small batches")] = False
    seed: Annotated[int, Option("of everything that is random")] = 0
    threads: Annotated[int, Option("processor threads; 0 leaves the choice to torch", decides=False)] = 0
    device: Annotated[str, Option("where to train", decides=False)] = "cuda" if torch.cuda.is_available() else "cpu"
    evaluate_every: Annotated[int, Option("crops between evaluations on the development people")] = 6_400
    keep: Annotated[int, Option("files of averaged weights that stay: the last ones, and the best", decides=False)] = 5

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A number is out of its range, a name is unknown, or the phases have fewer crops than a batch.
        """
        for name in ("batch", "evaluate_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{flag(name)} is at least 1, not {getattr(self, name)}")
        for name in ("rate", "sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{flag(name)} is a number above 0, not {getattr(self, name)}")
        for name in ("head_rate", "weight", "weight_decay", "threads", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{flag(name)} is a number from 0 up, not {getattr(self, name)}")
        self.check_choices()
        if self.crops < self.batch:
            raise ValueError(f"the phases have {self.crops} crops together, fewer than one batch of {self.batch}")

    @property
    def crops(self) -> int:
        """Crops of all phases together."""
        return sum(phase.crops for phase in self.phases)

    @property
    def files(self) -> Mapping[str, Path]:
        """The pseudo-labels, and the starting weights."""
        return {**numbered("pseudo_labels", self.pseudo_label_files), **numbered("start", self.start)}

    @property
    def pseudo_label_files(self) -> list[Path]:
        """The pseudo-labels beside the packs, and those that are named."""
        return [*pseudo_label_files(self.data), *self.pseudo_labels]
