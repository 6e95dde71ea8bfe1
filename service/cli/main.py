"""The command line: `dsnt-pose serve`, `dsnt-pose predict` and `dsnt-pose report`."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from service.api.app import create_app
from service.api.lifecycle import Runtime
from service.api.server import Server, listen
from service.errors import ServiceError, StartupError
from service.formats.native import answer
from service.formats.overlay import overlay
from service.host import use_one_heap
from service.inference.onnx_engine import OnnxEngine
from service.metrics import Metrics
from service.photos.decoding import FORMATS, decode
from service.poses.estimator import Estimator
from service.poses.options import Options, parse_options
from service.poses.people import Poses
from service.report.formats import as_json, as_text
from service.report.table4 import build_report, time_engine
from service.settings import Settings, environment_warnings

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it did its work, 1 when a photo is refused, 2 when it cannot start.

    Args:
        arguments: The command line; the process' own if left out.
    """
    use_one_heap()
    chosen = _parser().parse_args(arguments)
    try:
        code = int(chosen.command(chosen))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough; the interpreter would flush the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StartupError, ServiceError) as error:
        print(f"dsnt-pose: {error}", file=sys.stderr)
        return 1 if isinstance(error, ServiceError) else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dsnt-pose", description="Human pose estimation.")
    commands = parser.add_subparsers(required=True, metavar="command")
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument("--model", metavar="FILE", help="ONNX model file (default: the shipped one)")
    engine.add_argument("--provider", metavar="NAME", help="auto, cpu, openvino, cuda or tensorrt (default: auto)")
    engine.add_argument("--precision", metavar="NAME", help="auto, int8, fp16, bf16 or fp32 (default: auto)")
    engine.add_argument("--threads", metavar="N", help="threads of the network (default: all that may be used)")

    serve = commands.add_parser("serve", parents=[engine], help="answer photos over HTTP")
    serve.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", metavar="N", help="port to listen on, 0 for a free one (default: 8000)")
    serve.set_defaults(command=_serve)

    predict = commands.add_parser("predict", parents=[engine], help="estimate one photo's poses")
    predict.add_argument("photo", type=Path, help=", ".join(FORMATS))
    predict.add_argument(
        "--box",
        action="append",
        metavar="X,Y,W,H",
        help="a person's box in photo pixels; may be repeated; write --box=-5,0,90,200 for a negative x",
    )
    predict.add_argument("--flip", action="store_true", help="average with the mirror image")
    predict.add_argument(
        "--refine", action=argparse.BooleanOptionalAction, help="find the person first (default: without --box)"
    )
    predict.add_argument(
        "-o", "--output", type=_picture, metavar="FILE", help="write the photo with the skeletons drawn"
    )
    predict.add_argument("--json", action="store_true", help="print what POST /pose would answer")
    predict.set_defaults(command=_predict)

    report = commands.add_parser("report", parents=[engine], help="time this machine and print the paper's Table 4")
    report.add_argument("--runs", type=_at_least_one, default=50, metavar="N", help="timed runs (default: 50)")
    report.add_argument("--json", action="store_true", help="print what GET /report would answer")
    report.set_defaults(command=_report)
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _picture(text: str) -> Path:
    path = Path(text)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise argparse.ArgumentTypeError(f"{text} does not end as a picture does, such as .png or .jpg")
    return path


def _settings(chosen: argparse.Namespace) -> Settings:
    names = ("host", "port", "model", "provider", "precision", "threads")
    return Settings.load(**{name: getattr(chosen, name, None) for name in names})


def _serve(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen)
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=settings.log_level.upper(), format=form)
    for sentence in environment_warnings():
        _log.warning(sentence)
    listener = listen(settings.host, settings.port)
    engine = OnnxEngine(settings)
    app = create_app(settings, lambda _: engine)
    runtime: Runtime = app.state.runtime
    server = Server(app, runtime)
    # Before uvicorn listens to signals, and when it raises them again after its drain: a service that was asked to stop
    # and did has not failed.
    signal.signal(signal.SIGTERM, server.handle_exit)
    try:
        with listener, contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    except SystemExit:  # uvicorn's, when the runtime does not start
        if runtime.start_error is None:
            raise
    if error := runtime.start_error:
        reason = error.__cause__ or error
        raise StartupError(f"the service cannot start: {str(reason) or type(reason).__name__}") from error
    return 0


def _predict(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen)
    given = {"boxes": chosen.box and ";".join(chosen.box), "flip": chosen.flip, "refine": chosen.refine}
    options = parse_options([(name, value) for name, value in given.items() if value is not None], settings.max_boxes)
    data = _read(chosen.photo)
    engine = OnnxEngine(settings)
    poses = asyncio.run(_estimate(data, options, settings, engine))
    if chosen.output:
        _write(chosen.output, data, poses, settings)
    if chosen.json:
        print(json.dumps(answer(poses, engine.info), indent=2))
    else:
        print(table(poses))
    return 0


def _report(chosen: argparse.Namespace) -> int:
    engine = OnnxEngine(_settings(chosen))
    engine.warm_up()
    report = build_report(engine, time_engine(engine, chosen.runs), "now")
    print(as_json(report) if chosen.json else as_text(report), end="")
    return 0


async def _estimate(data: bytes, options: Options, settings: Settings, engine: OnnxEngine) -> Poses:
    estimator = Estimator(settings, engine, Metrics())
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
        lines += ["", f"person {index}, " + ("whole photo" if person.whole_image else f"box {box}")]
        lines += [f"{'joint':<16}{'x':>10}{'y':>10}{'confidence':>12}{'spread':>16}"]
        for name, (x, y), confidence, (major, minor, _) in zip(
            poses.skeleton.joints, person.joints, person.confidence, person.std, strict=True
        ):
            lines.append(f"{name:<16}{x:>10.1f}{y:>10.1f}{confidence:>12.2f}{f'{major:.1f} x {minor:.1f}':>16}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
