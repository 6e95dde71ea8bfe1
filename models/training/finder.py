"""Train the finder: `python -m models.training.finder --data FOLDER --start WEIGHTS --out RUN`.

Fine-tunes a finder that knows people already on the scenes packs, and with `--people` on the people packs too. A run
checkpoints into `--out` and goes on from there when the same command is repeated, to the same weights as without the
stop. At the end the averaged weights are averaged once more with those that it started from: a small data set teaches a
finder, and lets it forget what it lacks. The folder says what the run is: `run.json` its options and data, `log.csv`
the loss by views seen, `finder.safetensors` the weights at the end.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from models.data.pack import PackError, read_people, training_packs
from models.data.person_views import person_scenes
from models.data.scenes import Scene, read_scenes, training_scenes
from models.networks.checkpoint import StateDict, WeightsError
from models.networks.finder import FinderNetwork, cells, grid_shapes, load_finder
from models.networks.pose import normalise
from models.training.device import check_device
from models.training.finder_batches import Batch, SceneBatches
from models.training.finder_config import PRECISIONS, FinderConfig
from models.training.finder_loss import finder_loss
from models.training.optimisation import ParameterGroups, cosine, moving_average
from models.training.options import RunError
from models.training.record import LOG, begin_or_continue, forget_after
from models.training.state import RunState

WEIGHTS: Final = "finder.safetensors"

_CLIP_NORM: Final = 10.0
_BETAS: Final = (0.9, 0.99)
_BACKBONE: Final = ("stem", "stages")


@dataclass
class FinderRun(RunState[FinderConfig, FinderNetwork]):
    """A run of the finder."""

    @classmethod
    def begin(cls, config: FinderConfig) -> Self:
        """A new run from `config.start`, or the one that `config.out` holds.

        Raises:
            WeightsError: The starting weights or the checkpoint cannot be read, or are of another network.
        """
        torch.manual_seed(config.seed)
        network = FinderNetwork()
        load_finder(network, config.start)
        network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(parameter_groups(network, config), betas=_BETAS, fused=True)
        average = AveragedModel(network, multi_avg_fn=moving_average)
        run = cls(config, network, optimiser, average)
        run.resume()
        return run

    @property
    def is_finished(self) -> bool:
        """Whether the run has seen all its views."""
        return self.seen >= self.config.views

    def step(self, batch: Batch) -> None:
        """Learn from one batch."""
        config = self.config
        rate = config.rate * cosine(self.seen // config.batch, -(-config.views // config.batch))
        self.descend(self.loss(batch), rate, _CLIP_NORM, len(batch.pictures))

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        device = self.config.device
        images = normalise(batch.pictures.to(device)).contiguous(memory_format=torch.channels_last)
        precision = PRECISIONS[self.config.precision]
        with torch.autocast(torch.device(device).type, precision, enabled=precision != torch.float32):
            findings = self.network(images)
        places = cells(grid_shapes(*images.shape[2:]), images.device)
        people, ignored = ([boxes.to(device) for boxes in each] for each in (batch.people, batch.ignored))
        return finder_loss(findings, places, people, ignored)


def parameter_groups(network: FinderNetwork, config: FinderConfig) -> ParameterGroups:
    """What learns: the backbone at a smaller rate, biases without decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((name.startswith(_BACKBONE), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_weight else 0.0,
            "times": config.backbone_rate if is_backbone else 1.0,
        }
        for (is_backbone, is_weight), parameters in groups.items()
    ]


def mixed(start: StateDict, trained: StateDict, share: float) -> StateDict:
    """The mean of two networks' weights, the second's share from 0 to 1."""
    return {name: (1 - share) * value + share * trained[name].cpu() for name, value in start.items()}


