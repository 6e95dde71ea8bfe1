import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Example
from models.data.pseudo_labels import read_pseudo_labels
from models.evaluation.predictors import Predictions
from models.training import pseudo_labels
from models.training.pseudo_labels import main


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that knows the labels, and is surer of each next joint."""

    def run(path: Path, people: Sequence[Example]) -> Predictions:
        assert path == Path("model.onnx")
        confidence = np.linspace(0, 0.9, 16, dtype=np.float32)
        return Predictions(
            np.stack([person.joints for person in people]), confidence=np.tile(confidence, (len(people), 1))
        )

    monkeypatch.setattr(pseudo_labels, "run_onnx", run)


def test_everybody_in_the_training_packs_gets_pseudo_labels(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl.gz"
    main(["model.onnx", "--data", str(pack), "--out", str(out)])
    read = read_pseudo_labels([out])
    assert set(read) == {f"mpii_{index}" for index in range(12)} | {f"lspet_{index}" for index in range(6)}
    assert read["lspet_3"].trust[0, [0, 15]].tolist() == pytest.approx([0, 0.9])
    assert list(tmp_path.iterdir()) == [out]


def test_the_same_answers_give_the_same_file(pack: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.gz")]
    for file in files:
        main(["model.onnx", "--data", str(pack), "--packs", "train-lspet-0", "--out", str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(gzip.decompress(files[0].read_bytes()).splitlines()) == 6


def test_what_cannot_be_read_or_written_is_one_sentence(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "own.jsonl.gz"
    out.write_bytes(b"before")
    with pytest.raises(SystemExit, match=r"other\.tar cannot be read"):
        main(["model.onnx", "--data", str(pack), "--packs", "train-mpii", "other", "--out", str(out)])
    assert out.read_bytes() == b"before"
    with pytest.raises(SystemExit, match="nowhere"):
        main(["model.onnx", "--data", str(pack), "--out", str(tmp_path / "nowhere" / "own.jsonl.gz")])
    with pytest.raises(SystemExit):
        main(["checkpoint.pt", "--data", str(pack), "--out", str(out)])
    assert "checkpoint.pt has no calibrated confidence" in capsys.readouterr().err
