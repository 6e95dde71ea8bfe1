"""One onnxruntime session: which file, on which provider, in which precision. Knows what each provider must be told.

The fastest plan that the installed runtime, the processor and the model's files allow is tried first. What was asked
for by name is used or is an error: onnxruntime alone would fall back without a word.
"""

import importlib.metadata
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from models.spec.contract import VARIANTS, Contract, ContractError, read_metadata, variant
from service.errors import StartupError
from service.host import has_native_bf16
from service.settings import Settings

_log = logging.getLogger(__name__)

RUNTIMES: Final = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")
"""Distributions that share the import package `onnxruntime`: exactly one may be installed."""

PROVIDERS: Final = {
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""onnxruntime's names. `auto` tries the first three, in this order; TensorRT is slow to start and must be named."""

_PRECISIONS: Final = {  # of each provider, fastest first
    "cuda": ("fp16", "fp32"),
    "openvino": ("int8", "bf16", "fp32"),
    "cpu": ("int8", "fp32"),
    "tensorrt": ("fp16", "fp32"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A provider, a precision, and the file that goes with it.

    Attributes:
        as_asked: Whether the provider is the one asked for, which for `auto` is the best installed.
    """

    provider: str
    precision: str
    file: Path
    as_asked: bool = True


def open_session(settings: Settings, threads: int) -> tuple[Plan, Any]:
    """The first plan that onnxruntime really follows, and its session.

    Raises:
        StartupError: There is not exactly one runtime or no whole float model file, its file for the precision that
            was asked for holds other weights, or nothing installed does what was asked.
    """
    check_runtimes()
    if not settings.model.is_file():
        raise StartupError(f"there is no model file at {settings.model}; DSNT_POSE_MODEL or --model names one")
    for precision in VARIANTS:
        if settings.model.stem.endswith(f"-{precision}"):
            raise StartupError(
                f"{settings.model} is the {precision} file of a model: name the float file beside it, and {precision} "
                f"by DSNT_POSE_PRECISION or --precision"
            )
    import onnxruntime as ort  # noqa: PLC0415 - half a second, and `predict --help` needs none of it

    installed = [name for name, long_name in PROVIDERS.items() if long_name in ort.get_available_providers()]
    if settings.provider not in ("auto", *installed):
        raise StartupError(
            f"the provider {settings.provider} is not in the installed runtime, which has {', '.join(installed)}"
        )
    taken = "none"
    plans = _of_one_model(settings, tuple(_plans(settings, installed)))
    for plan in plans:
        session = _make_session(ort, plan, threads)
        taken = session.get_providers()[0]
        if taken == PROVIDERS[plan.provider]:
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
    if (taken := session.get_providers()[0]) != PROVIDERS[plan.provider]:
        raise StartupError(f"onnxruntime replaced the provider {plan.provider} by {taken} in another of its sessions")
    return session


def check_runtimes() -> None:
    """Refuse to start without a runtime, or with two of them in each other's files."""
    found = [name for name in RUNTIMES if _is_installed(name)]
    if not found:
        raise StartupError(
            "no runtime is installed; install one of dsnt-pose[cpu], dsnt-pose[openvino], dsnt-pose[gpu]"
        )
    if len(found) > 1:
        raise StartupError(
            f"{' and '.join(found)} are installed together and overwrite each other's files; "
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
    automatic = [name for name in installed if name != "tensorrt"]
    for provider in automatic if settings.provider == "auto" else [settings.provider]:
        for precision in _PRECISIONS[provider]:
            file = variant(settings.model, precision)
            possible = file.is_file() and (precision != "bf16" or has_native_bf16())
            if possible and settings.precision in ("auto", precision):
                yield Plan(provider, precision, file)


def _of_one_model(settings: Settings, plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
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
        own = Contract.from_metadata(metadata)
    except ContractError as error:
        raise StartupError(f"{named} is not a model of this service: {error}") from error
    differences = {file: f"{file} {words}" for file in sorted(others) if (words := _difference(own, file))}
    if differences and settings.precision != "auto":
        raise StartupError(f"the precision {settings.precision} was asked for, but {'; '.join(differences.values())}")
    for difference in differences.values():
        _log.warning("%s and is left out in favour of %s", difference, named)
    return tuple(plan for plan in plans if plan.file not in differences)


def _difference(own: Contract, file: Path) -> str:
    """What keeps a file from being a variant of the one with this contract; empty where nothing does."""
    try:
        other = Contract.from_metadata(read_metadata(file))
    except ContractError as error:
        return f"is not a model of this service ({error})"
    for name in ("name", "version", "training"):
        if getattr(other, name) != getattr(own, name):
            return f"is of other weights (its {name} is {getattr(other, name)}, not {getattr(own, name)})"
    return ""


def _no_plan(settings: Settings, installed: list[str]) -> str:
    """Why the precision that was asked for cannot be had."""
    file = variant(settings.model, settings.precision)
    asked = f"the precision {settings.precision} was asked for, but"
    if not file.is_file():
        return f"{asked} there is no file {file} beside the model"
    if settings.precision == "bf16" and not has_native_bf16():
        return f"{asked} this processor would emulate it, many times slower than fp32"
    providers = [name for name, precisions in _PRECISIONS.items() if settings.precision in precisions]
    chosen = ", ".join(installed) if settings.provider == "auto" else settings.provider
    return f"{asked} only {', '.join(providers)} can compute in it, and the provider here is {chosen}"


def _make_session(ort: Any, plan: Plan, threads: int, streams: int = 1) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads - streams + 1  # of which each caller is one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if plan.provider in ("cuda", "tensorrt") and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        provider = (PROVIDERS[plan.provider], provider_options(plan, threads, streams))
        session = ort.InferenceSession(plan.file, options, providers=[provider])
    except Exception as error:  # onnxruntime raises classes of its own for each kind of broken file
        told = str(error).strip().splitlines()[0]
        raise StartupError(f"onnxruntime cannot load {plan.file} with the provider {plan.provider}: {told}") from error
    session.disable_fallback()
    return session


def provider_options(plan: Plan, threads: int, streams: int = 1) -> dict[str, str]:
    """Options of a provider.

    OpenVINO computes in float32 unless told otherwise, takes `load_config` as JSON text only, and leaves the work to
    the CPU provider without a word when it dislikes an option. CUDA's default, an exhaustive search, makes a start
    0.6 s longer and nothing faster. TensorRT rounds to float16 only where it is allowed to.
    """
    match plan.provider:
        case "openvino":
            hints = {
                "INFERENCE_PRECISION_HINT": "bf16" if plan.precision == "bf16" else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
            }
            return {"device_type": "CPU", "load_config": json.dumps({"CPU": hints})}
        case "cuda":
            return {"cudnn_conv_algo_search": "HEURISTIC"}
        case "tensorrt":
            return {"trt_fp16_enable": str(plan.precision == "fp16")}
        case _:
            return {}
