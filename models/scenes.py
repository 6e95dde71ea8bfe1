"""People as small parts of larger photos, to see how well they are found without a box."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from models.crop import Box
from models.people import Person


def scenes(people: Sequence[Person], share: float, seed: int = 0) -> list[Person]:
    """Every person somewhere in a larger photo, over the enlarged corner of the next person's picture.

    Args:
        people: Whom to place.
        share: The tight box's side as a share of the photo's; a picture that shows its person smaller stays as it is.
        seed: Of the places.
    """
    random = np.random.default_rng(seed)
    return [_placed(person, people[index - 1], share, random.random(2)) for index, person in enumerate(people)]


def _placed(person: Person, neighbour: Person, share: float, place: np.ndarray) -> Person:
    size = max(person.size, round(max(person.box.width, person.box.height) / share))
    with Image.open(io.BytesIO(neighbour.picture)) as image:
        # The outermost sixth lies outside the neighbour's crop: hardly ever anybody's whole body.
        edge = neighbour.size // 6
        photo = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, (0, 0, edge, edge))
    x, y = (int(part * (size - person.size)) for part in place)
    with Image.open(io.BytesIO(person.picture)) as image:
        photo.paste(image.convert("RGB"), (x, y))
    encoded = io.BytesIO()
    photo.save(encoded, "PNG", compress_level=1)
    box = Box(person.box.x + x, person.box.y + y, person.box.width, person.box.height)
    joints = person.joints + np.array([x, y])
    return replace(person, picture=encoded.getvalue(), size=size, box=box, joints=joints)
