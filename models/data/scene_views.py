"""Random views of scenes to train a finder on: scaled, stretched, moved, mirrored, coloured, cut beside people."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.scenes import Scene
from models.spec.crop import OUTSIDE_COLOUR

_LEAST_SHOWN: Final = 0.25  # of a person's box, below which it is no longer clear whether a person is to be seen
_LEAST_PX: Final = 8.0
_TRIES: Final = 10
_GREY_WEIGHTS: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class View:
    """A square view of a scene.

    Attributes:
        picture: uint8 [size, size, 3], RGB, the backdrop or `OUTSIDE_COLOUR` beside the photo.
        people: float32 [n, 4], boxes (x, y, width, height) of what the view shows of people, in its pixels.
        ignored: float32 [m, 4], boxes where a finder may say what it likes.
    """

    picture: NDArray[np.uint8]
    people: NDArray[np.float32]
    ignored: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a photo a view shows, and where.

    Attributes:
        part: x, y, width and height in the photo.
        place: x, y, width and height of all of that part in the view, beyond whose edges it may lie.
        mirrored: Whether left and right change places in the view.
    """

    part: tuple[float, float, float, float]
    place: tuple[float, float, float, float]
    mirrored: bool

    def to_view(self, boxes: NDArray[np.floating], size: int) -> NDArray[np.float64]:
        """Boxes [n, 4] (x, y, width, height) in the photo to the view of `size` pixels, beyond its edges too."""
        scale = np.array(self.place[2:]) / self.part[2:]
        corners = (boxes[:, :2] - self.part[:2]) * scale + self.place[:2]
        sides = boxes[:, 2:] * scale
        if self.mirrored:
            corners = np.stack([size - corners[:, 0] - sides[:, 0], corners[:, 1]], 1)
        return np.concatenate([corners, sides], 1)


@dataclass(frozen=True, slots=True)
class SceneAugmentation:
    """How far views of scenes are varied.

    Attributes:
        least_scale: The photo's longer side in view sides, at least.
        largest_scale: At most; uniform in the logarithm between the two.
        stretch: Standard deviation of the logarithm of width over height.
        squashed_stretch: Largest such logarithm, either way, where a photo's own proportions are not known.
        colour: Brightness, contrast and colour are each multiplied by 1 +- up to this.
        grey: Fraction of the views that lose their colour.
        beside: Fraction of the photos with people of which only a part beside everybody is shown, where there is one.
    """

    least_scale: float = 0.7
    largest_scale: float = 1.4
    stretch: float = 0.08
    squashed_stretch: float = 0.45
    colour: float = 0.4
    grey: float = 0.05
    beside: float = 0.1

    def __call__(
        self, scene: Scene, size: int, random: np.random.Generator, backdrop: NDArray[np.uint8] | None = None
    ) -> View:
        """A random view of `size` x `size` pixels.

        Args:
            scene: What to show.
            size: Side of the view.
            random: What the view depends on.
            backdrop: RGB [size, size, 3] without people, which the photo is pasted over; None for `OUTSIDE_COLOUR`.

        Raises:
            PackError: The picture cannot be decoded.
        """
        window = self._window(scene, size, random)
        corner, shown = _shown(scene.decode(), window, size)
        picture = Image.new("RGB", (size, size), OUTSIDE_COLOUR) if backdrop is None else Image.fromarray(backdrop)
        picture.paste(Image.fromarray(self._coloured(shown, random)), corner)
        pixels = np.asarray(picture)
        people, ignored = _boxes(scene, window, size)
        return View(np.ascontiguousarray(pixels[:, ::-1]) if window.mirrored else pixels, people, ignored)

    def _window(self, scene: Scene, size: int, random: np.random.Generator) -> Window:
        part = (0.0, 0.0, float(scene.width), float(scene.height))
        if len(scene.boxes) and random.random() < self.beside:
            part = _part_beside(scene, random) or part
        octaves = random.uniform(math.log(self.least_scale), math.log(self.largest_scale))
        if scene.squashed:
            stretch = random.uniform(-self.squashed_stretch, self.squashed_stretch)
        else:
            stretch = random.normal(0, self.stretch)
        sides = np.array(part[2:]) * np.exp([stretch / 2, -stretch / 2])
        sides *= math.exp(octaves) * size / sides.max()
        x, y = (size - sides) * random.random(2)
        return Window(part, (x, y, *sides), bool(random.random() < 0.5))

    def _coloured(self, pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Pixels [h, w, 3] with another brightness, contrast and colour."""
        brightness, contrast, colour = 1 + self.colour * random.uniform(-1, 1, 3)
        if random.random() < self.grey:
            colour = 0
        grey = (pixels @ _GREY_WEIGHTS)[..., None]
        middle = grey.mean()
        changed = brightness * (middle + contrast * (grey + colour * (pixels - grey) - middle))
        return np.asarray(np.clip(changed, 0, 255).astype(np.uint8))


def _part_beside(scene: Scene, random: np.random.Generator) -> tuple[float, float, float, float] | None:
    """A part of a photo, 0.35 to 0.8 of its sides, that shows nobody; None where chance meets none."""
    sides = np.array([scene.width, scene.height])
    for _ in range(_TRIES):
        part = sides * random.uniform(0.35, 0.8, 2)
        corner = (sides - part) * random.random(2)
        apart = (scene.boxes[:, :2] >= corner + part) | (scene.boxes[:, :2] + scene.boxes[:, 2:] <= corner)
        if apart.any(1).all():
            return (*corner.tolist(), *part.tolist())
    return None


def _shown(photo: NDArray[np.uint8], window: Window, size: int) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    """What a view shows of a photo before it is mirrored, and the corner where that lies."""
    x, y, width, height = window.part
    corner, sides = np.array(window.place[:2]), np.array(window.place[2:])
    first = np.round(corner.clip(0)).astype(int)
    end = np.maximum(np.round((corner + sides).clip(max=size)).astype(int), first + 1)
    ends = [(edge - corner) / sides * (width, height) + (x, y) for edge in (first, end)]
    box = np.concatenate([each.clip((x, y), (x + width, y + height)) for each in ends])
    resized = Image.fromarray(photo).resize(_pair(end - first), Image.Resampling.BILINEAR, tuple(box.tolist()))
    return _pair(first), np.asarray(resized)


def _pair(values: NDArray[np.int_]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _boxes(scene: Scene, window: Window, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """People and ignored boxes of a view."""
    whole = window.to_view(scene.boxes, size)
    corners = whole.copy()
    corners[:, 2:] += corners[:, :2]
    corners = corners.clip(0, size)
    shown = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    visible = shown[:, 2:].min(1) > 0
    clear = (shown[:, 2:].prod(1) >= _LEAST_SHOWN * whole[:, 2:].prod(1)) & (shown[:, 2:].max(1) >= _LEAST_PX)
    people = scene.counted & visible & clear
    return shown[people].astype(np.float32), shown[visible & ~people].astype(np.float32)
