from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from models.card import figures
from models.card.figures import main
from models.data.pack import Example
from models.evaluation.predictors import Estimates
from models.networks.pose import PoseNetwork


def test_command_writes_three_plots(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_: PoseNetwork, views: list[Example]) -> Estimates:
        random = np.random.default_rng(0)
        joints = np.stack([view.joints for view in views]) + random.normal(0, 2, (len(views), 16, 2))
        covariance = random.uniform(0.01, 0.02, (len(views), 16, 3)).astype(np.float32)
        return Estimates(joints, covariance, None, random.random((len(views), 16, 4)))

    monkeypatch.setattr(figures, "load_weights", lambda *_: None)
    monkeypatch.setattr(figures, "run_network", ask)
    log = tmp_path / "log.csv"
    log.write_text("crops,size,stride,loss,pckh\n3200,192,16,0.3,74\n6400,192,16,0.3,75\n8000,224,8,0.3,76\n")
    out = tmp_path / "new"
    main(["model.onnx", "--data", str(pack), "--log", str(log), "--crops-before", "168000", "--out", str(out)])
    for name in ("calibration", "border", "training"):
        assert ElementTree.parse(out / f"{name}.svg").getroot().tag.endswith("svg")
