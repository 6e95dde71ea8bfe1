from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.graph import GRAPH_OUTPUTS, OPSET, ExportGraph, store_as_float16
from export.parity import BATCHES, compare
from models.evaluation.calibration import Calibration, features
from models.networks.checkpoint import load_weights
from models.networks.pose import PoseNetwork, normalise, soften
from models.spec.contract import SHIPPED_MODEL, WHOLE_MAPS, Contract, ContractError, check_tensors
from tests.support.contracts import make_contract
from tests.support.sessions import answers

CONTRACT = make_contract()
CALIBRATION = Calibration(np.random.default_rng(0).normal(size=(16, 4)))


@pytest.mark.slow
def test_model_says_what_torch_says_at_every_batch(
    graph: ExportGraph, model: onnx.ModelProto, crops: np.ndarray
) -> None:
    differences = compare(model, graph, crops)
    assert set(differences) == set(BATCHES)
    for difference in differences.values():
        assert difference.joints_px < 0.05
        assert max(difference.covariance, difference.confidence, difference.heatmaps, difference.maps) < 1e-4


def test_float16_storage_halves_the_file_and_hardly_moves_joints(
    graph: ExportGraph, model: onnx.ModelProto, crops: np.ndarray
) -> None:
    stored = store_as_float16(model)
    assert stored.ByteSize() < 0.55 * model.ByteSize()
    assert compare(stored, graph, crops, [2])[2].joints_px < 0.5


def test_file_keeps_the_contract(model: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(store_as_float16(model).SerializeToString())
    contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
    assert contract == CONTRACT
    assert check_tensors(session.get_inputs(), session.get_outputs(), contract) == (28, 28)
    assert model.opset_import[0].version == OPSET


def test_confidence_is_the_calibrations(network: PoseNetwork, model: onnx.ModelProto, crops: np.ndarray) -> None:
    with torch.inference_mode():
        inputs = features(network.infer(normalise(torch.from_numpy(crops)))).numpy()
    assert np.allclose(answers(model, crops)["confidence"], CALIBRATION.confidence(inputs), atol=1e-4)


def test_whole_maps_are_an_output_of_which_heatmaps_are_the_main_modes(
    network: PoseNetwork, model: onnx.ModelProto, crops: np.ndarray
) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [output.name for output in session.get_outputs()] == list(GRAPH_OUTPUTS)
    (maps,) = session.run([WHOLE_MAPS], {"images": crops})
    heatmaps = answers(model, crops)["heatmaps"]
    assert maps.shape == heatmaps.shape
    with torch.inference_mode():
        whole = network(soften(normalise(torch.from_numpy(crops)))).heatmaps.numpy()
    np.testing.assert_allclose(maps, whole, atol=1e-5)
    np.testing.assert_allclose(maps.sum((2, 3)), 1, atol=1e-4)
    inside = heatmaps > 0
    assert inside.sum((2, 3)).max() <= 25 < (maps > 0).sum((2, 3)).min()
    mass = (maps * inside).sum((2, 3), keepdims=True)
    np.testing.assert_allclose(heatmaps * mass, maps * inside, atol=1e-5)


def test_whole_maps_of_another_size_than_the_modes_are_refused(model: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    outputs = [SimpleNamespace(name=o.name, type=o.type, shape=list(o.shape)) for o in session.get_outputs()]
    outputs[GRAPH_OUTPUTS.index(WHOLE_MAPS)].shape[2:] = [14, 14]
    with pytest.raises(ContractError, match="`maps`"):
        check_tensors(session.get_inputs(), outputs, CONTRACT)


def test_training_can_start_from_the_file(graph: ExportGraph, model: onnx.ModelProto, tmp_path: Path) -> None:
    """Names are kept even of tensors that are equal, such as the untrained batch norms here."""
    onnx.save(model, str(tmp_path / "model.onnx"))
    network = PoseNetwork(18, 8)
    load_weights(network, tmp_path / "model.onnx")
    for name, value in network.state_dict().items():
        assert torch.equal(value, graph.state_dict()[name]) or name.endswith("num_batches_tracked")


def test_shipped_file_starts_training() -> None:
    network = PoseNetwork()
    load_weights(network, SHIPPED_MODEL)
    assert all(value.isfinite().all() for value in network.state_dict().values())
