from pathlib import Path

import numpy as np
import pytest

from models.card import border
from models.card.border import border_distances, errors, inward_pull, main, with_margin
from models.data.pack import Example, read_people
from models.evaluation.predictors import Predictions


@pytest.fixture
def people(pack: Path) -> list[Example]:
    return list(read_people(pack, ["dev"]))


def test_a_margin_scales_the_crop_about_its_centre(people: list[Example]) -> None:
    usual, wide = people[0].crop, with_margin(people[0], 2.5).crop
    assert wide.side == pytest.approx(2 * usual.side)
    assert (wide.x + wide.side / 2, wide.y + wide.side / 2) == pytest.approx(
        (usual.x + usual.side / 2, usual.y + usual.side / 2)
    )


def test_distances_and_pull_are_in_input_pixels(people: list[Example]) -> None:
    inward = np.stack([p.crop.to_photo(p.crop.from_photo(p.joints) * 0.9) for p in people])
    true = np.stack([p.crop.from_photo(p.joints) for p in people])
    furthest = np.abs(true).max(-1)
    assert np.allclose(inward_pull(people, inward), 0.1 * furthest * 112)
    assert np.allclose(border_distances(people), (1 - furthest) * 112)


def test_errors_are_in_heads_and_nan_where_unknown(people: list[Example]) -> None:
    moved = np.stack([p.joints for p in people]) + np.array([3.0, 0.0])
    found = errors(people, moved)
    assert np.isnan(found[1]).all()
    assert np.allclose(np.delete(found, 1, axis=0), 0.5)


def test_command_prints_every_margin_and_bin(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(views: list[Example]) -> Predictions:
        covariance = np.random.default_rng(0).uniform(0.01, 0.02, (len(views), 16, 3)).astype(np.float32)
        return Predictions(np.stack([view.joints for view in views]), covariance)

    monkeypatch.setattr(border, "predictor", lambda _: ask)
    main(["model.onnx", "--data", str(pack)])
    out = capsys.readouterr().out
    assert all(f"| {margin} | 100.00 |" in out for margin in border.MARGINS)
    assert "| distance to the border, px |" in out
    assert out.count("100.0 | 0.00 | +0.0 |") >= 6
