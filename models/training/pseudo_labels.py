"""Ask an exported network for pseudo-labels: `python -m models.training.pseudo_labels MODEL --data FOLDER --out FILE`.

A network that has learnt from careful labels knows what other data sets' annotators got wrong. `python -m
models.training --pseudo-labels FILE` lets its joints vote with the labels and with other models'.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from gzip import GzipFile
from pathlib import Path

from models.data.pack import PackError, read_people, training_packs
from models.data.pseudo_labels import pseudo_label_line
from models.evaluation.predictors import run_onnx


def main(arguments: list[str] | None = None) -> None:
    """The command line; what cannot be read or written ends it with a sentence."""
    options = _parse_options(arguments)
    try:
        packs = options.packs or training_packs(options.data)
        write(options.out, pseudo_label_lines(options.model, options.data, packs))
    except (PackError, OSError) as error:
        raise SystemExit(str(error)) from error


def pseudo_label_lines(model: Path, folder: Path, packs: Sequence[str]) -> Iterator[str]:
    """A line for every person of some packs of a folder, by an exported file.

    Raises:
        PackError: A pack cannot be read.
    """
    for pack in packs:
        people = list(read_people(folder, [pack]))
        predictions = run_onnx(model, people)
        assert predictions.confidence is not None  # an exported file gives it
        for person, joints, confidence in zip(people, predictions.joints, predictions.confidence, strict=True):
            yield pseudo_label_line(person.id, joints, confidence)
        print(f"{pack}: {len(people)} people", flush=True)


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a compressed file, whole or not at all; the same lines give the same bytes.

    Raises:
        OSError: The file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("wb") as file, GzipFile("", "wb", fileobj=file, mtime=0) as compressed:
        for line in lines:
            compressed.write(f"{line}\n".encode())
    unfinished.replace(path)


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.pseudo_labels", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("model", type=Path, help="an exported .onnx file: its confidence is calibrated")
    parser.add_argument("--data", type=Path, required=True, help="folder of the people pack")
    parser.add_argument("--packs", nargs="+", metavar="NAME", help="packs of the folder; left out, all for training")
    parser.add_argument("--out", type=Path, required=True, help="the file of pseudo-labels, .jsonl.gz")
    options = parser.parse_args(arguments)
    if options.model.suffix != ".onnx":
        parser.error(f"{options.model} has no calibrated confidence: export it, and name the .onnx file")
    return options


if __name__ == "__main__":
    main()
