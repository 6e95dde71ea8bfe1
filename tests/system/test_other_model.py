"""Another skeleton, another input size and other heatmaps are another file, not another service."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.spec.crop import CropRule
from models.spec.skeleton import Skeleton
from service.api.app import create_app
from service.cli.main import main
from service.settings import Settings
from tests.support.client import Client, serving
from tests.support.contracts import make_contract

SIZE, CELLS = 64, 8
HAND = Skeleton.of(
    ("wrist", "left_thumb", "right_thumb", "middle_tip", "palm"), [("wrist", "palm"), ("palm", "middle_tip")]
)
PLACES = np.array([[0, 0.9], [-0.8, 0], [0.8, 0], [0, -0.9], [0, 0.1]], np.float32)
OUTPUTS = {
    "coordinates": PLACES,
    "covariance": np.tile(np.float32([0.01, 0, 0.01]), (5, 1)),
    "confidence": np.float32([0.9, 0.8, 0.7, 0.6, 0.05]),
    "heatmaps": np.full((5, CELLS, CELLS), 1 / CELLS**2, np.float32),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of five joints of a hand, which it finds in the same places of every crop."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["zeros"]),
    ]
    constants = [numpy_helper.from_array(np.float32([0]), "zero")]
    outputs = []
    for name, values in OUTPUTS.items():
        shape = numpy_helper.from_array(np.array([-1, *[1] * values.ndim]), f"{name}_shape")
        constants += [numpy_helper.from_array(values[None], f"{name}_values"), shape]
        nodes.append(helper.make_node("Reshape", ["zeros", f"{name}_shape"], [f"{name}_zeros"]))
        nodes.append(helper.make_node("Add", [f"{name}_zeros", f"{name}_values"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *values.shape]))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])
    graph = helper.make_graph(nodes, "hand", [images], outputs, constants)
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    contract = make_contract(name="hand", skeleton=HAND, crop=CropRule(SIZE, 1.5, (1, 2, 3)))
    helper.set_model_props(file, contract.to_metadata())
    path = tmp_path_factory.mktemp("hand") / "hand.onnx"
    onnx.save(file, str(path))
    return path


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[Client]:
    with serving(create_app(Settings(model=model))) as client:
        yield client


@pytest.mark.parametrize("query", ["", "&flip=true", "&refine=true", "&heatmaps=true"])
def test_its_joints_are_answered_by_name(client: Client, query: str, astronaut: bytes) -> None:
    answer = client.post(f"/pose?boxes=100,100,200,100{query}", content=astronaut).json()
    (person,) = answer["people"]
    assert answer["model"]["name"] == "hand"
    assert [joint["name"] for joint in person["joints"]] == list(HAND.joints)
    if query not in {"&flip=true", "&refine=true"}:
        assert person["crop"] == {"x": 50, "y": 0, "side": 300}
        places = [(joint["x"], joint["y"]) for joint in person["joints"]]
        np.testing.assert_allclose(places, [50, 0] + (PLACES + 1) / 2 * 300, atol=1e-2)
    assert ("heatmaps" in person) == ("heatmaps" in query)
    if "heatmaps" in person:
        assert person["heatmaps"]["shape"] == [5, CELLS, CELLS]


def test_without_a_box_its_people_are_found_and_scored(client: Client, astronaut: bytes) -> None:
    person, *_ = client.post("/pose", content=astronaut).json()["people"]
    assert len(person["joints"]) == 5
    assert person["score"] > 0.5


def test_its_limbs_are_drawn(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = io.BytesIO()
    Image.new("RGB", (100, 100)).save(photo, "PNG")
    (tmp_path / "black.png").write_bytes(photo.getvalue())
    drawn = tmp_path / "drawn.png"
    assert (
        main(["predict", str(tmp_path / "black.png"), "--model", str(model), "-o", str(drawn), "--find", "none"]) == 0
    )
    assert "left_thumb" in capsys.readouterr().out
    pixels = np.asarray(Image.open(drawn))
    assert pixels[50, 10].tolist() == [204, 0, 120]  # the left thumb, as opaque as it is sure
    assert pixels[55, 50].max() == 0  # the palm, which is hardly there
