"""Skeletons: joints by name, the limbs between them, and left and right; MPII's is the one that this code trains.

Left and right are the person's own, and a joint's name says its side: `left_`, `right_` or neither.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

SEEN: Final = 0.1
"""Confidence below which a joint is neither drawn nor searched around: most of these are not in the picture."""

SIDE_COLOURS: Final = {"left": (255, 0, 150), "right": (0, 145, 255), "middle": (255, 255, 255)}
"""Colours (RGB) of the person's left, of the right, and of spine and head: magenta, blue and white."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The joints of a model, in the order of its outputs.

    Attributes:
        joints: Names; each `left_` one has a `right_` one and the other way round.
        limbs: Pairs of joints, by index, that a drawn skeleton connects.
    """

    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, joints: Sequence[str], limbs: Iterable[tuple[str, str]]) -> Self:
        """A skeleton from names.

        Raises:
            ValueError: A name occurs twice, is not a text, or lacks its mirror image; or a limb's end is no joint.
        """
        if not joints or not all(isinstance(name, str) for name in joints) or len(set(joints)) != len(joints):
            raise ValueError(f"a skeleton needs joints with names of their own, not {list(joints)}")
        mirror(joints)
        return cls(tuple(joints), tuple((joints.index(a), joints.index(b)) for a, b in limbs))

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def mirror(self) -> tuple[int, ...]:
        """For each joint the index of the one that it becomes when the picture is mirrored."""
        return mirror(self.joints)

    @property
    def named_limbs(self) -> list[tuple[str, str]]:
        """The limbs by their joints' names."""
        return [(self.joints[a], self.joints[b]) for a, b in self.limbs]

    def indices(self, *names: str) -> tuple[int, ...]:
        """Indices of the joints of these names, without those that the skeleton lacks."""
        return tuple(self.joints.index(name) for name in names if name in self.joints)

    def colour(self, *joints: int) -> tuple[int, int, int]:
        """The colour (RGB) of a joint, or of the limb between two: its side's, the middle's where neither has one."""
        sides = {self.joints[joint].partition("_")[0] for joint in joints}
        return next((colour for side, colour in SIDE_COLOURS.items() if side in sides), SIDE_COLOURS["middle"])


def mirror(names: Sequence[str]) -> tuple[int, ...]:
    """For each joint the index of the one that it becomes when the picture is mirrored: left and right change names.

    Raises:
        ValueError: A joint of one side is missing on the other.
    """
    exchanged = {"left": "right", "right": "left"}
    parts = (name.partition("_") for name in names)
    return tuple(names.index(exchanged.get(side, side) + joiner + rest) for side, joiner, rest in parts)


JOINTS: Final = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
"""Names of MPII's joints by index."""


MIRROR: Final = mirror(JOINTS)
"""`mirror` of this skeleton."""

LIMBS: Final = (
    (0, 1),
    (1, 2),
    (2, 6),
    (3, 6),
    (3, 4),
    (4, 5),
    (6, 7),
    (7, 8),
    (8, 9),
    (7, 12),
    (12, 11),
    (11, 10),
    (7, 13),
    (13, 14),
    (14, 15),
)
"""Pairs of joints that a drawn skeleton connects."""

MPII: Final = Skeleton(JOINTS, LIMBS)
"""MPII's skeleton."""

PCKH_COLUMNS: Final = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
"""Columns of the paper's Table 4 and the joints that each counts."""

PCKH_TOTAL: Final = (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)
"""Joints that PCKh's Total counts: all but pelvis and thorax."""

LIMB_JOINTS: Final = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)
"""The 12 joints of arms and legs, which every skeleton in use has."""

UPPER_BODY: Final = (8, 9, 10, 11, 12, 13, 14, 15)
"""Neck, head and arms."""

LOWER_BODY: Final = (0, 1, 2, 3, 4, 5, 6)
"""Legs, hips and pelvis."""

TORSO: Final = (13, 2)
"""Left shoulder and right hip: their distance is PCK's unit."""
