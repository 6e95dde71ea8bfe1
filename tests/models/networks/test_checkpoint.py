import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from models.networks.checkpoint import WeightsError, load_weights, read_weights, save_checkpoint, source_commit
from models.networks.pose import PoseNetwork


def torchvision_names(network: PoseNetwork) -> dict[str, np.ndarray]:
    state = {name.removeprefix("backbone."): value.numpy() for name, value in network.state_dict().items()}
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def test_imagenet_weights_fill_all_but_the_heatmap_convolution(tmp_path: Path) -> None:
    donor, network = PoseNetwork(18, 8), PoseNetwork(18, 8)
    arrays = torchvision_names(donor)
    del arrays["heatmap.weight"]
    save_file({**arrays, "fc.weight": np.zeros((1000, 512), np.float32)}, tmp_path / "imagenet.safetensors")
    before = network.heatmap.weight.detach().clone()
    load_weights(network, tmp_path / "imagenet.safetensors")
    assert torch.equal(network.backbone.conv1.weight, donor.backbone.conv1.weight)
    assert torch.equal(network.heatmap.weight, before)


def test_int8_weights_are_expanded_by_their_channels_scales(tmp_path: Path) -> None:
    stored = {"conv1.weight.int8": np.ones((2, 3, 1, 1), np.int8), "conv1.weight.scale": np.float32([0.5, 2])}
    save_file(stored, tmp_path / "start.safetensors")
    weight = read_weights(tmp_path / "start.safetensors")["backbone.conv1.weight"]
    assert weight[:, 0, 0, 0].tolist() == [0.5, 2]


def test_checkpoints_give_the_averaged_weights(tmp_path: Path) -> None:
    donor, network = PoseNetwork(18, 8), PoseNetwork(18, 8)
    save_checkpoint(tmp_path / "checkpoint.pt", {"network": {}, "average": donor.state_dict()})
    load_weights(network, tmp_path / "checkpoint.pt")
    assert all(torch.equal(value, donor.state_dict()[name]) for name, value in network.state_dict().items())


def test_of_several_files_the_mean_is_taken(tmp_path: Path) -> None:
    donors, network = [PoseNetwork(18, 8) for _ in range(3)], PoseNetwork(18, 8)
    paths = [tmp_path / f"averaged-{index}.pt" for index in range(3)]
    for donor, path in zip(donors, paths, strict=True):
        donor.backbone.bn1.num_batches_tracked += 7
        save_checkpoint(path, {"average": donor.state_dict()})
    load_weights(network, *paths)
    mean = torch.stack([donor.heatmap.weight for donor in donors]).mean(0)
    torch.testing.assert_close(network.heatmap.weight, mean)
    assert network.backbone.bn1.num_batches_tracked == 7


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(torchvision_names(PoseNetwork(18, 8)), tmp_path / "shallow.safetensors")
    with pytest.raises(ValueError, match="not of this network"):
        load_weights(PoseNetwork(34, 8), tmp_path / "shallow.safetensors")


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.onnx", "cut.pt"])
def test_files_that_cannot_be_read_are_refused_by_name(name: str, tmp_path: Path) -> None:
    for _ in ("missing", "broken"):
        with pytest.raises(WeightsError, match=f"{name} cannot be read as weights"):
            read_weights(tmp_path / name)
        (tmp_path / name).write_bytes(b"\x08\x01\xff")


def test_a_checkpoint_without_averaged_weights_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other.pt", {"network": {}})
    with pytest.raises(WeightsError, match=r"other\.pt cannot be read as weights: KeyError, 'average'"):
        read_weights(tmp_path / "other.pt")


def test_the_source_has_a_commit() -> None:
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|unknown", source_commit())


def test_unknown_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.txt"):
        read_weights(tmp_path / "weights.txt")
