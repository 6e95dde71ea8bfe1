"""One onnxruntime session: which file, on which provider, in which precision.

The fastest plan that the installed runtime, the processor and the model's files allow is tried first. What a
setting names is used or is an error: onnxruntime alone would fall back without a word.
"""

import importlib.metadata
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from models.spec.contract import VARIANTS, Statement, variant
from models.spec.metadata import ContractError, read_metadata
from service.errors import StartupError
from service.host import has_native_bf16
from service.settings import Settings

_log = logging.getLogger(__name__)

RUNTIMES: Final = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")
"""Distributions that share the import package `onnxruntime`: exactly one may be installed."""


ReadStatement = Callable[[Mapping[str, str]], Statement]
"""Reads what a file of one kind says of itself, out of its metadata."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider of onnxruntime, and all that is to be known of it.

    Attributes:
        name: Ours.
        long_name: onnxruntime's.
        precisions: Those that it computes in, the fastest first.
        options: Makes its options from precision, threads and streams.
        on_gpu: Whether it computes on a GPU.
        automatic: Whether `auto` tries it; TensorRT is slow to start and must be named.
    """

    name: str
    long_name: str
    precisions: tuple[str, ...]
    options: Callable[[str, int, int], dict[str, str]]
    on_gpu: bool = False
    automatic: bool = True


def _openvino_options(precision: str, threads: int, streams: int) -> dict[str, str]:
    """OpenVINO computes in float32 by default, and takes `load_config` as JSON text only.

    It leaves the work to the CPU provider without a word when it dislikes an option.
    """
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
    }
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": hints})}


def _cuda_options(precision: str, threads: int, streams: int) -> dict[str, str]:
    """CUDA's default, an exhaustive search, makes a start 0.6 s longer and nothing faster."""
    del precision, threads, streams
    return {"cudnn_conv_algo_search": "HEURISTIC"}


def _tensorrt_options(precision: str, threads: int, streams: int) -> dict[str, str]:
    """TensorRT rounds to float16 only where it is allowed to."""
    del threads, streams
    return {"trt_fp16_enable": str(precision == "fp16")}


def _no_options(precision: str, threads: int, streams: int) -> dict[str, str]:
    del precision, threads, streams
    return {}


PROVIDERS: Final = {
    provider.name: provider
    for provider in (
        Provider("cuda", "CUDAExecutionProvider", ("fp16", "fp32"), _cuda_options, on_gpu=True),
        Provider("openvino", "OpenVINOExecutionProvider", ("int8", "bf16", "fp32"), _openvino_options),
        Provider("cpu", "CPUExecutionProvider", ("int8", "fp32"), _no_options),
        Provider(
            "tensorrt", "TensorrtExecutionProvider", ("fp16", "fp32"), _tensorrt_options, on_gpu=True, automatic=False
        ),
    )
}
"""All providers by name, in the order in which `auto` tries them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A provider by name, a precision, and the file that goes with it.

    Attributes:
        as_asked: Whether the provider is the one asked for, which for `auto` is the best installed.
    """

    provider: str
    precision: str
    file: Path
    as_asked: bool = True


def open_session(settings: Settings, threads: int, read: ReadStatement) -> tuple[Plan, Any]:
    """The first plan that onnxruntime really follows, and its session, of a file that `read` knows.

    Raises:
        StartupError: There is not exactly one runtime or no whole float model file, its file for the precision that
            was asked for holds other weights, or nothing installed does what was asked.
    """
    check_runtimes()
    if not settings.model.is_file():
        raise StartupError(
            f"there is no model file at {settings.model}; DSNT_POSE_MODEL and DSNT_POSE_FINDER, or --model and "
            "--finder, name them"
        )
    for precision in VARIANTS:
        if settings.model.stem.endswith(f"-{precision}"):
            raise StartupError(
                f"{settings.model} is the {precision} file of a model: name the float file beside it, and {precision} "
                f"by DSNT_POSE_PRECISION or --precision"
            )
    import onnxruntime as ort  # noqa: PLC0415 - half a second, and `predict --help` needs none of it

    available = ort.get_available_providers()
    installed = [name for name, provider in PROVIDERS.items() if provider.long_name in available]
    if settings.provider not in ("auto", *installed):
        raise StartupError(
            f"the provider {settings.provider} is not in the installed runtime, which has {', '.join(installed)}"
        )
    taken = "none"
    plans = _of_one_model(settings, tuple(_plans(settings, installed)), read)
    for plan in plans:
        session = _make_session(ort, plan, threads)
        taken = session.get_providers()[0]
        if taken == PROVIDERS[plan.provider].long_name:
            return replace(plan, as_asked=plan.provider == plans[0].provider), session
        _log.warning("onnxruntime replaced the provider %s by %s", plan.provider, taken)
    if taken != "none":
        raise StartupError(
            f"the provider {settings.provider} was asked for, but onnxruntime silently took {taken} in its place; "
            f"its log above says why"
        )
    raise StartupError(_no_plan(settings, installed))


