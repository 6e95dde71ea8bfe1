from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.card import failures
from models.card.failures import main, panels
from models.data.pack import Example
from models.evaluation.predictors import Predictions
from models.spec.crop import Box

PHOTO = Path(__file__).parents[3] / "tests" / "photos" / "camera.jpg"


def test_each_panel_changes_one_thing() -> None:
    photo, box = Image.open(PHOTO).convert("RGB"), Box(10, 60, 300, 440)
    shown = panels(photo, box)
    pictures = {title: person.decode(person.size) for title, person in shown.items()}
    np.testing.assert_array_equal(pictures["upside down"][::-1, ::-1], np.asarray(photo))
    assert shown["upside down"].box == Box(202, 12, 300, 440)
    assert shown["box around the upper half"].box == Box(10, 60, 300, 220)
    changed = {title: (picture != np.asarray(photo)).mean() for title, picture in pictures.items()}
    assert changed["as it is"] == changed["box around the upper half"] == 0
    assert changed["half hidden"] > 0.05
    assert changed["another one in the crop"] > 0.05


def test_the_command_draws_what_the_model_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(people: list[Example]) -> Predictions:
        joints = np.random.default_rng(0).uniform(0, 512, (len(people), 16, 2))
        return Predictions(joints, None, np.full((len(people), 16), 0.8, np.float32))

    monkeypatch.setattr(failures, "predictor", lambda _: ask)
    out = tmp_path / "new" / "failures.jpg"
    main(["model.onnx", "--photo", str(PHOTO), "--box", "10", "60", "300", "440", "--out", str(out)])
    with Image.open(out) as picture:
        assert picture.width > 4 * picture.height
