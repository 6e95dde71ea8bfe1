from pathlib import Path

import numpy as np
import onnx
import pytest

from export.graph import GRAPH_OUTPUTS
from export.onnx_files import convolutions, folded, read_contract, replacing
from models.spec.contract import INPUT
from tests.support.contracts import make_contract
from tests.support.sessions import answers


def test_a_folded_file_answers_as_before_without_batch_norms(float_file: Path, crops: np.ndarray) -> None:
    model = folded(float_file)
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    assert [opset.domain for opset in model.opset_import] == [""]
    wanted = answers(onnx.load(str(float_file)), crops)
    for name, found in answers(model, crops).items():
        np.testing.assert_allclose(found, wanted[name], atol=1e-4)


def test_the_contract_is_kept(float_file: Path) -> None:
    model = folded(float_file)
    assert read_contract(model) == make_contract()
    assert model.graph.input[0].name == INPUT
    assert {output.name for output in model.graph.output} == set(GRAPH_OUTPUTS)


def test_convolutions_stand_in_the_order_of_the_data(float_file: Path) -> None:
    model = folded(float_file)
    names = [node.name for node in convolutions(model)]
    assert "conv1" in names[0]
    assert "heatmap" in names[-1]


def test_files_replace_others_together_when_all_are_written(tmp_path: Path) -> None:
    one, two = tmp_path / "model.onnx", tmp_path / "new" / "model-int8.onnx"
    one.write_text("old")
    with replacing(one, two) as (first, second):
        first.write_text("new")
        second.write_text("new too")
        assert one.read_text() == "old"
        assert {first.parent, second.parent} == {one.parent, two.parent}  # a rename within one file system
    assert (one.read_text(), two.read_text()) == ("new", "new too")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model-int8.onnx", "model.onnx", "new"]


def test_a_failure_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    one, two = tmp_path / "model.onnx", tmp_path / "model-int8.onnx"
    one.write_text("old")

    def write_one_of_two() -> None:
        with replacing(one, two) as (first, _):
            first.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_one_of_two()
    assert one.read_text() == "old"
    assert list(tmp_path.iterdir()) == [one]
