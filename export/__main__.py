"""Export trained weights: `python -m export WEIGHTS --data FOLDER --images-seen N --out FILE.onnx`.

Writes the float file and its variants, fits the confidence of each on what it says of the development people, whole and
half bodies, and measures it there. Nothing is replaced unless the float file says what torch says and every file holds
its accuracy.
"""

import argparse
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from export.float16 import to_half
from export.gate import Limits, Review, check_parity, exit_status, read_views
from export.graph import READING, ExportGraph, export_model, store_as_float16
from export.int8 import add_int8_options, to_int8
from export.onnx_files import read_contract, replacing
from models.evaluation.calibration import UNFITTED
from models.evaluation.predictors import run_network
from models.evaluation.reliability import everybody
from models.networks.checkpoint import load_weights, source_commit
from models.networks.pose import PoseNetwork
from models.spec.contract import (
    SHIPPED_MODEL,
    VARIANTS,
    WEIGHTS_FOLDER,
    Contract,
    StatedAccuracy,
    variant,
)
from models.spec.crop import INPUT_SIZE, CropRule
from models.spec.metadata import ContractError
from models.spec.skeleton import MPII

ABOUT: Final = {
    "name": "the model's name",
    "training-data": "what the weights were trained on, in words",
    "development-data": "whom the accuracy is measured on, in words",
    "licence": "under which terms the weights may be used",
}
"""Entries of the file that `--about` names, each an option too."""

PARITY_CROPS: Final = 32


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; what it does not say of the weights is read from `--about`."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("weights", type=Path, nargs="+", help="a checkpoint, .safetensors or .onnx file; the mean is taken of several")
    add("--data", type=Path, required=True, help="folder of the people pack")
    add("--images-seen", type=int, required=True, help="crops that the weights were trained on")
    add("--depth", type=int, default=50, help="depth of the ResNet")
    add("--version", default=f"{datetime.now(UTC):%Y.%m.%d}", help="release of the weights; left out, today")
    add("--about", type=Path, default=WEIGHTS_FOLDER / "export.toml", help=f"TOML file with {', '.join(ABOUT)}")
    for entry, meaning in ABOUT.items():
        add(f"--{entry}", help=f"{meaning}; left out, as --about says")
    add("--out", type=Path, default=SHIPPED_MODEL, help="the float file")
    add("--variants", nargs="*", choices=VARIANTS, default=["int8"], help="files written beside it (default: int8)")
    Limits.add_options(parser)
    add_int8_options(parser)
    options = parser.parse_args(arguments)
    try:
        about = tomllib.loads(options.about.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"--about {options.about} cannot be read: {error}")
    for entry in ABOUT:
        name = entry.replace("-", "_")
        if getattr(options, name) is None:
            setattr(options, name, about.get(entry))
        if getattr(options, name) is None:
            parser.error(f"{options.about} has no `{entry}`: say it there or with --{entry}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where a file is refused: stderr says why, and no file is replaced."""
    options = parse_options(arguments)
    return exit_status(lambda: export(options))


def export(options: argparse.Namespace) -> None:
    """Write the float file and its variants.

    Raises:
        GateError: A file does not hold what it must; none is replaced.
        PackError: The pack cannot be read.
        WeightsError: The weights cannot be read, or are not of this network.
        OSError: A file cannot be written.
    """
    network, views = PoseNetwork(options.depth), read_views(options.data)
    load_weights(network, *options.weights)
    people, limits = everybody(views), Limits.of(options)
    joints = run_network(network, people).joints
    graph, contract = ExportGraph(network, UNFITTED), _describe(options)
    model = export_model(graph, contract)
    check_parity(model, graph, np.stack([person.cut(INPUT_SIZE) for person in people[:PARITY_CROPS]]), limits)
    review = Review(views, limits)
    targets = [options.out, *(variant(options.out, precision) for precision in options.variants)]
    with replacing(*targets) as (path, *others):
        reference = review.admit(store_as_float16(model), path, joints)
        for precision, other in zip(options.variants, others, strict=True):
            review.admit(to_int8(path, options) if precision == "int8" else to_half(path), other, reference)
    _warn_of_strangers(options.out, contract)


def _describe(options: argparse.Namespace) -> Contract:
    """What a file says of itself but its accuracy and its confidence."""
    return Contract(
        name=options.name,
        version=options.version,
        skeleton=MPII,
        crop=CropRule(),
        calibration={},
        accuracy=StatedAccuracy(metric="PCKh@0.5", dataset=options.development_data),
        training={"data": options.training_data, "images_seen": options.images_seen, "commit": source_commit()},
        precision="float16 weights",
        licence=options.licence,
        reading=READING,
    )


def _warn_of_strangers(path: Path, contract: Contract) -> None:
    """Name the variants beside a new float file that are of other weights, which the service does not take for it."""
    for other in (variant(path, precision) for precision in VARIANTS):
        try:
            beside = read_contract(onnx.load(str(other))) if other.is_file() else contract
        except ContractError:
            beside = None
        if beside is None or _weights(beside) != _weights(contract):
            print(f"{other} is of other weights than the new {path.name}: write it anew or remove it", file=sys.stderr)


def _weights(contract: Contract) -> tuple[str, str, Mapping[str, Any]]:
    return contract.name, contract.version, contract.training


if __name__ == "__main__":
    sys.exit(main())
