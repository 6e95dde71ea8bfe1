import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.evaluation.pck import Accuracy
from models.spec.skeleton import PCKH_COLUMNS
from models.training.config import Phase, TrainingConfig
from models.training.options import RunError
from models.training.record import averaged_path, begin_or_continue, digest, drop_averaged, forget_after, log

Configure = Callable[..., TrainingConfig]
COUNTS = {"train-mpii": 12, "train-lspet-0": 6, "dev": 5}


def accuracy(total: float) -> Accuracy:
    return Accuracy(dict.fromkeys(PCKH_COLUMNS, total), total, total, people=5, joints=70)


def test_a_runs_folder_says_what_it_is(configure: Configure) -> None:
    config = configure("64/16:96", rate=1e-3)
    begin_or_continue(config, COUNTS)
    record = json.loads((config.out / "run.json").read_text())
    assert record["options"]["rate"] == 1e-3
    assert record["options"]["phases"] == ["64/16:96"]
    assert record["data"]["train-mpii"] == {
        "people": 12,
        "tar": digest(config.data / "train-mpii.tar"),
        "jsonl": digest(config.data / "train-mpii.jsonl.gz"),
    }
    assert record["data"]["pseudo_labels_1"] == {"sha256": digest(config.data / "opinions.jsonl.gz")}
    assert set(record["data"]) == {*COUNTS, "pseudo_labels_1"}
    assert record["commit"]


def test_the_same_run_goes_on_wherever_its_data_lies(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    begin_or_continue(config, COUNTS)
    before = (config.out / "run.json").read_bytes()
    shutil.copytree(config.data, tmp_path / "copy")
    begin_or_continue(replace(config, data=tmp_path / "copy", threads=2, keep=1), COUNTS)
    assert (config.out / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"rate": 1e-2}, "rate was 0.0004 and is 0.01"),
        ({"seed": 7}, "seed was 0 and is 7"),
        ({"phases": (Phase(64, 8, 24),)}, "phases was 64/16:24 and is 64/8:24"),
        ({"regulariser": "kl", "batch": 3}, "regulariser was js and is kl; batch was 6 and is 3"),
    ],
)
def test_other_options_are_refused_by_name(configure: Configure, options: dict[str, Any], difference: str) -> None:
    begin_or_continue(configure(), COUNTS)
    with pytest.raises(RunError, match=f"is another: {difference}$"):
        begin_or_continue(replace(configure(), **options), COUNTS)


def test_other_data_are_refused_by_name(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    begin_or_continue(config, COUNTS)
    changed = tmp_path / "changed"
    shutil.copytree(config.data, changed)
    with (changed / "dev.tar").open("ab") as tar:
        tar.write(bytes(512))
    with pytest.raises(RunError, match=r"is another: dev was people 5, tar ........, jsonl ........ and is people 5"):
        begin_or_continue(replace(config, data=changed), COUNTS)
    with pytest.raises(RunError, match="train-new was none and is people 5, tar"):
        for ending in ("tar", "jsonl.gz"):
            shutil.copy(changed / f"dev.{ending}", changed / f"train-new.{ending}")
        begin_or_continue(replace(config, data=changed), {**COUNTS, "train-new": 5})


def test_other_starting_weights_are_refused(configure: Configure, tmp_path: Path) -> None:
    starts = (tmp_path / "first.pt", tmp_path / "second.pt")
    for start in starts:
        start.write_bytes(b"one")
    begin_or_continue(configure(start=starts), COUNTS)
    starts[1].write_bytes(b"other")
    with pytest.raises(RunError, match=r"is another: start_2 was sha256 ........ and is sha256"):
        begin_or_continue(configure(start=starts), COUNTS)


def test_other_pseudo_labels_are_refused(configure: Configure, tmp_path: Path) -> None:
    begin_or_continue(configure(), COUNTS)
    own = tmp_path / "own.jsonl.gz"
    own.touch()
    with pytest.raises(RunError, match=r"is another: pseudo_labels_2 was none and is sha256"):
        begin_or_continue(configure(pseudo_labels=(own,)), COUNTS)


def test_a_checkpoint_that_nothing_is_known_of_is_refused(configure: Configure) -> None:
    config = configure()
    config.out.mkdir()
    (config.out / "checkpoint.pt").touch()
    with pytest.raises(RunError, match=r"holds a checkpoint\.pt and no run\.json"):
        begin_or_continue(config, COUNTS)
    (config.out / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is no record of a run"):
        begin_or_continue(config, COUNTS)


def test_a_folder_that_cannot_be_is_refused(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=f"--out {out} cannot be written"):
            begin_or_continue(configure(out=out), COUNTS)


def test_averaged_weights_stay_of_the_last_evaluations_and_of_the_best(tmp_path: Path) -> None:
    for crops, total in ((10, 40.0), (20, 80.0), (30, 80.0), (40, 50.0), (50, 60.0), (60, 60.0)):
        log(tmp_path, crops, Phase(64, 16, 100), 0.5, accuracy(total))
        averaged_path(tmp_path, crops).touch()
        drop_averaged(tmp_path, keep=2)
    assert {path.name for path in tmp_path.glob("*.pt")} == {"averaged-20.pt", "averaged-50.pt", "averaged-60.pt"}


def test_lines_after_the_checkpoint_are_forgotten_and_torn_ones_too(tmp_path: Path) -> None:
    forget_after(tmp_path, 0)  # there is no log yet
    for crops in (10, 20, 30):
        log(tmp_path, crops, Phase(64, 16, 100), 0.5, accuracy(40.0))
    whole = (tmp_path / "log.csv").read_bytes()
    with (tmp_path / "log.csv").open("ab") as file:
        file.write(b"4")
    forget_after(tmp_path, 30)
    assert (tmp_path / "log.csv").read_bytes() == whole
    forget_after(tmp_path, 20)
    assert (tmp_path / "log.csv").read_bytes() == b"".join(whole.splitlines(keepends=True)[:3])
