"""`dsnt-pose predict`: one photo's poses without a server, and without a server's deadline."""

import argparse
import asyncio
import json
from pathlib import Path

from PIL import Image

from service.cli.flags import ENGINE_SETTINGS, PHOTO_SETTINGS, add_options, add_settings, read_options, read_settings
from service.errors import StartupError
from service.formats.native import answer
from service.formats.overlay import overlay
from service.inference.engine import Networks
from service.inference.onnx_engine import open_networks
from service.metrics import Metrics
from service.photos.decoding import FORMATS, decode
from service.poses.estimator import Estimator
from service.poses.options import Options
from service.poses.people import Poses
from service.settings import Settings


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the command its flags: a photo, a request's options, where the poses go, and the settings that matter."""
    parser.add_argument("photo", type=Path, help=f"{', '.join(FORMATS)}.")
    parser.add_argument("-o", "--output", type=_picture, metavar="FILE", help="Write the photo, skeletons drawn on it.")
    parser.add_argument("--json", action="store_true", help="Print what POST /pose would answer.")
    repeat = "May be repeated; write --box=-5,0,90,200 for a negative x."
    boxes = {"flag": "--box", "metavar": "X,Y,W,H", "more": repeat}
    add_options(parser, boxes=boxes, heatmaps={"more": "Needs --json: a table has no room for them."})
    add_settings(parser, ENGINE_SETTINGS + PHOTO_SETTINGS)


def run(chosen: argparse.Namespace) -> int:
    """Estimate a photo's poses and print them; 0.

    Raises:
        StartupError: A file cannot be read or written, or a setting or the model is wrong.
        ServiceError: The photo or an option does not allow an answer.
    """
    if chosen.heatmaps and not chosen.json:
        raise StartupError("--heatmaps needs --json: a table has no room for them")
    settings = read_settings(chosen)
    options = read_options(chosen, settings.max_people)
    data = _read(chosen.photo)
    networks = open_networks(settings)
    poses = asyncio.run(_estimate(data, options, settings, networks))
    if chosen.output:
        _write(chosen.output, data, poses, settings)
    print(json.dumps(answer(poses, networks.pose.info), indent=2) if chosen.json else table(poses))
    return 0


def _picture(text: str) -> Path:
    path = Path(text)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise argparse.ArgumentTypeError(f"{text} does not end as a picture does, such as .png or .jpg")
    return path


async def _estimate(data: bytes, options: Options, settings: Settings, networks: Networks) -> Poses:
    estimator = Estimator(settings, networks, Metrics())
    estimator.start()
    try:
        return await estimator.estimate(data, options)
    finally:
        estimator.close(settings.drain_seconds)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes, poses: Poses, settings: Settings) -> None:
    try:
        overlay(decode(data, settings.max_pixels), poses).save(path)
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot write {path}: {error}") from error


def table(poses: Poses) -> str:
    """People and joints as text, positions and spreads in photo pixels."""
    lines = [f"photo {poses.width} x {poses.height}"]
    for index, person in enumerate(poses.people):
        box = ", ".join(f"{side:g}" for side in (person.box.x, person.box.y, person.box.width, person.box.height))
        where = "whole photo" if person.whole_image else f"box {box}"
        lines += ["", f"person {index}, {where}" + ("" if person.score is None else f", score {person.score:.2f}")]
        lines += [f"{'joint':<16}{'x':>10}{'y':>10}{'confidence':>12}{'spread':>16}"]
        for name, (x, y), confidence, (major, minor, _) in zip(
            poses.skeleton.joints, person.joints, person.confidence, person.std, strict=True
        ):
            lines.append(f"{name:<16}{x:>10.1f}{y:>10.1f}{confidence:>12.2f}{f'{major:.1f} x {minor:.1f}':>16}")
    return "\n".join(lines if poses.people else [*lines, "", "nobody"])
