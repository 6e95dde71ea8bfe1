"""The 16 joints in MPII's order, and what is known about them without a picture."""

from collections.abc import Sequence
from typing import Final

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
"""Names by index; left and right are the person's own."""


def mirror(names: Sequence[str]) -> tuple[int, ...]:
    """For each joint the index of the one that it becomes when the picture is mirrored: left and right change names."""
    exchanged = {"left": "right", "right": "left"}
    parts = (name.partition("_") for name in names)
    return tuple(names.index(exchanged.get(side, side) + joiner + rest) for side, joiner, rest in parts)


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
"""The 12 joints of arms and legs, which every skeleton in use shares."""

UPPER_BODY: Final = (8, 9, 10, 11, 12, 13, 14, 15)
"""Neck, head and arms."""

LOWER_BODY: Final = (0, 1, 2, 3, 4, 5, 6)
"""Legs, hips and pelvis."""

TORSO: Final = (13, 2)
"""Left shoulder and right hip: their distance is PCK's unit."""
