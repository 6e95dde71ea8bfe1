"""Views of single people to train a finder on: the people packs' pictures, most of them over a photo of nobody.

The packs label one person's joints and say nothing of who else is in the picture. So the joints make the person's box,
and the rest of the picture is ignored: there a finder may say what it likes. What lies around the picture shows nobody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.pack import Example
from models.data.scene_views import SceneAugmentation, View
from models.data.scenes import DIFFICULT, Scene
from models.spec.skeleton import JOINTS

# How far a body reaches beyond each joint, in lengths from upper neck to head top: a foot, a hand, flesh, little hair.
_REACHES: Final = {
    "ankle": 0.54,
    "knee": 0.25,
    "hip": 0.36,
    "pelvis": 0.36,
    "thorax": 0.36,
    "upper_neck": 0.25,
    "head_top": 0.04,
    "wrist": 0.45,
    "elbow": 0.18,
    "shoulder": 0.25,
}
_REACH_BY_JOINT: Final = np.array([_REACHES[name.removeprefix("right_").removeprefix("left_")] for name in JOINTS])
_HEAD, _NECK = JOINTS.index("head_top"), JOINTS.index("upper_neck")
_SHORTEST_HEAD: Final = 0.08  # of the joints' longer extent: heads that are seen from above look shorter
_FEWEST_JOINTS: Final = 8  # below which the labels say too little of how far the body goes

# The packs' people fill their pictures: shown from half as large, small people, to close-ups beyond the view's edges.
_AUGMENTATION: Final = SceneAugmentation(least_scale=0.5, largest_scale=2.4, beside=0)
_LEAST_BACKDROP: Final = 0.5  # of the shorter side of a photo of nobody


@dataclass(frozen=True, slots=True)
class PersonViews:
    """Random views of people.

    Attributes:
        people: Whom to show, a scene each (`person_scenes`).
        frequencies: How often each is shown, relative to the others, float64 [people].
        nobody: Photos of nobody, which pictures are pasted over.
        plain: Fraction of the views without such a photo.
        augmentation: How far the views are varied.
    """

    people: Sequence[Scene]
    frequencies: NDArray[np.float64]
    nobody: Sequence[Scene]
    plain: float = 0.3
    augmentation: SceneAugmentation = _AUGMENTATION

    def choose(self, random: np.random.Generator) -> Scene:
        """A random person."""
        return self.people[int(random.choice(len(self.people), p=self.frequencies / self.frequencies.sum()))]

    def view(self, person: Scene, size: int, random: np.random.Generator) -> View:
        """A random view of a person, `size` x `size` pixels.

        Raises:
            PackError: A picture cannot be decoded.
        """
        backdrop = None if random.random() < self.plain else self._backdrop(size, random)
        return self.augmentation(person, size, random, backdrop)

    def _backdrop(self, size: int, random: np.random.Generator) -> NDArray[np.uint8]:
        """A random square of a photo of nobody as RGB [size, size, 3]."""
        photo = self.nobody[int(random.integers(len(self.nobody)))].decode()
        height, width = photo.shape[:2]
        side = max(1, int(min(height, width) * random.uniform(_LEAST_BACKDROP, 1)))
        x, y = int(random.integers(width - side + 1)), int(random.integers(height - side + 1))
        square = Image.fromarray(photo[y : y + side, x : x + side])
        return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def person_scenes(people: Iterable[Example]) -> list[Scene]:
    """Those of whom head, neck and enough else is labelled, each a scene of one person in which the rest is ignored."""
    return [
        _scene(person)
        for person in people
        if person.labelled[[_HEAD, _NECK]].all() and person.labelled.sum() >= _FEWEST_JOINTS
    ]


def body_box(joints: NDArray[np.floating], labelled: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Box [4] (x, y, width, height) around discs about the labelled joints, as large as a body reaches beyond each.

    Args:
        joints: [16, 2] in pixels.
        labelled: bool [16], head top and upper neck among them.
    """
    known = joints[labelled]
    head = max(float(np.linalg.norm(joints[_HEAD] - joints[_NECK])), _SHORTEST_HEAD * np.ptp(known, axis=0).max())
    reaches = (head * _REACH_BY_JOINT[labelled])[:, None]
    low, high = (known - reaches).min(0), (known + reaches).max(0)
    return np.concatenate([low, high - low])


def _scene(person: Example) -> Scene:
    x, y, width, height = body_box(person.joints, person.labelled)
    left, upper, right, lower = np.array([x, y, x + width, y + height]).clip(0, person.size)
    whole = (0, 0, person.size, person.size)
    return Scene(
        id=person.id,
        source=person.source,
        picture=person.picture,
        width=person.size,
        height=person.size,
        boxes=np.array([(left, upper, right - left, lower - upper), whole], np.float64),
        flags=("", DIFFICULT),
        joints=np.zeros((2, len(JOINTS), 3)),
    )
