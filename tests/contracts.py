"""A contract for tests that do not care what it says."""

from typing import Any

from models.contract import Contract, crop_metadata, skeleton_metadata


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