def open_another(plan: Plan, threads: int, streams: int = 1) -> Any:
    """Another session of a plan, which computes up to `streams` calls at once, each with its share of the threads.

    Raises:
        StartupError: onnxruntime cannot make it, or not with the plan's provider.
    """
    import onnxruntime as ort  # noqa: PLC0415 - as above

    session = _make_session(ort, plan, threads, streams)
    if (taken := session.get_providers()[0]) != PROVIDERS[plan.provider].long_name:
        raise StartupError(f"onnxruntime replaced the provider {plan.provider} by {taken} in another of its sessions")
    return session


def check_runtimes() -> None:
    """Refuse to start without a runtime, or with two of them in each other's files.

    Raises:
        StartupError: No distribution of `RUNTIMES` is installed, or more than one is.
    """
    installed = [name for name in RUNTIMES if _is_installed(name)]
    if not installed:
        raise StartupError(
            "no runtime is installed; install one of dsnt-pose[cpu], dsnt-pose[openvino], dsnt-pose[gpu]"
        )
    if len(installed) > 1:
        raise StartupError(
            f"{' and '.join(installed)} are installed together and overwrite each other's files; "
            f"uninstall all of them, then install one"
        )


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _plans(settings: Settings, installed: list[str]) -> Iterator[Plan]:
    """What may be tried, best first."""
    automatic = [name for name in installed if PROVIDERS[name].automatic]
    for provider in automatic if settings.provider == "auto" else [settings.provider]:
        for precision in PROVIDERS[provider].precisions:
            file = variant(settings.model, precision)
            possible = file.is_file() and (precision != "bf16" or has_native_bf16())
            if possible and settings.precision in ("auto", precision):
                yield Plan(provider, precision, file)


def _of_one_model(settings: Settings, plans: tuple[Plan, ...], read: ReadStatement) -> tuple[Plan, ...]:
    """The plans whose files hold the named file's weights; the log warns of each other file.

    The named file is read even where a variant of it is to compute.

    Raises:
        StartupError: The named file is not whole, or a file with other weights is of the precision asked for.
    """
    named, others = settings.model, {plan.file for plan in plans} - {settings.model}
    try:
        metadata = read_metadata(named)
        if not others:
            return plans  # the session's metadata are the engine's to check
        own = read(metadata)
    except ContractError as error:
        raise StartupError(f"{named} is not a model of this service: {error}") from error
    differences = {file: f"{file} {words}" for file in sorted(others) if (words := _difference(own, file, read))}
    if differences and settings.precision != "auto":
        raise StartupError(f"the precision {settings.precision} was asked for, but {'; '.join(differences.values())}")
    for difference in differences.values():
        _log.warning("%s and is left out in favour of %s", difference, named)
    return tuple(plan for plan in plans if plan.file not in differences)


def _difference(own: Statement, file: Path, read: ReadStatement) -> str:
    """What keeps a file from being a variant of the one with this contract; empty where nothing does."""
    try:
        other = read(read_metadata(file))
    except ContractError as error:
        return f"is not a model of this service ({error})"
    for name in ("name", "version", "training"):
        if getattr(other, name) != getattr(own, name):
            return f"is of other weights (its {name} is {getattr(other, name)}, not {getattr(own, name)})"
    return ""


def _no_plan(settings: Settings, installed: list[str]) -> str:
    """Why the precision that was asked for cannot be had."""
    file = variant(settings.model, settings.precision)
    start = f"the precision {settings.precision} was asked for, but"
    if not file.is_file():
        return f"{start} there is no file {file} beside the model"
    if settings.precision == "bf16" and not has_native_bf16():
        return f"{start} this processor would emulate it, many times slower than fp32"
    providers = [name for name, provider in PROVIDERS.items() if settings.precision in provider.precisions]
    chosen = ", ".join(installed) if settings.provider == "auto" else settings.provider
    return f"{start} only {', '.join(providers)} can compute in it, and the provider here is {chosen}"


def _make_session(ort: Any, plan: Plan, threads: int, streams: int = 1) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads - streams + 1  # of which each caller is one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if PROVIDERS[plan.provider].on_gpu and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        provider = PROVIDERS[plan.provider]
        chosen = (provider.long_name, provider.options(plan.precision, threads, streams))
        session = ort.InferenceSession(plan.file, options, providers=[chosen])
    except Exception as error:  # onnxruntime raises classes of its own for each kind of broken file
        why = str(error).strip().splitlines()[0]
        raise StartupError(f"onnxruntime cannot load {plan.file} with the provider {plan.provider}: {why}") from error
    session.disable_fallback()
    return session
