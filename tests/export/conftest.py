"""A small network's checkpoint and float file, crops for it, and a pack of drawn figures."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.graph import ExportGraph, export_model, store_as_float16
from models.evaluation.calibration import Calibration
from models.networks.checkpoint import save_checkpoint
from models.networks.pose import PoseNetwork
from tests.models.conftest import write_halves, write_pack
from tests.support.contracts import make_contract


@pytest.fixture(scope="session")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    network = PoseNetwork(18, 8).eval()
    torch.nn.init.normal_(network.heatmap.weight, std=0.05)
    return network


@pytest.fixture(scope="session")
def graph(network: PoseNetwork) -> ExportGraph:
    return ExportGraph(network, Calibration(np.random.default_rng(0).normal(size=(16, 4))))


@pytest.fixture(scope="session")
def model(graph: ExportGraph) -> onnx.ModelProto:
    return export_model(graph, make_contract())


@pytest.fixture(scope="session")
def float_file(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    onnx.save(store_as_float16(model), str(path))
    return path


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def checkpoint(network: PoseNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pt"
    save_checkpoint(path, {"average": network.state_dict()})
    return path


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two training packs, `train-mpii` and `train-lspet-0`, and `dev` with 3 people, 2 with a head size.

    `halves-dev` has two of them.
    """
    folder = tmp_path_factory.mktemp("pack")
    for seed, (name, people) in enumerate({"train-mpii": 4, "train-lspet-0": 3, "dev": 3}.items()):
        write_pack(folder, name, "lspet" if "lspet" in name else "mpii", people, seed)
    write_halves(folder, "halves-dev", 2, seed=2)
    return folder
