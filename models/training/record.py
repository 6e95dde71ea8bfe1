"""What a run's folder says of the run: `run.json`, `log.csv`, and which averaged weights stay.

`run.json` holds the options, the digests of the data and the commit. A run goes on only with the options and the data
that it began with, so that one folder is one run.
"""

import csv
import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from models.evaluation.pck import Accuracy
from models.networks.checkpoint import source_commit
from models.spec.skeleton import PCKH_COLUMNS
from models.training.config import Phase
from models.training.options import RunError, RunOptions

CHECKPOINT: Final = "checkpoint.pt"
RECORD: Final = "run.json"
LOG: Final = "log.csv"

_COLUMNS: Final = ("crops", "size", "stride", "loss", "pckh", *PCKH_COLUMNS)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run learns from, and how.

    Attributes:
        options: All options.
        data: Of each pack, how many `people` or `photos` the run reads of it and the SHA-256 of its `tar` and `jsonl`;
            the SHA-256 of the other files that it learns from, such as the starting weights.
        commit: The source tree's.
    """

    options: Mapping[str, Any]
    data: Mapping[str, Any]
    commit: str

    @classmethod
    def of(cls, config: RunOptions, people: Mapping[str, int], photos: Mapping[str, int]) -> Self:
        """The record of a run that reads so many people of each pack of people, and photos of each pack of scenes."""
        data: dict[str, Any] = {name: {"sha256": digest(path)} for name, path in config.files.items() if path.exists()}
        for counted, packs in (("people", people), ("photos", photos)):
            for pack, count in packs.items():
                tar, jsonl = (digest(config.data / f"{pack}.{kind}") for kind in ("tar", "jsonl.gz"))
                data[pack] = {counted: count, "tar": tar, "jsonl": jsonl}
        return cls(config.to_json(), data, source_commit())

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The record of the run in a folder; None where there is none.

        Raises:
            RunError: The folder holds a checkpoint without a record, or the record cannot be read.
        """
        path = folder / RECORD
        if not path.exists():
            if (folder / CHECKPOINT).exists():
                raise RunError(f"{folder} holds a {CHECKPOINT} and no {RECORD} that says of which run")
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} is no record of a run: {error}") from error

    def write(self, folder: Path) -> None:
        """Write `run.json`, whole or not at all."""
        unfinished = folder / f"{RECORD}.tmp"
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(folder / RECORD)

    def differences(self, other: Self, deciding: Container[str]) -> list[str]:
        """In which options, of the `deciding` ones, and in which data another run differs from this one."""
        pairs = [(self.options, other.options, deciding), (self.data, other.data, {*self.data, *other.data})]
        return [
            f"{name} was {_shown(ours.get(name))} and is {_shown(theirs.get(name))}"
            for ours, theirs, counted in pairs
            for name in {**ours, **theirs}
            if name in counted and ours.get(name) != theirs.get(name)
        ]


def begin_or_continue(
    config: RunOptions, people: Mapping[str, int], photos: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Record a new run in its folder, or make sure that the run in the folder is this one.

    Args:
        config: The run's options.
        people: How many people the run reads of each pack of people, by its name.
        photos: How many photos of each pack of scenes, likewise.

    Raises:
        RunError: The folder cannot be written, or holds a run with other options or data.
    """
    record = RunRecord.of(config, people, photos)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        begun = RunRecord.read(config.out)
        if begun is None:
            record.write(config.out)
            return
    except OSError as error:
        raise _unwritable(config.out, error) from error
    if differences := begun.differences(record, config.deciding()):
        raise RunError(f"the run in {config.out} is another: {'; '.join(differences)}")
    if begun.commit != record.commit:
        print(f"the run began at commit {begun.commit} and goes on at {record.commit}", flush=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def log(folder: Path, crops: int, phase: Phase, loss: float, accuracy: Accuracy) -> None:
    """Add an evaluation to the log, and the header where it is new."""
    path = folder / LOG
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(_COLUMNS)
        columns = [f"{value:.2f}" for value in accuracy.columns.values()]
        writer.writerow([crops, phase.size, phase.stride, f"{loss:.5f}", f"{accuracy.total:.2f}", *columns])


def forget_after(folder: Path, crops: int) -> None:
    """Drop what the log says of more crops than the checkpoint holds: those steps are repeated.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / LOG
    if not path.exists():
        return
    try:
        lines = path.read_bytes().splitlines(keepends=True)
        unfinished = path.with_suffix(".tmp")
        unfinished.write_bytes(b"".join(line for line in lines if _is_whole(line) and not _is_after(line, crops)))
        unfinished.replace(path)
    except OSError as error:
        raise _unwritable(folder, error) from error


def averaged_path(folder: Path, crops: int) -> Path:
    """The file of averaged weights after so many crops."""
    return folder / f"averaged-{crops}.pt"


def drop_averaged(folder: Path, keep: int) -> None:
    """Delete averaged weights but the last `keep` files and that of the best PCKh in the log, the first of equals."""
    with (folder / LOG).open(newline="") as file:
        accuracy = {int(line["crops"]): float(line["pckh"]) for line in csv.DictReader(file)}
    evaluated = sorted(accuracy)
    staying = {*evaluated[-keep:], max(evaluated, key=accuracy.__getitem__)}
    for crops in evaluated:
        if crops not in staying:
            averaged_path(folder, crops).unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(f"--out {folder} cannot be written: {error.strerror}")


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n")


def _is_after(line: bytes, crops: int) -> bool:
    seen = line.partition(b",")[0]
    return seen.isdigit() and int(seen) > crops


def _shown(value: Any) -> str:
    """An option's value, or a pack's or a file's with its digests cut short, in a sentence."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {str(each)[:8]}" for name, each in value.items())
    return " ".join(value) if isinstance(value, list) else str(value).lower()
