"""What is common to the commands that write a file of another precision beside an existing float file."""

import argparse
from collections.abc import Callable
from pathlib import Path

import onnx

from export.gate import Limits, Review, exit_status, read_views
from export.onnx_files import replacing
from models.evaluation.predictors import run_onnx
from models.evaluation.reliability import everybody
from models.spec.contract import SHIPPED_MODEL, variant


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every such command."""
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED_MODEL, help="the float file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    parser.add_argument("--out", type=Path, help="the file to write; left out, beside the float file")
    Limits.add_options(parser)


def write_variant(precision: str, make: Callable[[], onnx.ModelProto], options: argparse.Namespace) -> int:
    """Make a file, measure it against the float file that it was made of, and put it in its place.

    Args:
        precision: One of `contract.VARIANTS`.
        make: Makes the model out of `options.model`.
        options: Of `add_options`.

    Returns:
        The command's exit status: 1 where the file is refused, with the reason on stderr and the old file left.
    """

    def write() -> None:
        views = read_views(options.data)
        reference = run_onnx(options.model, everybody(views)).joints
        with replacing(options.out or variant(options.model, precision)) as (path,):
            Review(views, Limits.of(options)).admit(make(), path, reference)

    return exit_status(write)
