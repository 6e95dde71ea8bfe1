"""Which of the media types on offer a client's `Accept` header prefers (RFC 9110, section 12.5.1)."""

import math
from collections.abc import Mapping, Sequence


def negotiate(accept: str, offered: Sequence[str]) -> str | None:
    """The offered media type of the highest quality; None when the client accepts none of them.

    Among equals the client's order decides, then ours.

    Args:
        accept: The header's value; empty accepts anything.
        offered: Media types without parameters, the default first.
    """
    qualities = _qualities(accept or "*/*")
    order = list(qualities)

    def rank(media_type: str) -> tuple[float, int]:
        matching = next((name for name in _ranges(media_type) if name in qualities), None)
        return (0.0, 0) if matching is None else (qualities[matching], -order.index(matching))

    best = max(offered, key=rank)
    return best if rank(best)[0] > 0 else None


def _ranges(media_type: str) -> tuple[str, str, str]:
    """The ranges that hold a media type, the most specific first."""
    return media_type, f"{media_type.partition('/')[0]}/*", "*/*"


def _qualities(accept: str) -> Mapping[str, float]:
    """The quality of each media range, from 0 to 1; one that cannot be read is 1, as one that is left out."""
    qualities = {}
    for entry in accept.lower().split(","):
        name, *parameters = (word.strip() for word in entry.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        qualities[name] = _quality(weight)
    return qualities


def _quality(weight: str) -> float:
    try:
        quality = float(weight)
    except ValueError:
        return 1.0
    return 1.0 if math.isnan(quality) else min(max(quality, 0.0), 1.0)
