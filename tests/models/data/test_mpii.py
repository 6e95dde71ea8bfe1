import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from models.data.mpii import read_annotated_people, read_official, read_predictions, read_truths
from models.data.pack import PackError, read_people
from models.evaluation.__main__ import main
from models.spec.crop import Crop

SHARED = Path(__file__).parents[4] / "shared" / "data" / "mpii"


def test_annotated_people_are_cut_out_with_the_literatures_crop(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    joints = np.full((1, 16, 2), 100.0)
    joints[0, 3] = 0
    with h5py.File(tmp_path / "valid.h5", "w") as file:
        file["imgname"] = [b"a.png"]
        file["center"] = np.array([[140.0, 90.0]])
        file["scale"] = np.array([0.5])
        file["part"] = joints
        file["normalize"] = np.array([12.0])
    (person,) = read_annotated_people(tmp_path / "valid.h5", tmp_path)
    literature = Crop.from_mpii((140, 90), 0.5)
    assert person.crop.side == pytest.approx(literature.side, abs=1)
    assert person.labelled.sum() == 15
    assert person.head_size == 12
    corner = np.array([100, 100]) - person.joints[0]
    middle = np.array([person.crop.x, person.crop.y]) + person.crop.side / 2 + corner
    assert np.abs(middle - (literature.x + literature.side / 2, literature.y + literature.side / 2)).max() <= 1
    x, y = person.joints[0].astype(int)
    assert np.array_equal(person.decode(person.size)[y, x], pixels[100, 100])


def test_truths_and_predictions_are_read_from_mat_files(tmp_path: Path) -> None:
    truth = np.arange(16 * 2 * 3, dtype=float).reshape(16, 2, 3)
    missing = np.zeros((16, 3))
    missing[5, 1] = 1
    heads = np.zeros((2, 2, 3))
    heads[1] = np.array([[3.0], [4.0]])
    saved = {"pos_gt_src": truth, "pos_pred_src": truth + 1, "jnt_missing": missing, "headboxes_src": heads}
    savemat(tmp_path / "file.mat", saved)
    truths = read_truths(tmp_path / "file.mat")
    assert truths.joints[2, 15].tolist() == truth[15, :, 2].tolist()
    assert not truths.labelled[1, 5]
    assert truths.head_sizes == pytest.approx([3.0] * 3)
    assert np.array_equal(read_predictions(tmp_path / "file.mat"), truths.joints + 1)


def test_official_people_are_those_with_a_place_among_mpiis(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "dev.tar").write_bytes((pack / "dev.tar").read_bytes())
    with gzip.open(pack / "dev.jsonl.gz", "rt") as lines, gzip.open(tmp_path / "dev.jsonl.gz", "wt") as some:
        for number, line in enumerate(map(json.loads, lines)):
            place = {} if number == 1 else {"mpii_valid_index": None if number == 2 else 20 + number}
            some.write(json.dumps(line | place) + "\n")
    people, places = read_official(tmp_path, ["dev"])
    assert [person.id for person in people] == ["mpii_0", "mpii_3", "mpii_4"]
    assert places.tolist() == [20, 23, 24]
    assert people[1].picture == list(read_people(pack, ["dev"]))[3].picture
    with pytest.raises(PackError, match="nobody of the 5 people in dev has an mpii_valid_index"):
        read_official(pack, ["dev"])


@pytest.mark.skipif(not SHARED.exists(), reason="the published predictions are not here")
@pytest.mark.parametrize(("name", "total"), [("newell.h5", 88.43), ("detections_our_format.mat", 82.34)])
def test_published_predictions_have_their_published_accuracy(
    name: str, total: float, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(SHARED / name), "--truths", str(SHARED / "detections_our_format.mat"), "--json"])
    assert json.loads(capsys.readouterr().out)[name]["total"] == pytest.approx(total, abs=0.005)
