"""The overlay: a photo with its people's skeletons drawn on it."""

import colorsys
from typing import Final

from PIL import Image, ImageDraw

from models.spec.skeleton import SEEN, Skeleton
from service.poses.people import Person, Poses

_GOLDEN_SECTION: Final = 0.618
_FAINTEST: Final = 90  # of 255: a doubtful joint is still to be seen


def overlay(photo: Image.Image, poses: Poses) -> Image.Image:
    """A copy of an RGB photo with people's limbs and joints: the less confident the fainter; those not seen are not.

    One person's sides have a colour each; of several people each has a colour.
    """
    drawn = photo.copy()
    canvas = ImageDraw.Draw(drawn, "RGBA")
    width = max(1, round(max(photo.size) / 150))
    several = len(poses.people) > 1
    for index, person in reversed(list(enumerate(poses.people))):  # the first last: the largest is not drawn over
        _draw_person(canvas, person, poses.skeleton, width, _colour(index) if several else None)
    return drawn


def _colour(index: int) -> tuple[int, int, int]:
    """A colour (RGB) of a person's own: hues a golden section of the circle apart are never close."""
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_SECTION % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _draw_person(
    canvas: ImageDraw.ImageDraw, person: Person, skeleton: Skeleton, width: int, own: tuple[int, int, int] | None
) -> None:
    points = [(float(x), float(y)) for x, y in person.joints]
    for a, b in skeleton.limbs:
        if (confidence := min(person.confidence[a], person.confidence[b])) >= SEEN:
            colour = (*(own or skeleton.colour(a, b)), _opacity(confidence))
            canvas.line([points[a], points[b]], fill=colour, width=width)
    for joint, ((x, y), confidence) in enumerate(zip(points, person.confidence, strict=True)):
        if confidence >= SEEN:
            colour = (*(own or skeleton.colour(joint)), _opacity(confidence))
            canvas.ellipse((x - width, y - width, x + width, y + width), fill=colour)


def _opacity(confidence: float) -> int:
    """0 to 255, the more confident the more opaque."""
    return max(_FAINTEST, round(255 * min(1.0, float(confidence))))
