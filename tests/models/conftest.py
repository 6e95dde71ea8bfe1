"""Small packs of drawn figures and scenes, so that reading, training and evaluating run without the real ones."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.spec.skeleton import JOINTS, LIMBS

SIZE = 96

# A standing figure in normalised coordinates of the nominal crop.
STANDING = np.array(
    [
        (-0.15, 0.75),
        (-0.15, 0.4),
        (-0.15, 0.05),
        (0.15, 0.05),
        (0.15, 0.4),
        (0.15, 0.75),
        (0.0, 0.05),
        (0.0, -0.35),
        (0.0, -0.45),
        (0.0, -0.7),
        (-0.5, 0.0),
        (-0.4, -0.2),
        (-0.25, -0.35),
        (0.25, -0.35),
        (0.4, -0.2),
        (0.5, 0.0),
    ]
)


def draw_person(random: np.random.Generator) -> tuple[bytes, np.ndarray]:
    """A picture and its joints [16, 2] in picture pixels."""
    joints = (STANDING * random.uniform(0.7, 1.1) + random.uniform(-0.1, 0.1, 2)) * SIZE / 3 + SIZE / 2
    image = Image.new("RGB", (SIZE, SIZE), tuple(random.integers(90, 160, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for a, b in LIMBS:
        draw.line([*joints[a], *joints[b]], fill=(20 * a % 256, 255 - 15 * b, 40), width=4)
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True)
    return file.getvalue(), joints


def write_pack(folder: Path, name: str, source: str, people: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    side = SIZE / 1.875
    with tarfile.open(folder / f"{name}.tar", "w") as tar, gzip.open(folder / f"{name}.jsonl.gz", "wt") as lines:
        for index in range(people):
            picture, joints = draw_person(random)
            member = tarfile.TarInfo(f"{source}_{index}.webp")
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
            line = {
                "id": f"{source}_{index}",
                "source": source,
                "file": member.name,
                "size": SIZE,
                "box": [(SIZE - side) / 2, (SIZE - side) / 2, side, side],
                "joints": [
                    [*joint, 0 if source == "lspet" and j == 6 else 2] for j, joint in enumerate(joints.tolist())
                ],
                "head_size": None if index == 1 else 6.0,
            }
            lines.write(json.dumps(line) + "\n")


def write_halves(folder: Path, name: str, people: int, seed: int) -> None:
    """Photos that end at the hips or left of the neck of the people that `write_pack` draws of the same seed."""
    random = np.random.default_rng(seed)
    with tarfile.open(folder / f"{name}.tar", "w") as tar, gzip.open(folder / f"{name}.jsonl.gz", "wt") as lines:
        for index in range(people):
            encoded, joints = draw_person(random)
            cut = ("hips", "left")[index % 2]
            end = round(joints[6, 1]) if cut == "hips" else round(joints[8, 0])
            width, height = (SIZE, end) if cut == "hips" else (end, SIZE)
            file = io.BytesIO()
            with Image.open(io.BytesIO(encoded)) as picture:
                picture.crop((0, 0, width, height)).save(file, "WEBP", lossless=True)
            member = tarfile.TarInfo(f"mpii_{index}_{cut}.webp")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
            shown = (joints < (width, height)).all(-1)
            low, high = joints[shown].min(0), joints[shown].max(0)
            line = {
                "id": f"mpii_{index}_{cut}",
                "source": "mpii",
                "file": member.name,
                "width": width,
                "height": height,
                "cut": cut,
                "box": [*low.tolist(), *(high - low).tolist()],
                "joints": [[*joint, 2] if here else [0, 0, 0] for joint, here in zip(joints, shown, strict=True)],
                "head_size": 6.0,
            }
            lines.write(json.dumps(line) + "\n")


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with training packs (mpii 12 people, lspet 6), `dev` (mpii 5), `halves-dev` (4 of these), opinions."""
    folder = tmp_path_factory.mktemp("pack")
    write_pack(folder, "train-mpii", "mpii", 12, seed=1)
    write_pack(folder, "train-lspet-0", "lspet", 6, seed=2)
    write_pack(folder, "dev", "mpii", 5, seed=3)
    write_halves(folder, "halves-dev", 4, seed=3)
    with (
        gzip.open(folder / "train-lspet-0.jsonl.gz", "rt") as labels,
        gzip.open(folder / "opinions.jsonl.gz", "wt") as opinions,
    ):
        for line in map(json.loads, labels):
            seen = [[x, y, 0.9] for x, y, _ in line["joints"]]
            opinions.write(json.dumps({"id": line["id"], "movenet": seen, "efficientpose": seen}) + "\n")
    assert len(STANDING) == len(JOINTS)
    return folder


def write_scenes(folder: Path, name: str, photos: int, seed: int) -> None:
    """Photos of noise with none, one or two bright upright people; every third shows nobody."""
    random = np.random.default_rng(seed)
    with tarfile.open(folder / f"{name}.tar", "w") as tar, gzip.open(folder / f"{name}.jsonl.gz", "wt") as lines:
        for index in range(photos):
            width, height = (96, 64) if index % 2 else (64, 96)
            pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
            boxes = [[8.0 + 28 * place, 12.0, 16.0, 40.0, "" if place else "t"] for place in range(index % 3)]
            for x, y, w, h, _ in boxes:
                pixels[int(y) : int(y + h), int(x) : int(x + w)] = (220, 160, 60)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "WEBP", lossless=True)
            member = tarfile.TarInfo(f"{name}_{index}.webp")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
            line = {"id": f"{name}_{index}", "source": "drawn", "file": member.name, "width": width, "height": height}
            lines.write(json.dumps({**line, "boxes": boxes}) + "\n")


@pytest.fixture(scope="session")
def scenes_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two training packs of scenes (9 and 6 photos) and `scenes-dev` (6)."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, "scenes-train-0", 9, seed=1)
    write_scenes(folder, "scenes-train-1", 6, seed=2)
    write_scenes(folder, "scenes-dev", 6, seed=3)
    return folder


@pytest.fixture(scope="session")
def finder_pack(pack: Path, scenes_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the packs of `scenes_pack` and of `pack`."""
    folder = tmp_path_factory.mktemp("finder")
    for packs in (scenes_pack, pack):
        shutil.copytree(packs, folder, dirs_exist_ok=True)
    return folder
