"""The overlay: a photo with its people's skeletons drawn on it."""

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from models.spec.skeleton import JOINTS, LIMBS
from service.poses.estimator import Estimate, Person

LEFT: Final = (255, 0, 150)
"""Colour of the person's left side: magenta."""

RIGHT: Final = (0, 145, 255)
"""Colour of the person's right side: blue."""

MIDDLE: Final = (255, 255, 255)
"""Colour of spine and head."""

_FAINTEST: Final = 90  # of 255: a doubtful joint is still to be seen
_LEAST: Final = 0.1
"""Confidence below which a joint is not drawn: most of these are not in the photo."""


def overlay(photo: Image.Image, estimate: Estimate) -> Image.Image:
    """A copy of an RGB photo with people's limbs and joints: the less confident the fainter, and the least not."""
    drawn = photo.copy()
    canvas = ImageDraw.Draw(drawn, "RGBA")
    width = max(1, round(max(photo.size) / 150))
    for person in estimate.people:
        _draw_person(canvas, person, width)
    return drawn


def _draw_person(canvas: ImageDraw.ImageDraw, person: Person, width: int) -> None:
    points = [(float(x), float(y)) for x, y in person.joints]
    for a, b in LIMBS:
        if (confidence := min(person.confidence[a], person.confidence[b])) >= _LEAST:
            canvas.line([points[a], points[b]], fill=_colour((a, b), confidence), width=width)
    for joint, ((x, y), confidence) in enumerate(zip(points, person.confidence, strict=True)):
        if confidence >= _LEAST:
            canvas.ellipse((x - width, y - width, x + width, y + width), fill=_colour((joint,), confidence))


def _colour(joints: Sequence[int], confidence: float) -> tuple[int, int, int, int]:
    """The side's colour, as opaque as the joints are confident."""
    sides = {JOINTS[joint].partition("_")[0] for joint in joints}
    colour = LEFT if "left" in sides else RIGHT if "right" in sides else MIDDLE
    return (*colour, max(_FAINTEST, round(255 * min(1.0, float(confidence)))))
