"""Other views of a pack's people: small in larger photos, and in close-ups."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from models.data.pack import SAME_COLOUR, Example, encode
from models.spec.crop import OUTSIDE_COLOUR, Box
from models.spec.skeleton import JOINTS

# Of a picture's side: what lies further out than the nominal crop is hardly ever anybody's whole body.
_CORNER_FRACTION = 1 / 6

# Of a photo's pixels: how many have the colour of what lies outside by chance.
_BY_CHANCE = 0.02

# The packs' pictures are small: enlarged and sharpened this far, close-ups have edges as sharp as a camera's.
_ENLARGED = 3
_SHARPENED = ImageFilter.UnsharpMask(radius=4, percent=200, threshold=0)

_HEADROOM = 0.35  # of the torso, above the head
_MOST_TILTED = 0.5  # of the torso's height: how far the neck may be beside the pelvis


def placed_in_scenes(people: Sequence[Example], fraction: float, seed: int = 0) -> list[Example]:
    """Every person somewhere in a larger photo, over the enlarged corner of another person's picture.

    Args:
        people: Whom to place.
        fraction: The tight box's side, of the photo's; a picture that shows its person smaller stays as it is.
        seed: Of the places.

    Raises:
        ValueError: None of the pictures has a corner inside its photo.
    """
    corners = [_corner(person) for person in people]
    if not any(corners):
        raise ValueError("nobody's picture has a corner inside its photo, to place people over")
    random = np.random.default_rng(seed)
    return [_placed(person, _before(corners, index), fraction, random.random(2)) for index, person in enumerate(people)]


def _corner(person: Example) -> Image.Image | None:
    """The first corner of a picture that lies inside the photo altogether."""
    size = round(person.size * _CORNER_FRACTION)
    with Image.open(io.BytesIO(person.picture)) as image:
        picture = image.convert("RGB")
    for x in (0, person.size - size):
        for y in (0, person.size - size):
            corner = picture.crop((x, y, x + size, y + size))
            outside = (np.abs(np.asarray(corner, int) - OUTSIDE_COLOUR) < SAME_COLOUR).all(-1)
            if outside.mean() < _BY_CHANCE:
                return corner
    return None


def _before(corners: Sequence[Image.Image | None], index: int) -> Image.Image:
    """The nearest corner before an index, which may be its own where there is no other."""
    return next(corner for step in range(1, len(corners) + 1) if (corner := corners[index - step]) is not None)


def _placed(person: Example, background: Image.Image, fraction: float, place: np.ndarray) -> Example:
    size = max(person.size, round(max(person.box.width, person.box.height) / fraction))
    photo = background.resize((size, size), Image.Resampling.BICUBIC)
    x, y = (int(part * (size - person.size)) for part in place)
    with Image.open(io.BytesIO(person.picture)) as image:
        photo.paste(image.convert("RGB"), (x, y))
    box = Box(person.box.x + x, person.box.y + y, person.box.width, person.box.height)
    joints = person.joints + np.array([x, y])
    return replace(person, picture=encode(photo), size=size, box=box, joints=joints)


def close_ups(people: Sequence[Example], torsos: float) -> list[Example]:
    """Square photos, sharp as a camera's, of those who are upright; joints beside the photo are not labelled.

    Args:
        people: Of whom.
        torsos: How far below the upper neck the photo ends, in lengths from there to the pelvis: 0.6 is above the
            navel, 1 at the hips.
    """
    views = (_close_up(person, torsos) for person in people)
    return [view for view in views if view is not None]


def _close_up(person: Example, torsos: float) -> Example | None:
    head, neck, pelvis = (JOINTS.index(name) for name in ("head_top", "upper_neck", "pelvis"))
    across, torso = person.joints[pelvis] - person.joints[neck]
    if not person.labelled[[head, neck, pelvis]].all() or abs(across) > _MOST_TILTED * torso:
        return None
    bottom = min(person.size, round(person.joints[neck, 1] + torsos * torso))
    top = max(0, round(person.joints[head, 1] - _HEADROOM * torso))
    side = bottom - top
    if side <= torso * torsos:  # the head is not above the neck
        return None
    left = int(np.clip(person.joints[neck, 0] - side / 2, 0, person.size - side))
    with Image.open(io.BytesIO(person.picture)) as image:
        photo = image.convert("RGB").crop((left, top, left + side, bottom))
    size = side * _ENLARGED
    photo = photo.resize((size, size), Image.Resampling.LANCZOS).filter(_SHARPENED)
    joints = (person.joints - (left, top)) * _ENLARGED
    corner = (person.box.x - left, person.box.y - top)
    box = Box(*(_ENLARGED * part for part in (*corner, person.box.width, person.box.height)))
    return replace(
        person,
        picture=encode(photo),
        size=size,
        box=box,
        joints=joints,
        labelled=person.labelled & ((joints >= 0) & (joints < size)).all(-1),
        head_size=None if person.head_size is None else person.head_size * _ENLARGED,
    )
