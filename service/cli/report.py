"""`dsnt-pose report`: the paper's Table 4 with a row timed on this machine."""

import argparse
import sys

from models.spec.contract import ModelSpec
from service.cli.flags import ENGINE_SETTINGS, add_settings, read_settings
from service.inference.onnx_engine import OnnxEngine
from service.report.formats import as_json, as_text
from service.report.table4 import build_report, time_engine


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the command its flags."""
    parser.add_argument("--runs", type=_at_least_one, default=50, metavar="N", help="Timed runs (default: 50).")
    parser.add_argument("--json", action="store_true", help="Print what GET /report would answer.")
    add_settings(parser, ENGINE_SETTINGS)


def run(chosen: argparse.Namespace) -> int:
    """Time the network and print the report; 0.

    Raises:
        StartupError: A setting or the model is wrong.
    """
    engine = OnnxEngine(read_settings(chosen), ModelSpec)
    engine.warm_up()
    report = build_report(engine, time_engine(engine, chosen.runs), "now")
    print(as_json(report) if chosen.json else as_text(report, sys.stdout.encoding), end="")
    return 0


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
