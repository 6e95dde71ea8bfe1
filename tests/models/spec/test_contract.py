import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models.spec.contract import OUTPUTS, SHIPPED_MODEL, Contract, ModelSpec, check_tensors, check_values, variant
from models.spec.metadata import ContractError, read_metadata
from models.spec.skeleton import MPII
from tests.support.contracts import make_contract, write_model

CONTRACT = make_contract()


@dataclass
class Node:
    name: str
    type: str
    shape: list[Any]


def tensors() -> tuple[list[Node], list[Node]]:
    return [Node("images", "tensor(uint8)", ["N", 224, 224, 3])], [
        Node("coordinates", "tensor(float)", ["N", 16, 2]),
        Node("covariance", "tensor(float)", ["N", 16, 3]),
        Node("confidence", "tensor(float)", ["N", 16]),
        Node("heatmaps", "tensor(float)", ["N", 16, 28, 28]),
    ]


def test_metadata_round_trip() -> None:
    assert Contract.from_metadata(CONTRACT.to_metadata()) == CONTRACT


@pytest.mark.parametrize("name", CONTRACT.to_metadata())
def test_every_entry_is_required(name: str) -> None:
    metadata = CONTRACT.to_metadata()
    del metadata[name]
    with pytest.raises(ContractError, match=name):
        Contract.from_metadata(metadata)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("contract", json.dumps(99), "version 99"),
        ("crop", json.dumps({"size": 256}), "crops that cannot be made: {'size': 256}"),
        ("crop", json.dumps({"size": -1, "margin": 1, "outside": [0, 0, 0]}), "crops that cannot be made"),
        ("name", "not json", "not JSON"),
        ("skeleton", json.dumps(["left_hand", "head"]), "not one with a mirror image"),
        ("skeleton", json.dumps(None), "not one with a mirror image"),
        ("skeleton", json.dumps({"joints": ["head"], "limbs": [["head", "tail"]]}), "not one with a mirror"),
        ("accuracy", json.dumps(None), "accuracy is not an object"),
    ],
)
def test_other_contracts_are_refused(name: str, value: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        Contract.from_metadata({**CONTRACT.to_metadata(), f"dsnt_pose.{name}": value})


def test_a_file_of_version_1_has_its_own_joints_and_mpiis_limbs() -> None:
    metadata = CONTRACT.to_metadata()
    del metadata["dsnt_pose.reading"]
    some = [name for name in MPII.joints if name != "pelvis"]
    changes = {"dsnt_pose.contract": "1", "dsnt_pose.skeleton": json.dumps(some)}
    skeleton = Contract.from_metadata(metadata | changes).skeleton
    assert skeleton.joints == tuple(some)
    assert set(skeleton.named_limbs) == {limb for limb in MPII.named_limbs if "pelvis" not in limb}


def test_a_spec_is_metadata_and_tensors() -> None:
    spec = ModelSpec.read(CONTRACT.to_metadata(), *tensors())
    assert (spec.name, spec.skeleton, spec.crop.size) == (CONTRACT.name, MPII, 224)
    assert (spec.heatmap_size, spec.outputs) == ((28, 28), OUTPUTS)


@pytest.mark.parametrize("accuracy", [{"total": "high"}, {"people": 1.5}, {"per_joint": [1]}, {"dataset": None}, []])
def test_an_accuracy_of_other_types_is_refused(accuracy: Any) -> None:
    with pytest.raises(ContractError, match="accuracy is not an object"):
        Contract.from_metadata({**CONTRACT.to_metadata(), "dsnt_pose.accuracy": json.dumps(accuracy)})


def test_tensors_give_the_sizes_that_the_file_chooses() -> None:
    inputs, outputs = tensors()
    assert check_tensors(inputs, outputs, CONTRACT) == (28, 28)
    outputs[3].shape = ["N", 16, 14, 14]
    assert check_tensors(inputs, outputs, CONTRACT) == (14, 14)


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (0, {"shape": ["N", 17, 2]}),
        (0, {"type": "tensor(double)"}),
        (1, {"shape": ["N", 16]}),
        (2, {"name": "scores"}),
        (3, {"shape": ["N", 16, "h", "w"]}),
        (3, {"shape": [1, 16, 28, 28]}),
    ],
)
def test_tensors_that_differ_are_refused_by_name(index: int, changes: dict[str, Any]) -> None:
    inputs, outputs = tensors()
    name = outputs[index].name
    outputs[index] = replace(outputs[index], **changes)
    with pytest.raises(ContractError, match=name):
        check_tensors(inputs, outputs, CONTRACT)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("coordinates", float("nan"), "coordinates are not all numbers"),
        ("heatmaps", float("inf"), "heatmaps are not all numbers"),
        ("confidence", 1.01, "confidence lies outside 0 to 1"),
        ("confidence", -0.01, "confidence lies outside 0 to 1"),
    ],
)
def test_outputs_that_no_network_may_give_are_noticed(name: str, value: float, sentence: str) -> None:
    outputs = {name: np.full((2, 3), 0.5, np.float32) for name in OUTPUTS}
    check_values(outputs)
    outputs[name][1, 2] = value
    with pytest.raises(ContractError, match=sentence):
        check_values(outputs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "model.onnx"
    write_model(path, CONTRACT)
    return path


def test_metadata_are_read_from_the_file(whole: Path) -> None:
    assert read_metadata(whole) == CONTRACT.to_metadata()


def test_metadata_are_what_onnx_reads_whatever_else_the_file_holds(tmp_path: Path) -> None:
    tensor = helper.make_tensor("weight", onnx.TensorProto.FLOAT, [300], [0.5] * 300)
    graph = helper.make_graph([helper.make_node("Relu", ["weight"], ["y"])], "net", [], [], [tensor])
    model = helper.make_model(graph, producer_name="tests", doc_string="x" * 200, model_version=2**62)
    texts = {"": "", "größe": "日本" * 100, "same": "twice", "empty": ""}
    helper.set_model_props(model, texts)
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert read_metadata(tmp_path / "model.onnx") == texts


@given(data=st.data())
def test_a_cut_file_is_refused_wherever_it_was_cut(whole: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    entries = onnx.load(str(whole)).metadata_props
    last = [onnx.ModelProto(metadata_props=entries[first:]).ByteSize() for first in range(len(entries))]
    between = st.sampled_from([len(content) - size for size in last])  # what is left is a message of its own
    cut = whole.with_name("cut.onnx")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1) | between)])
    with pytest.raises(ContractError, match=r"is empty|is cut|lacks the metadata"):
        Contract.from_metadata(read_metadata(cut))


