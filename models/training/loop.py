"""The trip of a run: read and check everything, then train phase by phase, measuring on the development people.

Phases differ in stride, yet weights move between them as if nothing happened: crops are shifted so that a cell stands
in the same relation to the pixels that it reads (`lead_px`), and the target's sigma is the same in input pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from models.data.pack import (
    DEVELOPMENT,
    Example,
    PackError,
    People,
    load_people,
    nominal_crops,
    read_people,
    training_packs,
)
from models.data.pseudo_labels import corrected_labels, read_pseudo_labels
from models.evaluation.pck import Accuracy, pckh
from models.networks.pose import PoseNetwork, normalise
from models.training.batches import Batches, lead_px
from models.training.config import Phase, TrainingConfig
from models.training.device import autocast, check_device, native_bf16
from models.training.optimisation import freeze
from models.training.record import begin_or_continue, drop_averaged, forget_after, log
from models.training.run import Run

_EVALUATION_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Whom a run learns from and is measured on.

    Attributes:
        people: For training, with corrected labels.
        weights: How far each label is trusted, [people, 16].
        development: MPII's people of the development pack.
        counts: How many people were read of each pack.
    """

    people: Sequence[Example]
    weights: NDArray[np.float32]
    development: Sequence[Example]
    counts: dict[str, int]

    @classmethod
    def read(cls, config: TrainingConfig) -> Self:
        """Read the packs of `config.data`; pictures stay encoded.

        Raises:
            PackError: A pack is missing or cannot be read, or has fewer people than are needed.
        """
        packs = {name: list(read_people(config.data, [name])) for name in (*training_packs(config.data), DEVELOPMENT)}
        counts = {name: len(people) for name, people in packs.items()}
        development = [p for p in packs.pop(DEVELOPMENT) if p.source == "mpii" and p.head_size is not None]
        if not development:
            raise PackError(f"{config.data / DEVELOPMENT}.jsonl.gz has nobody of source mpii with a head size")
        examples = [person for people in packs.values() for person in people]
        if len(examples) < config.batch:
            raise PackError(f"{config.data} has {len(examples)} people for training, fewer than --batch {config.batch}")
        people, weights = corrected_labels(examples, read_pseudo_labels(config.pseudo_label_files))
        return cls(people, weights, development, counts)


def prepare(config: TrainingConfig) -> tuple[Run, TrainingData]:
    """Read and check everything that a run needs, so that what is wrong ends it before it begins.

    Raises:
        RunError: There is no such device, or the folder of the run cannot be written or is another run's.
        PackError: The data cannot be learnt from.
        WeightsError: The starting weights cannot be read.
    """
    check_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    data = TrainingData.read(config)
    begin_or_continue(config, data.counts)
    run = Run.begin(config)
    if not run.is_finished:
        forget_after(config.out, run.seen)
    return run, data


def train(config: TrainingConfig) -> None:
    """Run all phases, from the checkpoint in `config.out` where there is one; a finished run stays as it is."""
    run, data = prepare(config)
    if run.is_finished:
        print(f"the run in {config.out} is finished: {run.seen} crops", flush=True)
        return
    if run.seen:
        print(f"going on after {run.seen} crops", flush=True)
    precision = "bfloat16" if native_bf16(config.device) else "float32"
    print(f"{len(data.people)} people, {precision} on {config.device}", flush=True)
    torch.backends.cudnn.benchmark = True  # shapes stay the same, so a search pays
    end = 0
    for phase in config.phases:
        end += phase.crops
        if run.seen < end:
            train_phase(run, phase, end, data)


def train_phase(run: Run, phase: Phase, end: int, data: TrainingData) -> None:
    """Train at one size until the run has seen `end` crops."""
    config = run.config
    batches = Batches.of(data.people, data.weights, config, phase)
    development = load_people(data.development, phase.size)
    run.network.backbone.set_output_stride(phase.stride)
    title = f"{phase.size}/{phase.stride}"
    with tqdm(total=config.crops, initial=run.seen, unit="crop", desc=title, mininterval=5) as progress:
        while run.seen < end:
            run.network.train()
            freeze(run.network, config.frozen_stages, config.frozen_statistics)
            before = run.seen
            run.step(*batches.draw(before))
            progress.update(run.seen - before)
            if run.seen // config.evaluate_every > before // config.evaluate_every or run.seen >= end:
                progress.write(f"{title} {evaluate_and_save(run, phase, development)}")


def evaluate_and_save(run: Run, phase: Phase, development: People) -> str:
    """Measure the averaged weights, log it, write them and the checkpoint; a sentence says what came out."""
    accuracy = evaluate(run.averaged(phase.stride), development, phase.stride, run.config.device)
    loss = torch.stack(run.losses).mean().item()
    run.losses.clear()
    out = run.config.out
    log(out, run.seen, phase, loss, accuracy)
    run.keep_averaged()
    run.save()
    drop_averaged(out, run.config.keep)
    return f"{run.seen} crops: loss {loss:.4f}, PCKh {accuracy.total:.2f}"


@torch.no_grad()
def evaluate(network: PoseNetwork, development: People, stride: int, device: str) -> Accuracy:
    """PCKh of a network in inference mode on development people, at the crop size that they were loaded for."""
    crops, coordinates = nominal_crops(development, round(lead_px(stride))), []
    for start in range(0, len(crops), _EVALUATION_BATCH):
        with autocast(device):
            images = normalise(crops[start : start + _EVALUATION_BATCH].to(device))
            images = images.contiguous(memory_format=torch.channels_last)
            coordinates.append(network.infer(images).coordinates.cpu())
    labelled = (development.weights > 0).numpy()
    return pckh(torch.cat(coordinates).numpy(), development.joints.numpy(), labelled, development.head_sizes.numpy())
