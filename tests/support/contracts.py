"""A contract for tests that do not care what it says, and files that carry one."""

from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from models.spec.contract import Contract, crop_metadata, skeleton_metadata


def make_contract(**changes: Any) -> Contract:
    fields: dict[str, Any] = {
        "name": "stand-in",
        "version": "1",
        "skeleton": skeleton_metadata(),
        "crop": crop_metadata(),
        "calibration": {"kind": "none"},
        "accuracy": {"metric": "PCKh@0.5", "total": 75.5, "per_joint": {}, "dataset": "MPII", "people": 244},
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
