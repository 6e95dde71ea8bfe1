import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.halves import read_halves
from models.data.pack import PackError, read_people


def test_half_bodies_are_of_the_whole_people_and_their_photos_as_they_are(pack: Path) -> None:
    whole = {person.id: person for person in read_people(pack, ["dev"])}
    halves = list(read_halves(pack, ["halves-dev"]))
    assert [half.cut for half in halves] == ["hips", "left"] * 2
    for half in halves:
        person, other = half.person, whole[half.person.id]
        photo = np.asarray(Image.open(io.BytesIO(person.picture)))
        height, width, _ = photo.shape
        assert person.size == max(width, height)
        assert (width < height) == (half.cut == "left")
        assert np.array_equal(photo, other.decode(other.size)[:height, :width])
        assert np.array_equal(person.labelled, (other.joints < (width, height)).all(-1))
        assert 0 < person.labelled.sum() < 16
        assert np.allclose(person.joints[person.labelled], other.joints[person.labelled])


def test_crops_of_half_bodies_are_of_their_own_photo(pack: Path) -> None:
    """The crop is around the visible box, and beyond the photo's end it has the outside colour."""
    half = next(iter(read_halves(pack, ["halves-dev"])))
    rows = half.person.crop.from_photo(np.array([[0.0, half.person.joints[half.person.labelled][:, 1].max() + 1]]))
    crop = half.person.cut(64)
    beyond = int((rows[0, 1] + 1) * 32) + 3
    assert beyond < 64
    assert np.ptp(crop[beyond:].reshape(-1, 3), axis=0).max() == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"cut": None}, "'cut' is missing"), ({"box": [0, 0, 0, 5]}, "are of no person")],
)
def test_a_line_that_cannot_be_is_refused(
    change: dict[str, object], complaint: str, pack: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.tar").write_bytes((pack / "halves-dev.tar").read_bytes())
    with gzip.open(pack / "halves-dev.jsonl.gz", "rt") as lines:
        line = json.loads(next(lines)) | change
    with gzip.open(tmp_path / "broken.jsonl.gz", "wt") as lines:
        lines.write(json.dumps({name: value for name, value in line.items() if value is not None}))
    with pytest.raises(PackError, match=complaint):
        list(read_halves(tmp_path, ["broken"]))
