"""Lines of the printed tables."""

from typing import Any


def line(name: str, *cells: str | float | None) -> str:
    """A name and right-aligned cells; numbers with a decimal unless they are whole by nature, a dash for None."""
    return f"{name:<24}" + "".join(f"{_text(cell):>12}" for cell in cells)


def remarks(found: dict[str, Any]) -> str:
    """What is to be known of a pass: its errors, and whether the machine kept its pace."""
    return "  ".join(["", *errors(found), *([] if found["steady"] else ["NOT STEADY"])])


def errors(found: dict[str, Any]) -> list[str]:
    """How often a pass was answered with each status but 200."""
    return [f"{count} x status {status}" for status, count in found["errors"].items()]


def _text(cell: str | float | None) -> str:
    if cell is None:
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
