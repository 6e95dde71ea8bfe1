import functools
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import torch

from export.graph import ExportGraph, export_model
from models.data.pack import Example, read_people
from models.evaluation import predictors
from models.evaluation.calibration import Calibration
from models.evaluation.predictors import Predictions, ask_service, predictor
from models.networks.checkpoint import save_checkpoint
from models.networks.pose import PoseNetwork
from models.spec.skeleton import JOINTS
from tests.support.contracts import make_contract


@pytest.fixture
def people(pack: Path) -> list[Example]:
    return list(read_people(pack, ["dev"]))


@pytest.mark.slow
def test_checkpoint_and_onnx_file_are_asked_alike(
    people: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(18)
    torch.nn.init.normal_(network.heatmap.weight, std=0.05)
    monkeypatch.setattr(predictors, "PoseNetwork", lambda: PoseNetwork(18))
    save_checkpoint(tmp_path / "checkpoint.pt", {"average": network.state_dict()})
    by_torch = predictor(str(tmp_path / "checkpoint.pt"))(people[:3])
    calibration = Calibration(np.random.default_rng(0).normal(size=(16, 4)))
    onnx.save(export_model(ExportGraph(network.eval(), calibration), make_contract()), str(tmp_path / "model.onnx"))
    by_onnx = predictor(str(tmp_path / "model.onnx"))(people[:3])
    assert by_torch.confidence is None
    # Pictures are some 50 px large, so a tenth of a pixel is half an input pixel.
    assert np.abs(by_torch.joints - by_onnx.joints).max() < 0.01
    assert np.allclose(by_torch.covariance, by_onnx.covariance, atol=1e-4)
    assert np.allclose(by_torch.features, by_onnx.features, atol=1e-3)
    assert np.allclose(by_onnx.confidence, calibration.confidence(by_onnx.features), atol=1e-5)


def test_a_service_is_asked_by_its_address(people: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[tuple[str, bool]] = []

    def ask(url: str, some: list[Example], boxes: bool) -> Predictions:
        requests.append((url, boxes))
        return Predictions(np.zeros((len(some), 16, 2)))

    monkeypatch.setattr(predictors, "ask_service", ask)
    assert predictor("http://127.0.0.1:1", boxes=False)(people).joints.shape == (5, 16, 2)
    assert requests == [("http://127.0.0.1:1", False)]


def test_a_service_is_judged_by_the_nearest_person_and_whom_it_does_not_see_is_infinitely_far_away(
    people: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = people[0].box

    def said(x: float, box: list[float], confidence: float) -> dict[str, object]:
        joints = [{"name": name, "x": x, "y": 2.0, "confidence": confidence} for name in JOINTS]
        return {"score": 0.9, "box": box, "joints": joints}

    near = said(1.0, [box.x + 1, box.y, box.width, box.height], 0.5)
    other = said(0.0, [box.x - 900, box.y, 800, 800], 1.0)

    def answer(request: httpx.Request) -> httpx.Response:
        somebody = [other, near] if request.content == people[0].picture else []
        return httpx.Response(200, json={"people": somebody})

    client = functools.partial(httpx.Client, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(httpx, "Client", client)
    found = ask_service("http://127.0.0.1:1", people, boxes=False)
    assert found.joints[0].tolist() == [[1.0, 2.0]] * 16
    assert np.isinf(found.joints[1:]).all()
    assert found.confidence is not None
    assert found.confidence[:, 0].tolist() == [0.5, 0, 0, 0, 0]
