"""A contract for tests that do not care what it says, and files that carry one."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from models.spec.contract import OUTPUTS, Contract, ModelSpec, StatedAccuracy
from models.spec.crop import CropRule
from models.spec.finder import FinderSpec
from models.spec.skeleton import MPII


def make_contract(**changes: Any) -> Contract:
    fields: dict[str, Any] = {
        "name": "stand-in",
        "version": "1",
        "skeleton": MPII,
        "crop": CropRule(),
        "calibration": {"kind": "none"},
        "accuracy": StatedAccuracy(total=75.5, dataset="MPII", people=244),
        "training": {"data": "none", "images_seen": 0, "commit": "none"},
        "precision": "float32",
        "licence": "none",
    }
    return Contract(**(fields | changes))


def write_model(path: Path, contract: Contract) -> None:
    """A whole ONNX file with this contract, whose network no runtime knows."""
    graph = helper.make_graph([helper.make_node("Unknown", ["images"], ["heatmaps"])], "network", [], [])
    model = helper.make_model(graph)
    helper.set_model_props(model, contract.to_metadata())
    onnx.save(model, str(path))


def make_spec(**changes: Any) -> ModelSpec:
    """A spec of a model file that keeps `make_contract`'s contract, with 28 x 28 heatmaps."""
    contract = make_contract(**changes)
    stated = {field.name: getattr(contract, field.name) for field in fields(contract)}
    return ModelSpec(**stated, heatmap_size=(28, 28), outputs=OUTPUTS)


def make_finder_spec(**changes: Any) -> FinderSpec:
    """A spec of a finder's file that scales photos to 416 pixels and whose scores are people's as they are."""
    fields: dict[str, Any] = {
        "name": "stand-in-finder",
        "version": "1",
        "accuracy": StatedAccuracy(metric="AP@0.5", total=60.5, dataset="scenes", people=461),
        "training": {"data": "none", "images_seen": 0, "commit": "none"},
        "precision": "float32",
        "licence": "none",
        "longest_side": 416,
        "stride": 32,
        "padding": (124, 116, 104),
        "suppression": 0.5,
        "calibration": {"finder": 1.0, "pose": 0.0, "bias": 0.0},
    }
    return FinderSpec(**(fields | changes))
