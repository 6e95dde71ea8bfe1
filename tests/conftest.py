"""What all tests share: the same examples each time, however slow the machine, and photos."""

import io
from collections.abc import Callable

import pytest
from hypothesis import settings
from PIL import Image

from tests.support.paths import PHOTOS

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    return (PHOTOS / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        file = io.BytesIO()
        if kind == "HEIC":
            pytest.importorskip("pillow_heif").from_pillow(image).save(file, **options)
        else:
            image.save(file, kind, **options)
        return file.getvalue()

    return encode
