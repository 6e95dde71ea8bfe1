from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from models.spec.contract import JOINT_OUTPUTS, SHIPPED_MODEL, ModelSpec
from models.spec.crop import Box, Crop, CropRule, cut
from service.inference.onnx_engine import OnnxEngine
from service.photos.crops import KeptPhotos, PhotoSource
from service.photos.decoding import Photo, PhotoFile, decode
from service.settings import Settings
from tests.benchmarks.photos import large_photo, whole
from tests.models.spec.test_crop import blob, centroid

LIMIT = 50_000_000
RED = (255, 0, 0)
RULE = CropRule()

Encode = Callable[..., bytes]


def source(data: bytes, room_bytes: float = 1e9, rule: CropRule = RULE) -> PhotoSource:
    return PhotoSource(data, rule, LIMIT, KeptPhotos(room_bytes))


def test_the_whole_photo_is_cut_with_what_lies_outside(encode: Encode) -> None:
    photo = source(encode(Image.new("RGB", (40, 20), RED)))
    assert (photo.width, photo.height) == (40, 20)
    pixels, _ = photo.cut([Crop.whole(40, 20)])
    assert pixels.shape == (1, 224, 224, 3)
    assert (pixels[0, 60:164, 4:220] == RED).all()


def test_crops_are_as_the_model_wants_them(encode: Encode) -> None:
    photo = source(encode(Image.new("RGB", (40, 20), RED)), rule=CropRule(64, 1.5, (1, 2, 3)))
    pixels, _ = photo.cut([Crop(5, 5, 8), Crop(100, 100, 10)])
    assert pixels.shape == (2, 64, 64, 3)
    assert (pixels[0] == RED).all()
    assert (pixels[1] == (1, 2, 3)).all()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(1600, 1200), (1601, 1203)])
def test_a_reduced_jpeg_gives_the_crop_of_the_full_one(orientation: int, size: tuple[int, int], encode: Encode) -> None:
    """A blob is found where it is, whether libjpeg has shrunk the photo or not, and whichever way it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = blob(size, (size[0] * 0.6, size[1] * 0.3), 40)
    jpeg = encode(stored, "JPEG", quality=95, exif=exif)
    full, reduced = source(encode(decode(jpeg, LIMIT), "PNG")), source(jpeg)
    assert (reduced.width, reduced.height) == (full.width, full.height)
    crop = Crop.whole(full.width, full.height)
    moved = centroid(reduced.cut([crop])[0][0], crop) - centroid(full.cut([crop])[0][0], crop)
    assert np.abs(moved).max() < 0.1 * crop.side / 224


def test_a_second_cut_of_a_large_jpeg_is_as_sharp_as_a_first(encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    jpeg = encode(Image.fromarray(noise).resize((1600, 1200)), "JPEG")
    photo = source(jpeg)
    photo.cut([Crop.whole(1600, 1200)], is_last=False)
    assert photo.is_decoded
    for box in (Box(100, 100, 900, 900), Box(100, 100, 300, 300)):
        crop = Crop.around(box)
        again, expected = photo.cut([crop], is_last=False)[0], source(jpeg).cut([crop])[0]
        assert np.abs(again.astype(int) - expected).mean() < 3
        assert photo.is_decoded


def test_photos_are_kept_as_long_as_there_is_room_and_decoded_again_otherwise(encode: Encode) -> None:
    png = encode(Image.new("RGB", (1100, 1000), RED))
    room = KeptPhotos(10_000_000)
    first, second, third = (PhotoSource(png, RULE, LIMIT, room) for _ in range(3))
    for photo in (first, second, third):
        photo.cut([Crop.whole(1100, 1000)], is_last=False)
    assert [photo.is_decoded for photo in (first, second, third)] == [True, True, False]
    assert (third.cut([Crop(50, 50, 500)], is_last=False)[0] == RED).all()
    assert not third.is_decoded
    del first, photo
    third.cut([Crop(50, 50, 500)], is_last=False)
    assert third.is_decoded


def test_a_photo_is_kept_in_just_the_room_it_needs(encode: Encode) -> None:
    photo = source(encode(Image.new("RGB", (40, 20), RED)), room_bytes=4 * 40 * 20)
    photo.cut([Crop.whole(40, 20)], is_last=False)
    assert photo.is_decoded


def test_a_photo_is_decoded_as_finely_as_its_smallest_crop_needs_and_again_only_where_that_shows(
    encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[float] = []

    def recorded(file: PhotoFile, step: float, outside: tuple[int, int, int]) -> Photo:
        steps.append(step)
        return original(file, step, outside)

    original = PhotoFile.decode
    monkeypatch.setattr(PhotoFile, "decode", recorded)
    photo = source(encode(Image.new("RGB", (1600, 1200), RED), "JPEG"))
    photo.cut([Crop.whole(1600, 1200)], is_last=False)
    photo.cut([Crop(0, 0, 800)], is_last=False)
    assert steps == [1600 / 224 / 2]
    photo.cut([Crop(0, 0, 800), Crop(0, 0, 240)])
    assert steps[1:] == [240 / 224]
    other = source(encode(Image.new("RGB", (1600, 1200), RED), "JPEG"))
    other.cut([Crop.whole(1600, 1200)], is_last=False, rule=CropRule(400, 1))
    assert steps[2:] == [1600 / 400]


def test_a_photo_that_is_cut_once_is_not_kept(encode: Encode) -> None:
    photo = source(encode(Image.new("RGB", (40, 20), RED)))
    photo.cut([Crop.whole(40, 20)])
    assert not photo.is_decoded


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model file is not here")
def test_joints_of_a_12_megapixel_photo_do_not_depend_on_its_reduction() -> None:
    photo = whole(large_photo())
    reduced, crop = source(photo.data), Crop.whole(4000, 3000)
    assert (reduced.width, reduced.height) == (4000, 3000)
    full = cut(decode(photo.data, LIMIT), crop, 224)
    engine = OnnxEngine(Settings(precision="fp32"), ModelSpec)  # int8 itself moves what lies in either of two places
    found, expected = (engine.run(crops, JOINT_OUTPUTS) for crops in (reduced.cut([crop])[0], full[None]))
    assert np.linalg.norm(found["coordinates"] - expected["coordinates"], axis=-1).max() * 112 < 1
