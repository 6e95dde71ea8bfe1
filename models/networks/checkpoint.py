"""State dicts of the networks from every kind of file that holds one, and training checkpoints."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run as run_command
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

_BACKBONE: Final = "backbone."


class WeightsError(ValueError):
    """A file of weights that cannot be read, or is of another network."""


def read_weights(path: Path) -> StateDict:
    """Read weights under `PoseNetwork`'s names.

    Args:
        path: A `.safetensors` file with torchvision's names (ImageNet weights; int8 weights with a scale for each
            output channel are expanded), or another file of `read_tensors`.

    Raises:
        WeightsError: The file's ending is none of these, or the file cannot be read.
    """
    tensors = read_tensors(path)
    return {_own_name(name): value for name, value in tensors.items()} if path.suffix == ".safetensors" else tensors


def read_tensors(path: Path) -> StateDict:
    """Read weights under the names that they have in a file.

    Args:
        path: A `.safetensors` file, an exported `.onnx` file, or a training checkpoint `.pt`, of which the averaged
            weights are taken.

    Raises:
        WeightsError: The file's ending is none of these, or the file cannot be read.
    """
    readers = {".safetensors": _read_safetensors, ".onnx": _read_onnx, ".pt": _read_checkpoint}
    if path.suffix not in readers:
        raise WeightsError(f"{path}: weights are read from {', '.join(readers)}, not from `{path.suffix}`")
    with _refused(path):
        return readers[path.suffix](path)


def load_weights(network: nn.Module, *paths: Path, read: Callable[[Path], StateDict] = read_weights) -> None:
    """Fill a network from a file, or with the mean of several files' weights.

    Weights of one run at different times, or of runs from one start, lie close enough for their mean to be better than
    each (Wortsman et al. 2022, "Model soups", arXiv 2203.05482). A heatmap convolution that the files lack (ImageNet
    weights) keeps its start.

    Args:
        network: To be filled.
        paths: The files.
        read: Reads a file's weights under the network's names.

    Raises:
        WeightsError: A file cannot be read, lacks other weights of the network, or has some of another shape.
    """
    states = [_matching(network, path, read(path)) for path in paths]
    mean = {
        name: sum(state[name] for state in states) / len(states) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    network.load_state_dict(mean, strict=False)


def _matching(network: nn.Module, path: Path, stored: StateDict) -> StateDict:
    """The weights in a file that the network has; an error where it lacks some, or they do not fit."""
    own = network.state_dict()
    state = {name: value for name, value in stored.items() if name in own}
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked") and n != "heatmap.weight"]
    wrong = [n for n, value in state.items() if value.shape != own[n].shape]
    if missing or wrong:
        raise WeightsError(
            f"{path} is not of this network: {len(missing)} tensors missing, {len(wrong)} of another shape"
        )
    return state


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint so that a crash in the middle leaves the last one whole."""
    unfinished = path.with_suffix(".tmp")
    torch.save(checkpoint, unfinished)
    unfinished.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        WeightsError: The file cannot be read.
    """
    with _refused(path):
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint


def source_commit() -> str:
    """The short hash of the source tree's commit, `-dirty` behind it where files differ; `unknown` without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        answer = run_command(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return answer.stdout.strip() or "unknown"


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Say of a file that a library cannot read it; each has errors of its own."""
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path} cannot be read as weights: {type(error).__name__}, {reason}") from error


def _read_safetensors(path: Path) -> StateDict:
    from safetensors.numpy import load_file  # noqa: PLC0415 - evaluating an ONNX file does not need it

    stored = load_file(path)
    arrays = {name: value for name, value in stored.items() if not name.endswith((".int8", ".scale"))}
    for name in stored:
        if name.endswith(".int8"):
            weight = name.removesuffix(".int8")
            arrays[weight] = stored[name].astype(np.float32) * stored[f"{weight}.scale"][:, None, None, None]
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _read_onnx(path: Path) -> StateDict:
    import onnx  # noqa: PLC0415 - training from other files does not need it

    initialisers = onnx.load(str(path)).graph.initializer
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initialisers}
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items() if value.ndim > 0}


def _read_checkpoint(path: Path) -> StateDict:
    state: StateDict = read_checkpoint(path)["average"]
    return state


def _own_name(name: str) -> str:
    """Torchvision's name of a backbone tensor with the prefix that it has in `PoseNetwork`."""
    return name if name.startswith((_BACKBONE, "heatmap.")) else _BACKBONE + name
