"""What is wrong with a run's input ends it with status 2 and one sentence, before anything is learnt."""

import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.training.__main__ import main


@pytest.fixture
def data(pack: Path, tmp_path: Path) -> Path:
    """A pack of one's own to break."""
    return Path(shutil.copytree(pack, tmp_path / "data"))


def arguments(data: Path, *more: str) -> list[str]:
    small = ["--phases", "64/16:24", "--depth", "18", "--batch", "6", "--threads", "1", "--device", "cpu"]
    return ["--data", str(data), "--out", str(data.parent / "run"), *small, *more]


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The sentence that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(list(options))
    assert ended.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("python -m models.training: error: ")
    return sentence


def rewrite(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change every line of a pack."""
    with gzip.open(path, "rt") as lines:
        people = [json.loads(line) for line in lines]
    with gzip.open(path, "wt") as lines:
        for person in people:
            change(person)
            lines.write(json.dumps(person) + "\n")


def cut(path: Path, fraction: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


def last_picture(path: Path) -> tarfile.TarInfo:
    with tarfile.open(path) as tar:
        return tar.getmembers()[-1]


def cut_tar(data: Path) -> None:
    path = data / "train-mpii.tar"
    path.write_bytes(path.read_bytes()[: last_picture(path).offset_data + 100])


def drop_last_picture(data: Path) -> None:
    path = data / "dev.tar"
    path.write_bytes(path.read_bytes()[: last_picture(path).offset])


def spoil_pictures(data: Path) -> None:
    content = (data / "train-mpii.tar").read_bytes()
    (data / "train-mpii.tar").write_bytes(content.replace(b"WEBP", b"WEEP"))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "holds no training pack"),
    "no training pack": (lambda data: [path.unlink() for path in data.glob("train-*")], "holds no training pack"),
    "no jsonl": (lambda data: (data / "train-mpii.jsonl.gz").unlink(), "train-mpii.jsonl.gz cannot be read"),
    "no development pack": (lambda data: (data / "dev.tar").unlink(), "dev.tar cannot be read"),
    "a cut tar": (cut_tar, "train-mpii.tar cannot be read: unexpected end"),
    "an empty tar": (lambda data: cut(data / "train-mpii.tar", 0), "train-mpii.tar cannot be read: empty file"),
    "a cut jsonl": (lambda data: cut(data / "dev.jsonl.gz", 0.5), "dev.jsonl.gz cannot be read: Compressed file ended"),
    "no gzip": (lambda data: (data / "dev.jsonl.gz").write_bytes(b"{}"), "dev.jsonl.gz cannot be read: Not a gzipped"),
    "a picture less": (drop_last_picture, "dev.jsonl.gz, line 5: the picture mpii_4.webp is not in the tar"),
    "no pictures": (spoil_pictures, "train-mpii.jsonl.gz, line 1: the picture is in no known format"),
    "15 joints": (
        lambda data: rewrite(data / "train-mpii.jsonl.gz", lambda line: line["joints"].pop()),  # type: ignore[attr-defined]
        "train-mpii.jsonl.gz, line 1: joints are 16 times three numbers [x, y, v], not 15 x 3",
    ),
    "a line without a box": (
        lambda data: rewrite(data / "dev.jsonl.gz", lambda line: line.pop("box")),
        "dev.jsonl.gz, line 1: 'box' is missing",
    ),
    "an empty box": (
        lambda data: rewrite(data / "dev.jsonl.gz", lambda line: line.update(box=[1, 2, 0, 0])),
        "dev.jsonl.gz, line 1: size 96 and box [1, 2, 0, 0] are of no person",
    ),
    "a head of no size": (
        lambda data: rewrite(data / "dev.jsonl.gz", lambda line: line.update(head_size=0)),
        "dev.jsonl.gz, line 1: a head size is null or above 0, not 0",
    ),
    "no development people": (
        lambda data: rewrite(data / "dev.jsonl.gz", lambda line: line.update(source="lsp")),
        "dev.jsonl.gz has nobody of source mpii with a head size",
    ),
    "pseudo-labels of 15 joints": (
        lambda data: rewrite(data / "opinions.jsonl.gz", lambda line: line["movenet"].pop()),  # type: ignore[attr-defined]
        "opinions.jsonl.gz cannot be read",
    ),
    "cut pseudo-labels": (lambda data: cut(data / "opinions.jsonl.gz", 0.5), "opinions.jsonl.gz cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_packs_are_refused(name: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, sentence = BROKEN[name]
    spoil(data)
    assert sentence in refusal(capsys, *arguments(data))


def test_pseudo_labels_that_are_missing_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refusal(capsys, *arguments(data, "--pseudo-labels", str(data / "own.jsonl.gz")))
    assert "own.jsonl.gz cannot be read: FileNotFoundError" in sentence


def test_fewer_people_than_a_batch_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has 18 people for training, fewer than --batch 19" in refusal(capsys, *arguments(data, "--batch", "19"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "gpu"])
def test_a_device_that_is_not_here_is_refused(device: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refusal(capsys, *arguments(data, "--device", device))
    assert f"--device {device} is not here: this machine has cpu" in sentence


def test_a_folder_that_cannot_be_written_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "file").touch()
    sentence = refusal(capsys, *arguments(data, "--out", str(data.parent / "file" / "run")))
    assert "file/run cannot be written: Not a directory" in sentence


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("no.safetensors", None, "no.safetensors cannot be read as weights: FileNotFoundError"),
        ("cut.safetensors", b"1234", "cut.safetensors cannot be read as weights"),
        ("cut.onnx", b"\x08\x01\xff", "cut.onnx cannot be read as weights"),
        ("cut.pt", b"PK\x03\x04", "cut.pt cannot be read as weights"),
        ("weights.txt", b"", "weights are read from .safetensors, .onnx, .pt, not from `.txt`"),
    ],
)
def test_starting_weights_that_cannot_be_read_are_refused(
    name: str, content: bytes | None, sentence: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (data.parent / name).write_bytes(content)
    assert sentence in refusal(capsys, *arguments(data, "--start", str(data.parent / name)))


def test_another_run_in_the_folder_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "run").mkdir()
    (data.parent / "run" / "checkpoint.pt").touch()
    assert "holds a checkpoint.pt and no run.json" in refusal(capsys, *arguments(data))
