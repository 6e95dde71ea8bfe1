import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.data.pack import PackError
from models.data.scenes import DEVELOPMENT_SCENES, read_scenes, training_scenes


def rewritten(pack: Path, folder: Path, **change: object) -> Path:
    """A folder with the development scenes, whose second line (one person) is changed."""
    shutil.copy(pack / "scenes-dev.tar", folder)
    with gzip.open(pack / "scenes-dev.jsonl.gz", "rt") as lines:
        first, second, *_ = map(json.loads, lines)
    with gzip.open(folder / "scenes-dev.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(line) + "\n" for line in (first, {**second, **change}))
    return folder


def test_packs_are_read_in_the_order_of_their_lines(scenes_pack: Path) -> None:
    assert training_scenes(scenes_pack) == ["scenes-train-0", "scenes-train-1"]
    scenes = list(read_scenes(scenes_pack, training_scenes(scenes_pack)))
    assert [len(scene.boxes) for scene in scenes] == [0, 1, 2] * 5
    assert [scene.flags for scene in scenes[:3]] == [(), ("t",), ("t", "")]
    assert scenes[2].boxes.tolist() == [[8, 12, 16, 40], [36, 12, 16, 40]]
    assert scenes[0].boxes.shape == (0, 4)
    assert scenes[0].joints.shape == (0, 16, 3)
    assert not any(scene.squashed or scene.incomplete or scene.kind for scene in scenes)


def test_a_picture_is_decoded_in_its_own_size(scenes_pack: Path) -> None:
    _, scene, *_ = read_scenes(scenes_pack, [DEVELOPMENT_SCENES])
    pixels = scene.decode()
    assert pixels.shape == (64, 96, 3)
    assert (pixels[12:52, 8:24] == (220, 160, 60)).all()
    assert pixels[:, 24:].max() < 60


def test_what_a_line_says_beside_its_boxes_is_read(scenes_pack: Path, tmp_path: Path) -> None:
    joints = [[[1.0, 2.0, 2]] + [[0, 0, 0]] * 15, None, None]
    boxes = [[1, 2, 3, 4, "to"], [5, 6, 7, 8, "c"], [9, 10, 11, 12, "td"]]
    change = {"joints": joints, "squashed": True, "incomplete": True, "kind": "room", "boxes": boxes}
    _, scene = read_scenes(rewritten(scenes_pack, tmp_path, **change), [DEVELOPMENT_SCENES])
    assert scene.counted.tolist() == [True, False, False]
    assert scene.joints[0, 0].tolist() == [1, 2, 2]
    assert np.count_nonzero(scene.joints) == 3
    assert (scene.squashed, scene.incomplete, scene.kind) == (True, True, "room")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 0}, "a photo has at least 1 x 1 pixels, not 0 x 64"),
        ({"boxes": [[1, 2, 0, 4, ""]]}, r"boxes are finite with sides above 0, not \[\[1, 2, 0, 4, ''\]\]"),
        ({"boxes": [[1, 2, float("nan"), 4, ""]]}, "boxes are finite"),
        ({"boxes": [[1, 2, 3, 4, "x"]]}, "flags are any of c, d, o, t, not x"),
        ({"joints": [None, None]}, "joints are of 2 people and boxes of 1"),
        ({"file": "other.webp"}, r"the picture other\.webp is not in the tar"),
    ],
)
def test_lines_of_no_scene_are_refused_with_their_number(
    change: dict[str, object], sentence: str, scenes_pack: Path, tmp_path: Path
) -> None:
    with pytest.raises(PackError, match=rf"scenes-dev\.jsonl\.gz, line 2: {sentence}"):
        list(read_scenes(rewritten(scenes_pack, tmp_path, **change), [DEVELOPMENT_SCENES]))


def test_a_picture_of_another_size_is_refused(scenes_pack: Path, tmp_path: Path) -> None:
    _, scene = read_scenes(rewritten(scenes_pack, tmp_path, width=95), [DEVELOPMENT_SCENES])
    with pytest.raises(PackError, match="is 96 x 64 pixels, its line says 95 x 64"):
        scene.decode()


def test_a_folder_without_training_scenes_is_refused(pack: Path) -> None:
    with pytest.raises(PackError, match=r"no training pack \(scenes-train-\*\.tar"):
        training_scenes(pack)