@dataclass(frozen=True, slots=True)
class FinderData:
    """What a run learns from.

    Attributes:
        scenes: Photos in which everybody is boxed.
        people: Pictures of one person each; none where the options ask for no views of people.
        photo_counts: How many photos were read of each pack of scenes.
        person_counts: How many people of each pack of people can be boxed.
    """

    scenes: Sequence[Scene]
    people: Sequence[Scene]
    photo_counts: Mapping[str, int]
    person_counts: Mapping[str, int]

    @classmethod
    def read(cls, config: FinderConfig) -> Self:
        """Read the packs of `config.data`; pictures stay encoded.

        Raises:
            PackError: A pack is missing or cannot be read, or holds less than is needed.
        """
        photos = {name: list(read_scenes(config.data, [name])) for name in training_scenes(config.data)}
        packs = training_packs(config.data) if config.people else []
        people = {name: person_scenes(read_people(config.data, [name])) for name in packs}
        data = cls(_joined(photos), _joined(people), _counts(photos), _counts(people))
        if len(data.scenes) < config.batch:
            raise PackError(
                f"{config.data} has {len(data.scenes)} photos for training, fewer than --batch {config.batch}"
            )
        if config.people and not data.people:
            raise PackError(f"{config.data} has nobody with enough labelled joints for --people {config.people}")
        if config.people and all(len(scene.boxes) for scene in data.scenes):
            raise PackError(f"{config.data} has no photo of nobody, which --people {config.people} pastes people over")
        return data


def _joined(packs: Mapping[str, Sequence[Scene]]) -> list[Scene]:
    return [scene for scenes in packs.values() for scene in scenes]


def _counts(packs: Mapping[str, Sequence[Scene]]) -> dict[str, int]:
    return {name: len(scenes) for name, scenes in packs.items()}


def prepare(config: FinderConfig) -> tuple[FinderRun, FinderData]:
    """Read and check everything that a run needs, so that what is wrong ends it before it begins.

    Raises:
        RunError: There is no such device, or the folder of the run cannot be written or is another run's.
        PackError: The data cannot be learnt from.
        WeightsError: The starting weights cannot be read.
    """
    check_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    data = FinderData.read(config)
    begin_or_continue(config, data.person_counts, data.photo_counts)
    run = FinderRun.begin(config)
    forget_after(config.out, run.seen)
    return run, data


def train(config: FinderConfig) -> None:
    """Learn from all views, from the checkpoint in `config.out` where there is one, and write the weights.

    Raises:
        RunError: As `prepare`.
        PackError: As `prepare`, or a picture cannot be decoded.
        WeightsError: As `prepare`.
    """
    run, data = prepare(config)
    if run.seen:
        print(f"going on after {run.seen} views", flush=True)
    learnt_from = f"{len(data.scenes)} photos" + (f" and {len(data.people)} people" if data.people else "")
    print(f"{learnt_from}, {config.precision} on {config.device}", flush=True)
    batches = SceneBatches.of(data.scenes, config, data.people)
    with tqdm(total=config.views, initial=run.seen, unit="view", mininterval=5) as progress:
        while not run.is_finished:
            before = run.seen
            run.step(batches.draw(before))
            progress.update(run.seen - before)
            if run.seen // config.save_every > before // config.save_every or run.is_finished:
                progress.write(log_and_save(run))
    print(f"written: {write_weights(run)}", flush=True)


def log_and_save(run: FinderRun) -> str:
    """Write the checkpoint and a line of the log; a sentence says what came out."""
    loss = torch.stack(run.losses).mean().item()
    run.losses.clear()
    path = run.config.out / LOG
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("views", "loss")] * new)
        writer.writerow((run.seen, f"{loss:.5f}"))
    run.save()
    return f"{run.seen} views: loss {loss:.4f}"


def write_weights(run: FinderRun) -> Path:
    """Write the mean of the averaged weights and the start's, in float16."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only a run that is finished needs it

    start = FinderNetwork()
    load_finder(start, run.config.start)
    weights = mixed(start.state_dict(), run.average.module.state_dict(), run.config.share)
    path = run.config.out / WEIGHTS
    unfinished = path.with_suffix(".tmp")
    save_file({name: value.half().contiguous() for name, value in weights.items()}, unfinished)
    unfinished.replace(path)
    return path


def main(arguments: list[str] | None = None) -> None:
    """The command line; what no run can begin with ends the process with status 2 and a sentence."""
    config = FinderConfig.parse(arguments)
    try:
        train(config)
    except (RunError, PackError, WeightsError) as error:
        FinderConfig.refuse(str(error))


if __name__ == "__main__":
    main()
