from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.networks.checkpoint import WeightsError, save_checkpoint
from models.networks.finder import FinderGraph, FinderNetwork, cells, decode, grid_shapes, load_finder
from models.networks.pose import normalise
from tests.support.networks import make_finder_network

SIZES = [(64, 64), (96, 64), (32, 128)]


@pytest.fixture(scope="module")
def network() -> FinderNetwork:
    return make_finder_network()


def pictures(height: int, width: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8))


def direct_boxes(sides: np.ndarray, height: int, width: int) -> list[tuple[float, ...]]:
    """Boxes of one picture, cell by cell, from the logits of its sides [C, 4, 11]."""
    boxes, rows = [], iter(sides.astype(np.float64))
    for stride in (8, 16, 32):
        for row in range(height // stride):
            for column in range(width // stride):
                weights = np.exp(next(rows))
                left, top, right, bottom = stride * (weights * np.arange(11)).sum(1) / weights.sum(1)
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                boxes.append((x - left, y - top, left + right, top + bottom))
    return boxes


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_cell_of_three_grids_has_a_score_and_four_sides(height: int, width: int, network: FinderNetwork) -> None:
    count = height * width * 21 // 1024  # 1 / 64 + 1 / 256 + 1 / 1024
    with torch.inference_mode():
        findings = network(normalise(pictures(height, width)))
    assert findings.logits.shape == (2, count)
    assert findings.sides.shape == (2, count, 4, 11)
    assert cells(grid_shapes(height, width)).shape == (count, 3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_are_what_each_cells_distances_say(height: int, width: int, network: FinderNetwork) -> None:
    with torch.inference_mode():
        findings = network(normalise(pictures(height, width)))
        boxes, scores = FinderGraph(network).eval()(pictures(height, width))
    expected = [direct_boxes(sides.numpy(), height, width) for sides in findings.sides]
    np.testing.assert_allclose(boxes, expected, atol=1e-3)
    assert boxes[..., :2].std() > 1
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-findings.logits.double().numpy())), atol=1e-6)


def test_a_cell_sees_its_own_place(network: FinderNetwork) -> None:
    """What changes in the bottom right corner changes no cell of the finest grid in the top left one by more."""
    images = pictures(256, 256)
    changed = images.clone()
    changed[:, 224:, 224:] = 255
    with torch.inference_mode():
        before, after = network(normalise(images)).logits, network(normalise(changed)).logits
    moved = (after - before).abs()[:, : 32 * 32].reshape(2, 32, 32)
    assert moved[:, 28:, 28:].mean() > 5 * moved[:, :4, :4].mean()


def test_gradients_reach_every_weight() -> None:
    network = FinderNetwork()
    findings = network(normalise(pictures(64, 64)))
    (findings.logits.sum() + decode(findings.sides, cells(grid_shapes(64, 64))).square().mean()).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def published(network: FinderNetwork) -> dict[str, Tensor]:
    """The network as its authors' file has it: channels blue, green, red, and 79 more classes behind people."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["stem.0.weight"] = state["stem.0.weight"][:, [2, 1, 0]].contiguous()
    for name in [name for name in state if name.startswith("head") and name.split(".")[2] == "1"]:
        others = torch.full((79, *state[name].shape[1:]), 9.0)
        state[name] = torch.cat((state[name][:1], others, state[name][1:]))
    return {name: value.half() for name, value in state.items()}


def test_of_the_published_weights_people_are_kept_and_colours_turned(network: FinderNetwork, tmp_path: Path) -> None:
    save_file(published(network), tmp_path / "start.safetensors")
    loaded = FinderNetwork()
    load_finder(loaded, tmp_path / "start.safetensors")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value.half().float(), rtol=0, atol=0)


def test_of_several_files_the_mean_is_taken(network: FinderNetwork, tmp_path: Path) -> None:
    save_file(published(network), tmp_path / "start.safetensors")
    tuned, loaded = FinderNetwork(), FinderNetwork()
    save_checkpoint(tmp_path / "tuned.pt", {"average": tuned.state_dict()})
    load_finder(loaded, tmp_path / "start.safetensors", tmp_path / "tuned.pt")
    mean = (network.stem[0].weight + tuned.stem[0].weight) / 2
    torch.testing.assert_close(loaded.stem[0].weight, mean, rtol=0, atol=1e-3)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"stem.0.weight": torch.zeros(32, 3, 5, 5)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"not of this network: \d+ tensors missing, 1 of another shape"):
        load_finder(FinderNetwork(), tmp_path / "other.safetensors")
