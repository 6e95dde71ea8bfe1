"""Train the pose network: `python -m models.training --data FOLDER --start WEIGHTS --out RUN`.

Read it from top to bottom: options, data, optimiser, loop. A run is a few stages of growing crops under one cosine of
the learning rate. It checkpoints into `--out` and goes on from there when the same command is given again, to the same
weights as without the stop; `log.csv` there has loss and development PCKh by crops seen, and `averaged-CROPS.pt` the
averaged weights of each of its lines.

Stages differ in stride, yet weights move between them as if nothing happened: crops are shifted so that a cell stands
in the same relation to what it looks at (`lead_px`), and the target's sigma is the same in input pixels.
"""

import argparse
import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from models.data.augmentation import Augmentation
from models.data.pack import ABSENT, DEVELOPMENT, People, load_people, nominal_crops, read_people, training_packs
from models.data.pseudo_labels import corrected_labels, read_pseudo_labels
from models.evaluation.pck import Accuracy, pckh
from models.networks.checkpoint import load_weights, read_checkpoint, save_checkpoint
from models.networks.dsnt import HEATMAP_ACTIVATIONS, REGULARISERS, absence_loss, joint_losses, masked_mean
from models.networks.pose import PoseNetwork, normalise

SOURCE_SHARES: Final = {"mpii": 2.5, "lsp": 2.0, "coco": 1.5, "lspet": 1.0, "stanford40": 1.0}
"""How often a person of each data set is drawn, relative to one of LSPET: better labels more often."""

AVERAGE_EVERY: Final = 4
AVERAGE_DECAY: Final = 0.997
WARM_UP_STEPS: Final = 100
CLIP_NORM: Final = 5.0
SHIPPED_STRIDE: Final = 8


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run: `crops` crops of `size` px, one heatmap cell per `stride` px."""

    size: int
    stride: int
    crops: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SIZE/STRIDE:CROPS`, such as `128/16:60000`."""
        try:
            shape, crops = text.split(":")
            size, stride = shape.split("/")
            return cls(int(size), int(stride), int(crops))
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"a stage is SIZE/STRIDE:CROPS such as 128/16:60000, not {text}"
            ) from error


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description="Train the pose network.")
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the people pack")
    add("--out", type=Path, required=True, help="folder for checkpoint.pt and log.csv, outside the tree")
    add("--start", type=Path, help="weights to start from: .safetensors (ImageNet or pose), a shipped .onnx, a .pt")
    add(
        "--stages",
        type=Stage.parse,
        nargs="+",
        default=[Stage(128, 16, 80_000), Stage(192, 16, 60_000), Stage(224, 8, 12_000)],
        metavar="SIZE/STRIDE:CROPS",
        help="parts of the run; left out: 128/16:80000 192/16:60000 224/8:12000",
    )
    add("--depth", type=int, default=50, help="depth of the ResNet; evaluation and export know 50 only")
    add(
        "--activation",
        choices=HEATMAP_ACTIVATIONS,
        default="softmax",
        help="paper, Table 2; evaluation and export know softmax only",
    )
    add("--regulariser", choices=REGULARISERS, default="js", help="paper, Table 3; none is DSNT, js is DSNTr")
    add("--sigma", type=float, default=8.0, help="the regulariser's sigma, input pixels: one cell of a 28 x 28 map")
    add("--weight", type=float, default=1.0, help="the regulariser's weight lambda; of absent joints too")
    add("--rate", type=float, default=4e-4, help="largest learning rate")
    add("--head-rate", type=float, default=10.0, help="learning rate of the heatmap convolution, times the others'")
    add("--weight-decay", type=float, default=0.01)
    add("--batch", type=int, default=32)
    add("--frozen-stages", type=int, default=1, help="ResNet stages that stay as they are; 0 trains all")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="processor threads; 0 leaves the choice to torch")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--evaluate-every", type=int, default=6_400, help="crops between looks at the development people")
    options = parser.parse_args(arguments)
    if options.batch < 1 or options.evaluate_every < 1:
        parser.error("--batch and --evaluate-every must be at least 1")
    if (crops := sum(stage.crops for stage in options.stages)) < options.batch:
        parser.error(f"the stages have {crops} crops together, fewer than one batch of {options.batch}")
    return options


def native_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 natively; emulation on a CPU is 15 times slower than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: str) -> torch.autocast:
    """Mixed precision in bfloat16 where the device has it; the DSNT head stays in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=native_bf16(device))


def freeze(network: PoseNetwork, stages: int) -> None:
    """Stop the stem and the first `stages` ResNet stages from learning, their batch norm's statistics included."""
    if stages == 0:
        return
    backbone = network.backbone
    for name in ("conv1", "bn1", *(f"layer{stage}" for stage in range(1, stages + 1))):
        module = backbone.get_submodule(name)
        module.requires_grad_(False)
        module.eval()


