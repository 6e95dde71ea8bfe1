"""The overlay: a photo with its people's skeletons drawn on it."""

from typing import Final

from PIL import Image, ImageDraw

from models.spec.skeleton import SEEN, Skeleton
from service.poses.people import Person, Poses

_FAINTEST: Final = 90  # of 255: a doubtful joint is still to be seen


def overlay(photo: Image.Image, poses: Poses) -> Image.Image:
    """A copy of an RGB photo with people's limbs and joints: the less confident the fainter; those not seen are not."""
    drawn = photo.copy()
    canvas = ImageDraw.Draw(drawn, "RGBA")
    width = max(1, round(max(photo.size) / 150))
    for person in poses.people:
        _draw_person(canvas, person, poses.skeleton, width)
    return drawn


def _draw_person(canvas: ImageDraw.ImageDraw, person: Person, skeleton: Skeleton, width: int) -> None:
    points = [(float(x), float(y)) for x, y in person.joints]
    for a, b in skeleton.limbs:
        if (confidence := min(person.confidence[a], person.confidence[b])) >= SEEN:
            colour = (*skeleton.colour(a, b), _opacity(confidence))
            canvas.line([points[a], points[b]], fill=colour, width=width)
    for joint, ((x, y), confidence) in enumerate(zip(points, person.confidence, strict=True)):
        if confidence >= SEEN:
            colour = (*skeleton.colour(joint), _opacity(confidence))
            canvas.ellipse((x - width, y - width, x + width, y + width), fill=colour)


def _opacity(confidence: float) -> int:
    """0 to 255, the more confident the more opaque."""
    return max(_FAINTEST, round(255 * min(1.0, float(confidence))))
