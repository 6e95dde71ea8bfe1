from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from export.float16 import PRECISION, to_half
from export.onnx_files import convolutions, folded, read_contract
from tests.support.contracts import make_contract
from tests.support.sessions import answers


def test_convolutions_compute_in_float16_and_the_head_in_float32(float_file: Path) -> None:
    model = to_half(float_file)
    types = {info.name: info.type.tensor_type.elem_type for info in [*model.graph.value_info, *model.graph.output]}
    nodes = list(model.graph.node)
    first, last = (nodes.index(layer) for layer in (convolutions(model)[0], convolutions(model)[-1]))
    assert {types[node.output[0]] for node in nodes[first : last + 1]} == {TensorProto.FLOAT16}
    assert all(types[node.output[0]] != TensorProto.FLOAT16 for node in nodes[last + 1 :])
    assert model.ByteSize() < 0.55 * folded(float_file).ByteSize()


def test_it_hardly_moves_joints_and_keeps_the_contract(float_file: Path, crops: np.ndarray) -> None:
    model = to_half(float_file)
    moved = answers(model, crops)["coordinates"] - answers(onnx.load(str(float_file)), crops)["coordinates"]
    assert np.abs(moved).max() * 112 < 0.5
    assert read_contract(model) == make_contract(precision=PRECISION)