def parameter_groups(
    network: PoseNetwork, frozen_stages: int, head_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: biases and batch norm without decay, the heatmap convolution with its own rate."""
    freeze(network, frozen_stages)
    learning = [
        (name, p) for name, p in network.named_parameters() if p.requires_grad and not name.startswith("heatmap")
    ]
    return [
        {"params": [p for _, p in learning if p.ndim > 1], "weight_decay": weight_decay, "times": 1.0},
        {"params": [p for _, p in learning if p.ndim == 1], "weight_decay": 0.0, "times": 1.0},
        {"params": list(network.heatmap.parameters()), "weight_decay": weight_decay, "times": head_rate},
    ]


def learning_rate(step: int, steps: int, largest: float) -> float:
    """Linear warm-up over at most a tenth of the steps, then one cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / max(1, min(WARM_UP_STEPS, steps // 10)))
    return largest * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def moving_average(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
    """Move averages of one type towards the current values, in place: exponentially, with a short memory at first."""
    if averaged[0].is_floating_point():
        decay = min(AVERAGE_DECAY**AVERAGE_EVERY, int(updates) / (int(updates) + 5))
        get_ema_multi_avg_fn(decay)(averaged, current, updates)  # type: ignore[no-untyped-call]
    else:  # batch norm's counts of batches
        for mean, value in zip(averaged, current, strict=True):
            mean.copy_(value)


@dataclass
class Run:
    """A network in training: everything that a checkpoint holds, and the step that changes it."""

    options: argparse.Namespace
    network: PoseNetwork
    optimiser: torch.optim.Optimizer
    average: AveragedModel
    seen: int = 0
    losses: list[Tensor] = field(default_factory=list)

    @classmethod
    def begin(cls, options: argparse.Namespace) -> Self:
        """A new run from `options.start`, or the one that `options.out` holds."""
        network = PoseNetwork(options.depth, options.stages[0].stride, options.activation)
        if options.start:
            load_weights(network, options.start)
        network.to(options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(network, options.frozen_stages, options.head_rate, options.weight_decay)
        average = AveragedModel(network, multi_avg_fn=moving_average, use_buffers=True)
        run = cls(options, network, torch.optim.AdamW(groups, lr=options.rate, fused=True), average)
        if run.checkpoint.exists():
            run._load(read_checkpoint(run.checkpoint))
            print(f"going on after {run.seen} crops", flush=True)
        return run

    @property
    def checkpoint(self) -> Path:
        """The file that the run resumes from."""
        return Path(self.options.out) / "checkpoint.pt"

    @property
    def steps(self) -> int:
        """How many batches the run has learnt from."""
        return self.seen // int(self.options.batch)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "seen": self.seen}
        updates = int(self.average.get_buffer("n_averaged"))
        save_checkpoint(self.checkpoint, {**state, "average": self.average.module.state_dict(), "updates": updates})

    def keep_averaged(self) -> None:
        """Write the averaged weights to a file that stays: means over several of them are better still."""
        averaged = {"average": self.average.module.state_dict()}
        save_checkpoint(self.checkpoint.with_name(f"averaged-{self.seen}.pt"), averaged)

    def step(self, images: Tensor, joints: Tensor, weights: Tensor, rate: float) -> None:
        """Learn from one batch: images [N, 3, h, w], joints [N, 16, 2] and their weights [N, 16]."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["times"]
        with autocast(options.device):
            heatmaps = self.network(images.contiguous(memory_format=torch.channels_last)).heatmaps
        sigma_cells = options.sigma * heatmaps.shape[-1] / images.shape[-1]
        losses = joint_losses(heatmaps, joints, REGULARISERS[options.regulariser], sigma_cells, options.weight)
        absent = weights == ABSENT
        losses = torch.where(absent, options.weight * absence_loss(heatmaps), losses)
        loss = masked_mean(losses, torch.where(absent, 1, weights))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.optimiser.step()
        self.losses.append(loss.detach())  # its value would have to be waited for
        self.seen += len(images)
        if self.steps % AVERAGE_EVERY == 1:  # the first step's weights among them, however short the run
            self.average.update_parameters(self.network)

    def averaged(self, stride: int) -> PoseNetwork:
        """The network with averaged weights, for inference."""
        network = PoseNetwork(self.options.depth, stride, self.options.activation)
        network.load_state_dict(self.average.module.state_dict())
        return network.to(self.options.device).eval()

    def _load(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average.module.load_state_dict(saved["average"])
        self.average.get_buffer("n_averaged").fill_(saved["updates"])
        self.seen = saved["seen"]


def lead_px(stride: int) -> float:
    """How far crops are shifted so that the weights' sense of position does not depend on the stride.

    Cell i looks at input pixel `stride * i` and stands for its centre, `stride * (i + 1/2)`: the network learns to look
    half a stride ahead. Shifted by half the difference, a coarser stride looks as far ahead as the shipped one.
    """
    return (stride - SHIPPED_STRIDE) / 2


@torch.no_grad()
def evaluate(network: PoseNetwork, development: People, stride: int, device: str) -> Accuracy:
    """PCKh of a network in inference mode on development people, at the crop size that they were loaded for."""
    crops, found = nominal_crops(development, round(lead_px(stride))), []
    for start in range(0, len(crops), 32):
        with autocast(device):
            images = normalise(crops[start : start + 32].to(device)).contiguous(memory_format=torch.channels_last)
            found.append(network.infer(images).coordinates.cpu())
    labelled = (development.weights > 0).numpy()
    return pckh(torch.cat(found).numpy(), development.joints.numpy(), labelled, development.head_sizes.numpy())


def batches(
    people: People, batch: int, generator: torch.Generator, device: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches of pictures, joints and weights; `SOURCE_SHARES` says who is drawn how often.

    Everybody lies on the device, 6 GB for the whole pack at 224 px: a GPU would wait for pictures that come one by one.
    """
    shares = torch.tensor([SOURCE_SHARES.get(source, 1.0) for source in people.sources])
    pictures, joints, weights = people.pictures.to(device), people.joints.to(device), people.weights.to(device)
    while True:
        chosen = torch.multinomial(shares, batch, replacement=False, generator=generator).to(device)
        yield pictures[chosen], joints[chosen], weights[chosen]


def reseed(generators: Sequence[torch.Generator], seed: int, seen: int) -> None:
    """Make what a step draws depend on the run's seed and the crops before it only: a resumed run draws the same."""
    random = Random(f"{seed} {seen}")
    for generator in generators:
        generator.manual_seed(random.getrandbits(32))


def train(options: argparse.Namespace) -> None:
    """Run all stages, from the checkpoint in `options.out` where there is one."""
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True  # shapes stay the same, so a search pays
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    persons, weights = corrected_labels(
        list(read_people(options.data, training_packs(options.data))), read_pseudo_labels(options.data)
    )
    development = [p for p in read_people(options.data, [DEVELOPMENT]) if p.source == "mpii"]
    run = Run.begin(options)
    precision = "bfloat16" if native_bf16(options.device) else "float32"
    print(f"{len(persons)} people, {precision} on {options.device}", flush=True)
    end = 0
    for stage in options.stages:
        end += stage.crops
        if run.seen < end:
            people, looked_at = load_people(persons, weights, stage.size), load_people(development, None, stage.size)
            run.network.backbone.set_output_stride(stage.stride)
            train_stage(run, stage, end, people, looked_at)
    run.save()


def train_stage(run: Run, stage: Stage, end: int, people: People, development: People) -> None:
    """Train at one size until the run has seen `end` crops."""
    options, augmentation, lead = run.options, Augmentation(), lead_px(stage.stride)
    total = sum(each.crops for each in options.stages)
    generators = choice, change = torch.Generator(), torch.Generator(options.device)
    source = batches(people, options.batch, choice, options.device)
    title = f"{stage.size}/{stage.stride}"
    with tqdm(total=total, initial=run.seen, unit="crop", desc=title, mininterval=5) as progress:
        while run.seen < end:
            run.network.train()
            freeze(run.network, options.frozen_stages)
            before = run.seen
            reseed(generators, options.seed, before)
            batch = augmentation(*next(source), stage.size, change, lead)
            run.step(*batch, learning_rate(run.steps, total // options.batch, options.rate))
            progress.update(run.seen - before)
            if run.seen // options.evaluate_every > before // options.evaluate_every or run.seen >= end:
                accuracy = evaluate(run.averaged(stage.stride), development, stage.stride, options.device)
                loss = torch.stack(run.losses).mean().item()
                progress.write(f"{title} {run.seen} crops: loss {loss:.4f}, PCKh {accuracy.total:.2f}")
                log(options.out / "log.csv", run.seen, stage, loss, accuracy)
                run.losses.clear()
                run.keep_averaged()
                run.save()


def log(path: Path, seen: int, stage: Stage, loss: float, accuracy: Accuracy) -> None:
    """Add a line to the log, and the header where it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["crops", "size", "stride", "loss", "pckh", *accuracy.columns])
        columns = [f"{value:.2f}" for value in accuracy.columns.values()]
        writer.writerow([seen, stage.size, stage.stride, f"{loss:.5f}", f"{accuracy.total:.2f}", *columns])
