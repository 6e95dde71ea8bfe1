import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.pack import (
    ABSENT,
    Labels,
    PackError,
    load_people,
    nominal_crops,
    person_folds,
    read_people,
    training_packs,
)
from models.spec.crop import OUTSIDE_COLOUR, Box


def test_packs_are_read_in_the_order_of_their_lines(pack: Path) -> None:
    assert training_packs(pack) == ["train-lspet-0", "train-mpii"]
    people = list(read_people(pack, training_packs(pack)))
    assert [person.id for person in people] == [f"lspet_{i}" for i in range(6)] + [f"mpii_{i}" for i in range(12)]
    assert not people[0].labelled[6]
    assert people[6].labelled.all()
    assert people[7].head_size is None


def test_folder_without_packs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no training pack"):
        training_packs(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"joints": [[1, 2, 2]] * 15}, r"joints are 16 times three numbers \[x, y, v\], not 15 x 3"),
        ({"joints": [[1, 2]] * 16}, "not 16 x 2"),
        ({"joints": [[1, float("nan"), 2]] * 16}, "not 16 x 3 with some that are not finite"),
        ({"box": [1, 2, 3]}, r"box \[1, 2, 3\] are of no person"),
        ({"box": [1, 2, 3, -4]}, "are of no person"),
        ({"size": 0}, "size 0 and box"),
        ({"size": 95}, "the picture has 96 x 96 pixels, not 95 x 95"),
        ({"head_size": -1}, "a head size is null or above 0, not -1"),
        ({"file": "other.webp"}, r"the picture other\.webp is not in the tar"),
    ],
)
def test_lines_of_no_person_are_refused_with_their_number(
    change: dict[str, object], sentence: str, pack: Path, tmp_path: Path
) -> None:
    shutil.copy(pack / "dev.tar", tmp_path)
    with gzip.open(pack / "dev.jsonl.gz", "rt") as lines:
        first, second, *_ = map(json.loads, lines)
    with gzip.open(tmp_path / "dev.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(line) + "\n" for line in (first, {**second, **change}))
    people = read_people(tmp_path, ["dev"])
    assert next(people).id == first["id"]
    with pytest.raises(PackError, match=rf"dev\.jsonl\.gz, line 2: .*{sentence}"):
        next(people)


def test_pictures_and_joints_keep_their_places_at_every_size(pack: Path) -> None:
    persons = list(read_people(pack, ["dev"]))
    for crop_size in (64, 128):
        people = load_people(persons, crop_size)
        assert people.pictures.shape == (5, crop_size * 3 // 2, crop_size * 3 // 2, 3)
        points = persons[0].crop.to_photo(people.joints[0].numpy())
        assert np.allclose(points, persons[0].joints, atol=1e-3)
        # The middle of the left thigh (hip 3, knee 4) has the colour that it was drawn with.
        place = (people.joints[0, [3, 4]].mean(0) + 1) / 2 * crop_size
        colour = nominal_crops(people)[0, int(place[1]), int(place[0])].float()
        assert (colour - torch.tensor([60.0, 195.0, 40.0])).abs().max() < 40


def test_unknown_head_sizes_are_nan_and_known_ones_normalised(pack: Path) -> None:
    persons = list(read_people(pack, ["dev"]))
    heads = load_people(persons, 64).head_sizes
    assert heads[1].isnan()
    assert heads[0].item() == pytest.approx(2 * 6 / persons[0].crop.side)


def test_what_mpii_does_not_label_is_absent(pack: Path) -> None:
    persons = [replace(person, labelled=np.arange(16) != 3) for person in read_people(pack, training_packs(pack))]
    for person, weights in zip(persons, load_people(persons, 64).weights, strict=True):
        assert weights.tolist() == [1.0] * 3 + [ABSENT if person.source == "mpii" else 0.0] + [1.0] * 12


def test_leading_crops_are_cut_further_right_and_down(pack: Path) -> None:
    people = load_people(list(read_people(pack, ["dev"])), 64)
    assert torch.equal(nominal_crops(people, 4)[:, :-4, :-4], nominal_crops(people)[:, 4:, 4:])


def test_trust_is_the_weight_of_what_is_labelled(pack: Path) -> None:
    persons = [replace(person, labelled=np.arange(16) != 3) for person in read_people(pack, ["train-mpii"])]
    weights = np.linspace(0.2, 1, 16, dtype=np.float32)[None].repeat(12, 0)
    labels = Labels.of(persons, weights)
    assert (labels.weights[:, 3] == ABSENT).all()
    assert torch.equal(labels.weights[:, 4:], torch.from_numpy(weights[:, 4:]))
    assert torch.equal(labels.joints, load_people(persons, 64).joints)


def test_a_picture_that_cannot_be_decoded_is_named(pack: Path) -> None:
    person = next(read_people(pack, ["dev"]))
    for picture in (b"nothing", person.picture[:200]):
        with pytest.raises(PackError, match="the picture of mpii_0 cannot be decoded"):
            replace(person, picture=picture).decode(64)


def test_nobody_and_odd_sizes_are_refused(pack: Path) -> None:
    with pytest.raises(ValueError, match="0 people"):
        load_people([], 64)
    with pytest.raises(ValueError, match="30 px"):
        load_people(list(read_people(pack, ["dev"])), 30)


def test_a_cut_at_the_nominal_box_is_the_nominal_crop(pack: Path) -> None:
    persons = list(read_people(pack, ["dev"]))
    nominal = nominal_crops(load_people(persons, 64))
    assert np.array_equal(persons[0].cut(64), nominal[0].numpy())


def test_a_cut_reaches_outside_the_picture(pack: Path) -> None:
    person = next(iter(read_people(pack, ["dev"])))
    corner = replace(person, box=Box(-40, -40, 80, 80)).cut(100)
    assert tuple(corner[0, 0]) == OUTSIDE_COLOUR
    assert np.allclose(corner[75, 75], person.decode(96)[25, 25], atol=2)


def test_folds_go_by_person(pack: Path) -> None:
    people = list(read_people(pack, ["dev"]))
    folds = person_folds([*people, *people[::2]], folds=3)
    assert folds[: len(people)][::2].tolist() == folds[len(people) :].tolist()
    assert set(folds.tolist()) == {0, 1, 2}
