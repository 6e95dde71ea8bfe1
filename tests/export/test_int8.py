from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.int8 import LARGEST_SUM_16_BITS, PRECISION, largest_partial_sum, quantize, range_crops
from export.onnx_files import convolutions, folded, read_contract
from models.data.pack import read_people
from models.spec.contract import SHIPPED_MODEL, variant
from tests.support.contracts import make_contract
from tests.support.sessions import answers

pytestmark = pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser warns of its own habits

INT8_MODEL = variant(SHIPPED_MODEL, "int8")


@pytest.fixture(scope="module")
def quantised(float_file: Path, crops: np.ndarray) -> onnx.ModelProto:
    return quantize(float_file, crops)


def test_all_convolutions_but_the_first_and_the_last_hold_bytes(float_file: Path, quantised: onnx.ModelProto) -> None:
    weights = [numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer if len(tensor.dims) == 4]
    kinds = [weight.dtype for weight in weights]
    assert kinds.count(np.dtype(np.int8)) == len(convolutions(folded(float_file))) - 2
    assert kinds.count(np.dtype(np.float16)) == 2
    assert quantised.ByteSize() < 0.6 * float_file.stat().st_size


def test_joints_stay_where_they_were(float_file: Path, quantised: onnx.ModelProto, crops: np.ndarray) -> None:
    found, wanted = answers(quantised, crops), answers(onnx.load(str(float_file)), crops)
    moved = np.abs(found["coordinates"] - wanted["coordinates"])
    assert np.median(moved) * 112 < 2  # of an untrained network's flat maps a rounding may move the highest place
    np.testing.assert_allclose(found["heatmaps"].sum((2, 3)), 1, atol=1e-3)


def test_no_sum_of_two_products_overflows_16_bits(quantised: onnx.ModelProto) -> None:
    assert 0 < largest_partial_sum(quantised) <= LARGEST_SUM_16_BITS


def test_a_sum_that_would_overflow_is_seen() -> None:
    weight = np.zeros((2, 3, 1, 1), np.int8)
    weight[1, :2, 0, 0] = 127, -128
    model = onnx.helper.make_model(onnx.helper.make_graph([], "one", [], [], [numpy_helper.from_array(weight, "w")]))
    assert largest_partial_sum(model) == 255 * 255
    assert largest_partial_sum(model) > LARGEST_SUM_16_BITS


@pytest.mark.skipif(not INT8_MODEL.is_file(), reason="the int8 file is not here")
def test_the_shipped_int8_file_is_safe_on_every_processor() -> None:
    assert largest_partial_sum(onnx.load(str(INT8_MODEL))) <= LARGEST_SUM_16_BITS


def test_the_contract_is_the_float_files_with_a_precision_of_its_own(quantised: onnx.ModelProto) -> None:
    assert read_contract(quantised) == make_contract(precision=PRECISION)


def test_ranges_are_of_people_spread_over_the_packs(pack: Path) -> None:
    people = list(read_people(pack, ["train-mpii", "train-lspet-0"]))
    crops = range_crops(pack, ["train-mpii", "train-lspet-0"], 2)
    np.testing.assert_array_equal(crops, np.stack([person.cut(224) for person in (people[0], people[-1])]))
