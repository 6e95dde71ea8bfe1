import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export import gate
from export.gate import GateError, Limits, Review, check_parity, read_views, set_accuracy, set_calibration
from export.graph import ExportGraph
from export.onnx_files import read_contract
from export.parity import Difference
from models.data.pack import Example
from models.evaluation.calibration import COEFFICIENTS, UNFITTED, Calibration
from models.evaluation.pck import Accuracy
from models.evaluation.predictors import Predictions
from models.evaluation.reliability import Views, everybody, fit_on, held_out_confidence, reliabilities, slices
from tests.models.conftest import write_halves, write_pack
from tests.support.contracts import make_contract


@pytest.fixture
def views(pack: Path) -> Views:
    return read_views(pack)


def predictions(people: list[Example], moved: np.ndarray | float = 0.0) -> Predictions:
    """The labels, each joint moved to the right by `moved` heads of 6 px."""
    joints = np.stack([person.joints for person in people])
    joints[..., 0] += 6 * moved
    features = np.random.default_rng(0).normal(size=(len(people), 16, 4))
    return Predictions(joints, features=features)


def unfitted(**changes: Any) -> onnx.ModelProto:
    """A model that has a contract and coefficients, and nothing else."""
    coefficients = numpy_helper.from_array(UNFITTED.coefficients.astype(np.float32), COEFFICIENTS)
    model = helper.make_model(helper.make_graph([], "none", [], [], [coefficients]))
    helper.set_model_props(model, make_contract(**changes).to_metadata())
    return model


def coefficients_of(model: onnx.ModelProto) -> np.ndarray:
    (tensor,) = model.graph.initializer
    return numpy_helper.to_array(tensor)


@pytest.mark.parametrize(("joints_px", "refused"), [(0.049, False), (0.051, True), (float("nan"), True)])
def test_a_float32_model_may_hardly_move_joints(
    joints_px: float, refused: bool, graph: ExportGraph, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gate, "compare", lambda *_: {2: Difference(joints_px, 0, 0, 0, 0), 1: Difference(0, 0, 0, 0, 0)}
    )
    if not refused:
        check_parity(onnx.ModelProto(), graph, crops, Limits())
        return
    with pytest.raises(GateError, match=r"moves a joint by \S+ input px, the limit is 0.05"):
        check_parity(onnx.ModelProto(), graph, crops, Limits())


@pytest.mark.parametrize(
    ("heads", "limits", "complaint"),
    [
        (0.3, Limits(moved_px=100), None),
        (0.6, Limits(moved_px=100), r"loses 100.00 points of PCKh \(100.00 to 0.00\), the limit is 0.5"),
        (0.6, Limits(lost_points=100, moved_px=100), None),
        (0.3, Limits(moved_px=1.5), r"moves joints by 6\.\d+ input px on average, the limit is 1.5"),
    ],
)
def test_a_file_that_loses_accuracy_or_moves_joints_is_refused(
    heads: float,
    limits: Limits,
    complaint: str | None,
    views: Views,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people = everybody(views)
    reference = predictions(people).joints
    monkeypatch.setattr(gate, "run_onnx", lambda *_: predictions(people, heads))
    model, review = unfitted(precision="int8: bytes"), Review(views, limits)
    if complaint is not None:
        with pytest.raises(GateError, match=complaint):
            review.admit(model, tmp_path / "model.onnx", reference)
        return
    review.admit(model, tmp_path / "model.onnx", reference)
    stated = read_contract(onnx.load(str(tmp_path / "model.onnx"))).accuracy
    assert stated.total == (100.0 if heads < 0.5 else 0.0)


def test_half_bodies_do_not_count_in_a_files_accuracy(
    views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = everybody(views)
    moved = np.ones((len(people), 1))
    moved[slices(views)["mpii"]] = 0
    monkeypatch.setattr(gate, "run_onnx", lambda *_: predictions(people, moved))
    model = unfitted()
    Review(views, Limits()).admit(model, tmp_path / "model.onnx", predictions(people).joints)
    assert read_contract(model).accuracy.total == 100


def test_accuracy_stands_in_the_contract() -> None:
    model = unfitted()
    set_accuracy(model, Accuracy(columns={"Head": 90.123}, total=80.456, people=244, joints=3000, limbs=70.0))
    stated = read_contract(model).accuracy
    assert (stated.total, stated.per_joint, stated.people) == (80.46, {"Head": 90.12}, 244)
    assert stated.dataset == make_contract().accuracy.dataset


def test_coefficients_stand_in_the_graph_and_in_the_contract_with_each_views_error(views: Views) -> None:
    model, some = unfitted(), predictions(everybody(views))
    rows = reliabilities(views, some, held_out_confidence(views, some))
    fitted = Calibration(np.random.default_rng(1).normal(size=(16, 4)))
    set_calibration(model, fitted, rows)
    assert np.allclose(coefficients_of(model), fitted.coefficients)
    stated = read_contract(model).calibration
    assert np.allclose(Calibration.from_metadata(stated).coefficients, fitted.coefficients, atol=1e-5)
    assert stated["dataset"] == "development people of the packs: mpii, half bodies"
    assert stated["joints"] == sum(row.joints for row in rows.values())
    assert {name: view["joints"] for name, view in stated["held_out"].items()} == {
        name: row.joints for name, row in rows.items()
    }
    for name, view in stated["held_out"].items():
        assert view["expected_calibration_error"] == pytest.approx(rows[name].expected_calibration_error, abs=1e-4)


def test_each_file_has_a_confidence_fitted_on_its_own_answers(
    views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference's joints are right, the file's are wrong every now and then: the file must not be as sure."""
    people = everybody(views)
    moved = np.where(np.random.default_rng(2).random((len(people), 16)) < 0.4, 3.0, 0.0)
    served = predictions(people, moved)
    monkeypatch.setattr(gate, "run_onnx", lambda *_: served)
    model = unfitted()
    limits = Limits(lost_points=100, moved_px=100)
    joints = Review(views, limits).admit(model, tmp_path / "model.onnx", predictions(people).joints)
    assert np.array_equal(joints, served.joints)
    written = onnx.load(str(tmp_path / "model.onnx"))
    assert np.allclose(coefficients_of(written), fit_on(views, served).coefficients, atol=1e-6)
    assert not np.allclose(coefficients_of(written), fit_on(views, predictions(people)).coefficients, atol=0.1)


def test_a_pack_without_people_to_measure_on_is_refused(tmp_path: Path) -> None:
    write_pack(tmp_path, "dev", "lspet", 3, seed=0)
    write_halves(tmp_path, "halves-dev", 1, seed=0)
    with pytest.raises(GateError, match="has no person of source mpii with a head size"):
        read_views(tmp_path)


def test_limits_are_options() -> None:
    parser = argparse.ArgumentParser()
    Limits.add_options(parser)
    assert Limits.of(parser.parse_args([])) == Limits()
    options = parser.parse_args(["--lost-points", "2", "--moved-px", "3"])
    assert Limits.of(options) == Limits(lost_points=2, moved_px=3)
