from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from models.card import figures
from models.card.figures import main
from models.data.pack import Example
from models.evaluation.predictors import Predictions, Predictor


def test_command_writes_three_plots(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[str] = []

    def predictor(model: str) -> Predictor:
        models.append(model)
        return predict

    def predict(views: list[Example]) -> Predictions:
        random = np.random.default_rng(0)
        joints = np.stack([view.joints for view in views]) + random.normal(0, 2, (len(views), 16, 2))
        return Predictions(joints, features=random.random((len(views), 16, 4)))

    monkeypatch.setattr(figures, "predictor", predictor)
    log = tmp_path / "log.csv"
    log.write_text("crops,size,stride,loss,pckh\n3200,192,16,0.3,74\n6400,192,16,0.3,75\n8000,224,8,0.3,76\n")
    out = tmp_path / "new"
    arguments = ["int8.onnx", "--data", str(pack), "--log", str(log)]
    main([*arguments, "--crops-before", "168000", "--out", str(out)])
    assert models == ["int8.onnx"]
    for name in ("calibration", "border", "training"):
        assert ElementTree.parse(out / f"{name}.svg").getroot().tag.endswith("svg")
    drawn = (out / "calibration.svg").read_text()
    assert all(f"<!-- {name} -->" in drawn for name in ("mpii", "half bodies"))
