import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from export.finder import FinderLimits, check_loss, check_parity, export_finder, main, quantize_finder, range_pictures
from export.gate import GateError
from export.graph import store_as_float16
from export.int8 import LARGEST_SUM_16_BITS, largest_partial_sum
from models.evaluation.finding import SIZES, Precision
from models.networks.finder import FinderGraph, FinderNetwork, load_finder
from models.spec.finder import FinderSpec
from models.spec.metadata import read_metadata
from tests.support.contracts import make_finder_spec
from tests.support.networks import make_finder_network

pytestmark = pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser warns of its own habits

SPEC = make_finder_spec()


@pytest.fixture(scope="module")
def network() -> FinderNetwork:
    return make_finder_network()


@pytest.fixture(scope="module")
def model(network: FinderNetwork) -> onnx.ModelProto:
    return export_finder(FinderGraph(network), SPEC)


@pytest.fixture(scope="module")
def finder_file(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finder") / "finder.onnx"
    onnx.save(store_as_float16(model), str(path))
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training and a development pack of three photos each, a person in each."""
    folder = tmp_path_factory.mktemp("scenes")
    for pack in ("scenes-train-0", "scenes-dev"):
        with tarfile.open(folder / f"{pack}.tar", "w") as tar, gzip.open(folder / f"{pack}.jsonl.gz", "wt") as lines:
            for index, (width, height) in enumerate([(64, 48), (48, 64), (64, 64)]):
                image = Image.new("RGB", (width, height), (90, 60 * index, 40))
                ImageDraw.Draw(image).rectangle((10, 12, 30, 40), (200, 180, 20))
                file = io.BytesIO()
                image.save(file, "PNG")
                member = tarfile.TarInfo(f"{index}.png")
                member.size = len(file.getvalue())
                tar.addfile(member, io.BytesIO(file.getvalue()))
                line = {"id": f"{pack}-{index}", "source": "drawn", "file": member.name, "width": width}
                lines.write(json.dumps({**line, "height": height, "boxes": [[10, 12, 21, 29, ""]]}) + "\n")
    return folder


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_file_keeps_the_contract(model: onnx.ModelProto) -> None:
    opened = session(model)
    metadata = opened.get_modelmeta().custom_metadata_map
    assert FinderSpec.read(metadata, opened.get_inputs(), opened.get_outputs()) == SPEC


def test_the_file_says_what_torch_says_at_every_size(model: onnx.ModelProto, network: FinderNetwork) -> None:
    check_parity(model, FinderGraph(network), FinderLimits())


def test_a_file_of_other_weights_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(
        GateError, match=r"moves a box by .* input px and a score by .*, the limits are 0\.05 and 0\.001"
    ):
        check_parity(model, FinderGraph(FinderNetwork()), FinderLimits())


def test_training_can_start_from_the_file(finder_file: Path, network: FinderNetwork) -> None:
    loaded = FinderNetwork()
    load_finder(loaded, finder_file)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-6)


def test_every_convolution_of_the_int8_file_holds_bytes(finder_file: Path) -> None:
    pictures = [np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 96), (96, 64))]
    model = quantize_finder(finder_file, pictures)
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}
    assert model.ByteSize() < 0.6 * finder_file.stat().st_size
    assert 0 < largest_partial_sum(model) <= LARGEST_SUM_16_BITS
    whole, rounded = session(onnx.load(str(finder_file))), session(model)
    spec = FinderSpec.read(rounded.get_modelmeta().custom_metadata_map, rounded.get_inputs(), rounded.get_outputs())
    assert (spec.name, spec.precision.partition(":")[0]) == (SPEC.name, "int8")
    for picture in pictures:
        (boxes, scores), (expected, likely) = (each.run(None, {"images": picture[None]}) for each in (rounded, whole))
        assert np.median(np.abs(boxes - expected)) < 0.1 * expected[..., 2:].mean()
        assert np.corrcoef(scores.ravel(), likely.ravel())[0, 1] > 0.9


def test_ranges_are_of_photos_spread_over_the_training_scenes(scenes: Path) -> None:
    assert [picture.shape for picture in range_pictures(scenes, SPEC, 3)] == [
        (320, 416, 3),
        (416, 320, 3),
        (416, 416, 3),
    ]


def precisions(average: float) -> dict[str, Precision]:
    return {size: Precision(9, average, 0.5) for size in SIZES}


def test_int8_may_lose_little() -> None:
    check_loss(precisions(0.8), precisions(0.79), FinderLimits(lost_points=1.5))
    check_loss(precisions(0.8), precisions(0.9), FinderLimits(lost_points=1.5))
    with pytest.raises(GateError, match=r"`large` \(80\.00 to 78\.00\), the limit is 1\.5"):
        check_loss(
            precisions(0.8), {**precisions(0.8), "large": Precision(9, 0.78, 0.5)}, FinderLimits(lost_points=1.5)
        )
    with pytest.raises(GateError, match="nan"):
        check_loss(precisions(float("nan")), precisions(0.8), FinderLimits())


def arguments(weights: Path, scenes: Path, out: Path, *more: str) -> list[str]:
    return [
        str(weights),
        "--data",
        str(scenes),
        "--out",
        str(out),
        "--longest-side",
        "64",
        "--range-scenes",
        "2",
        *more,
    ]


@pytest.fixture(scope="module")
def weights(network: FinderNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_the_command_writes_both_files_with_their_own_accuracy(weights: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "finder.onnx"
    assert main(arguments(weights, scenes, out, "--lost-points", "100", "--images-seen", "7")) == 0
    for path, precision in ((out, "float16 weights"), (tmp_path / "finder-int8.onnx", "int8")):
        spec = FinderSpec.from_metadata(read_metadata(path))
        assert spec.precision.startswith(precision)
        assert (spec.accuracy.metric, spec.accuracy.people, set(spec.accuracy.per_joint)) == ("AP@0.5", 3, set(SIZES))
        assert spec.training["images_seen"] == 7
        assert spec.training["fine_tuned"]
        assert spec.longest_side == 64


def test_a_refused_file_replaces_none(
    weights: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "finder.onnx"
    out.write_bytes(b"the one before")
    assert main(arguments(weights, scenes, out, "--lost-points", "-101")) == 1
    assert "not written: int8 loses" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["finder.onnx"]
    assert out.read_bytes() == b"the one before"


def test_a_folder_without_scenes_is_refused(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(weights, tmp_path, tmp_path / "finder.onnx")) == 1
    assert "scenes-dev.tar cannot be read" in capsys.readouterr().err


def test_options_of_no_finder_are_refused(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(weights, tmp_path, tmp_path / "finder.onnx", "--longest-side", "72")) == 1
    assert "not written: the finder's file wants photos of 72 px at a stride of 32" in capsys.readouterr().err
