"""The paper's figures that this project stands beside: Table 4 of Nibali et al. 2018 (arXiv 1801.07372), as printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.spec.skeleton import PCKH_COLUMNS

CITATION: Final = (
    "Nibali et al. 2018, Numerical Coordinate Regression with Convolutional Neural Networks (arXiv 1801.07372)"
)

COLUMNS: Final = (*PCKH_COLUMNS, "Total")
"""The columns of PCKh in the paper's order, Head to Total."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of Table 4; None where the paper prints nothing.

    Attributes:
        name: The method, as the paper calls it.
        pckh: PCKh@0.5 on the MPII test set in percent, by `COLUMNS`.
        time_ms: Time of one image.
        time_deviation_ms: Standard deviation of that time.
        memory_mib: Memory at inference.
    """

    name: str
    pckh: Mapping[str, float]
    time_ms: float | None
    time_deviation_ms: float | None
    memory_mib: float | None


def _method(name: str, *figures: float) -> Method:
    pckh, (time, deviation, memory) = figures[: len(COLUMNS)], figures[len(COLUMNS) :] or (None, None, None)
    return Method(name, dict(zip(COLUMNS, pckh, strict=True)), time, deviation, memory)


TABLE_4: Final = (
    _method("Tompson et al.", 96.1, 91.9, 83.9, 77.8, 80.9, 72.3, 64.8, 82.0),
    _method("Rafi et al.", 97.2, 93.9, 86.4, 81.3, 86.8, 80.6, 73.4, 86.3, 27.6, 0.1, 2768),
    _method("Wei et al.", 97.8, 95.0, 88.7, 84.0, 88.4, 82.8, 79.4, 88.5, 106.8, 0.2, 5832),
    _method("Bulat et al.", 97.9, 95.1, 89.9, 85.3, 89.4, 85.7, 81.7, 89.7, 41.3, 0.2, 1432),
    _method("Newell et al.", 98.2, 96.3, 91.2, 87.1, 90.1, 87.4, 83.6, 90.9, 60.5, 0.1, 1229),
    _method("Yang et al.", 98.5, 96.7, 92.5, 88.7, 91.1, 88.6, 86.0, 92.0, 194.6, 76.8, 1476),
    _method("DSNTr ResNet-50@28px", 97.8, 96.0, 90.0, 84.3, 89.8, 85.2, 79.7, 89.5, 18.6, 0.5, 636),
)
"""Head to Total in percent, time and its deviation in ms, memory in MiB."""