@given(content=st.binary(max_size=200))
def test_other_bytes_are_refused_in_a_sentence(whole: Path, content: bytes) -> None:
    other = whole.with_name("other.onnx")
    other.write_bytes(content)
    with pytest.raises(ContractError, match=r"^the model file "):
        Contract.from_metadata(read_metadata(other))


@given(seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_flipped_bytes_are_refused_in_a_sentence_or_harmless(whole: Path, seed: int, count: int) -> None:
    content, chance = bytearray(whole.read_bytes()), random.Random(seed)
    for _ in range(count):
        content[chance.randrange(len(content))] = chance.randrange(256)
    flipped = whole.with_name("flipped.onnx")
    flipped.write_bytes(content)
    try:
        read_metadata(flipped)
    except ContractError as error:
        assert str(error).startswith("the model file")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 47516917\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html>", "is not in ONNX's format: no field begins at byte 0"),
        (b"\x08" + b"\xff" * 10, "is not in ONNX's format: an integer before byte 11 is too long"),
        (b"\x08\x08\x42\x00", "lacks its network or opset"),
        (b"\x08\x08\x3a\x00", "lacks its network or opset"),
        (b"\x08\x08\x3a\x80\x02", "is cut: it has 5 of at least 261 bytes"),
        (b"\x08\x08\x3a\x80", "is cut: it ends within an integer at byte 4"),
        (b"\x72\x03\x0a\x01\xff", "metadata is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=sentence):
        read_metadata(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot be read: Is a directory"):
        read_metadata(tmp_path)


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_the_shipped_files_are_of_the_same_weights() -> None:
    files = (variant(SHIPPED_MODEL, precision) for precision in ("fp32", "int8"))
    single, int8 = (Contract.from_metadata(read_metadata(file)) for file in files)
    assert (single.name, single.version, single.training) == (int8.name, int8.version, int8.training)
    assert (single.name, single.precision) == (SHIPPED_MODEL.stem, "float16 weights")
    assert int8.precision.startswith("int8")
