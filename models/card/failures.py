"""The model card's pictures of what the network gets wrong: `python -m models.card.failures MODEL.onnx ...`.

Each panel shows a photo that anybody may use, changed in one way that is hard for the network, and what it finds:
magenta is the person's left, blue the right; the less confident, the fainter.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from models.data.pack import Example, encode
from models.evaluation.predictors import predictor
from models.spec.crop import OUTSIDE_COLOUR, Box
from models.spec.skeleton import MPII, SEEN

_FAINTEST: Final = 0.25
_PANEL_PX: Final = 300


def panels(photo: Image.Image, box: Box) -> dict[str, Example]:
    """A photo of one person in the ways that are easy and hard, by the panel's title.

    Args:
        photo: Square, RGB.
        box: Around the whole person.
    """
    size = photo.width
    upside_down = Box(size - box.x - box.width, size - box.y - box.height, box.width, box.height)
    middle = (round(box.x + box.width / 4), round(box.y + box.height / 4))
    hidden = photo.copy()
    hidden.paste(OUTSIDE_COLOUR, (*middle, middle[0] + round(box.width / 2), middle[1] + round(box.height / 2)))
    crowd = photo.copy()
    neighbour = photo.crop((round(box.x), 0, round(box.x + box.width), size))
    crowd.paste(neighbour, (round(box.x + 0.55 * box.width), 0))
    return {
        "as it is": _person(photo, box),
        "upside down": _person(photo.transpose(Image.Transpose.ROTATE_180), upside_down),
        "half hidden": _person(hidden, box),
        "another one in the crop": _person(crowd, box),
        "box around the upper half": _person(photo, Box(box.x, box.y, box.width, box.height / 2)),
    }


def _person(picture: Image.Image, box: Box) -> Example:
    nothing = np.zeros((len(MPII), 2)), np.zeros(len(MPII), bool)
    return Example("photo", "free", encode(picture), picture.width, box, *nothing, head_size=None)


def draw(axes: Axes, person: Example, joints: NDArray[np.floating], confidence: NDArray[np.floating]) -> None:
    """Draw a person's picture, box and skeleton: joints [16, 2] in picture pixels, confidence [16]."""
    axes.imshow(person.decode(person.size), extent=(0, person.size, person.size, 0))
    box = person.box
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, color="0.8", linestyle=":"))
    for a, b in MPII.limbs:
        if (weaker := min(confidence[a], confidence[b])) >= SEEN:
            colour = [channel / 255 for channel in MPII.colour(a, b)]
            axes.plot(*joints[[a, b]].T, color=colour, alpha=max(_FAINTEST, weaker), linewidth=3)
    axes.set(xlim=(0, person.size), ylim=(person.size, 0))
    axes.axis("off")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m models.card.failures", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="an .onnx file")
    parser.add_argument("--photo", type=Path, required=True, help="a square photo of one person")
    parser.add_argument("--box", type=float, nargs=4, required=True, metavar=("X", "Y", "WIDTH", "HEIGHT"))
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(options.photo) as photo:
        shown = panels(photo.convert("RGB"), Box(*options.box))
    predictions = predictor(options.model)(list(shown.values()))
    assert predictions.confidence is not None  # an ONNX file gives it
    figure, row = plt.subplots(1, len(shown), figsize=(len(shown) * _PANEL_PX / 100, 1.1 * _PANEL_PX / 100), dpi=100)
    for axes, (title, person), joints, confidence in zip(
        row, shown.items(), predictions.joints, predictions.confidence, strict=True
    ):
        draw(axes, person, joints, confidence)
        axes.set_title(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(options.out, pil_kwargs={"quality": 85})
    plt.close(figure)


if __name__ == "__main__":
    main()
