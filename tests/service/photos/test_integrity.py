import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.errors import Malformed
from service.photos.integrity import check_whole
from tests.service.photos.test_limits import chunk

Encode = Callable[..., bytes]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "WebP", "AVIF"])
def test_a_file_that_ends_within_a_part_is_truncated(kind: str, encode: Encode) -> None:
    whole = encode(noise(), kind)
    check_whole(kind, whole)
    check_whole(kind, whole + b"something else")
    for kept in (len(whole) // 2, len(whole) - 13, len(whole) - 1):
        with pytest.raises(
            Malformed, match=f"the {kind} photo is truncated: it has {kept:,} bytes, and a part of it ends at"
        ):
            check_whole(kind, whole[:kept])


def test_every_checksum_of_a_png_is_looked_at(encode: Encode) -> None:
    note = chunk(b"tEXt", b"Comment\0behind the pixels")
    png = encode(noise())
    png = png[:-12] + note + png[-12:]
    check_whole("PNG", png)
    for place in (20, 60, len(png) // 2, len(png) - 12 - 10, len(png) - 1):
        with pytest.raises(Malformed, match=r"the PNG photo is damaged: its chunk '\w{4}' at byte [\d,]+ has a wrong"):
            check_whole("PNG", png[:place] + bytes([png[place] ^ 16]) + png[place + 1 :])


def test_data_of_unknown_length_go_on_to_the_end(encode: Encode) -> None:
    avif = encode(noise(), "AVIF")
    start = avif.rindex(b"mdat") - 4
    check_whole("AVIF", avif[:start] + struct.pack(">I", 0) + avif[start + 4 :])
