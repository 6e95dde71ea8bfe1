from pathlib import Path

import numpy as np
import onnx

from export.onnx_files import convolutions, folded
from models.spec.contract import INPUT, OUTPUTS, Contract
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
    assert Contract.from_metadata({e.key: e.value for e in model.metadata_props}) == make_contract()
    assert model.graph.input[0].name == INPUT
    assert {output.name for output in model.graph.output} == set(OUTPUTS)


def test_convolutions_stand_in_the_order_of_the_data(float_file: Path) -> None:
    model = folded(float_file)
    names = [node.name for node in convolutions(model)]
    assert "conv1" in names[0]
    assert "heatmap" in names[-1]
