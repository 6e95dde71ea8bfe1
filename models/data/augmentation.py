"""Random crops, mirrored, rotated, scaled, shifted, cut off and coloured: a whole batch at once.

First `Augmentation.plan` decides what each crop shows; then pictures are decoded as finely as their crops need, and
`Augmentation.crops` cuts and changes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.half_bodies import half_body_windows
from models.data.pack import ABSENT, CONTEXT, SAME_COLOUR, Labels
from models.networks.dsnt import cell_centres
from models.spec.crop import OUTSIDE_COLOUR, PIXEL_MEAN, PIXEL_STD
from models.spec.skeleton import MIRROR

# Of the four ends of a crop, left, upper, right, lower.
_BELOW: Final = 3

# A joint so far beyond an end, a fortieth of the crop's side, is certainly not shown: labels are not exact.
_CERTAINLY: Final = 0.05

# Rows and columns with less than this fraction of the fullest one's pixels are of what lies outside a photo, not of it.
_PHOTO_FRACTION: Final = 0.5

# Side of the corners of pictures that lie around other pictures, before they are enlarged.
_CORNER_PX: Final = 48

# How many pixels of a picture a crop's pixel may span before the picture is shrunk.
_FINE: Final = 1.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What the crops of a batch show.

    Attributes:
        crop_to_nominal: [N, 2, 3], from coordinates normalised to the crop to those normalised to the nominal crop.
        joints: [N, 16, 2], normalised to the crops.
        weights: [N, 16], as `Labels` has them, `ABSENT` for joints that are no longer shown and 0 for those at the very
            edge.
        ends: [N, 4], left, upper, right and lower end of the photo, normalised to the crop and at most its own.
    """

    crop_to_nominal: Tensor
    joints: Tensor
    weights: Tensor
    ends: Tensor

    def picture_sizes(self, native: Sequence[int], crop_size: int) -> list[int]:
        """The sides [N] that pictures of `native` sides are to be decoded at, for crops of `crop_size` pixels."""
        scales = torch.linalg.det(self.crop_to_nominal[:, :, :2]).abs().sqrt().tolist()
        finest = (math.ceil(_FINE * CONTEXT * crop_size / scale) for scale in scales)
        return [min(size, most) for size, most in zip(native, finest, strict=True)]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far crops are varied.

    Attributes:
        rotation_degrees: Standard deviation of the rotation; clipped at twice that.
        rotated: Fraction of the crops that is rotated at all.
        turned: Fraction of the crops that is rotated by any angle: lying people, handstands.
        halved: Fraction of the crops that are of half bodies, in boxes such as a detector draws (`half_bodies`).
        scale_octaves: Standard deviation of the scale's logarithm to base 2; clipped at twice that.
        shift: Standard deviation of the shift along each axis, in crop sides.
        loose: Fraction of the other crops as users draw them, or do not: from half a body to a person a third as large
            as usual, anywhere in the crop.
        gain: Each channel is multiplied by 1 +- up to this.
        brightness: Added to all channels, +- up to this (1 is white).
        grey: Fraction of the crops that lose their colour.
        sharpness: How much is added, at most, of the difference between a crop and the mean of the 3 x 3 pixels
            around each; a third of that is taken away at most.
        hidden: Fraction of the crops of which a square is hidden behind a piece of another crop, up to 0.35 sides wide.
        surrounded: Fraction of the crops in which a piece of another picture lies around this one, in half of them
            around its photo, in place of one colour.
        ended: Fraction of the crops of whole bodies in which the photo ends before the crop does: one colour beyond,
            half of the time below.
    """

    rotation_degrees: float = 30.0
    rotated: float = 0.6
    turned: float = 0.06
    halved: float = 0.5
    scale_octaves: float = 0.25
    shift: float = 0.06
    loose: float = 0.5
    gain: float = 0.35
    brightness: float = 0.1
    grey: float = 0.1
    sharpness: float = 0.9
    hidden: float = 0.5
    surrounded: float = 0.8
    ended: float = 0.3

    def plan(self, labels: Labels, generator: torch.Generator) -> Plan:
        """Choose one random crop of each person.

        Args:
            labels: Of N people; every head size is a number.
            generator: Of the device that holds the labels.
        """
        count, device = len(labels.joints), labels.joints.device
        turn, mirrored = self._turn(count, device, generator)
        whole_scale, whole_centres = self._whole_bodies(count, device, generator)
        ends = self._ends(count, device, generator)
        joints, weights = _mirrored(torch.linalg.solve(turn, labels.joints.mT).mT, labels.weights, mirrored)
        windows = half_body_windows(joints, weights > 0, labels.head_sizes, generator)
        halved = torch.rand(count, device=device, generator=generator) < self.halved
        scale = torch.where(halved, windows.half_sides, whole_scale)
        centres = torch.where(halved[:, None], windows.centres, whole_centres)
        cut_ends = ((windows.ends - centres.repeat(1, 2)) / scale[:, None]).clamp(-1, 1)
        ends = torch.where(halved[:, None], cut_ends, ends)
        joints = (joints - centres[:, None]) / scale[:, None, None]
        crop_to_nominal = torch.cat([turn * scale[:, None, None], turn @ centres[:, :, None]], 2)
        return Plan(crop_to_nominal, joints, _shown(joints, weights, ends), ends)

    def crops(
        self,
        pictures: Sequence[Tensor],
        plan: Plan,
        crop_size: int,
        generator: torch.Generator,
        lead_px: float = 0.0,
    ) -> Tensor:
        """Cut the planned crops, the network's input float32 [N, 3, crop_size, crop_size].

        Args:
            pictures: N of uint8 [S, S, 3], each of its own side, the nominal crop in the middle S / 1.5.
            plan: What the crops show.
            crop_size: Side of the crops, in pixels.
            generator: Of the device that holds the pictures.
            lead_px: How far right and down of where the joints say the pictures are cut, in crop pixels.
        """
        linear, shift = plan.crop_to_nominal[:, :, :2], plan.crop_to_nominal[:, :, 2:]
        lead = linear.sum(2, keepdim=True) * (2 * lead_px / crop_size)
        # One unit of the sampling grid is half a picture, `CONTEXT` times half a nominal crop.
        cut = torch.cat([linear, shift + lead], 2) / CONTEXT
        grids = F.affine_grid(cut, [len(pictures), 3, crop_size, crop_size], align_corners=False)
        photos = [_photo(picture) for picture in pictures]
        layers = torch.stack([_sampled(*each) for each in zip(pictures, photos, grids, strict=True)])
        colours, inside, photo = layers[:, :3], layers[:, 3:4], layers[:, 4:]
        colours = self._sharpened(colours / inside.clamp(min=0.5), generator)  # no seam at the picture's edge
        crops = self._coloured(colours, generator) * (photo > 0.5)
        crops = self._surround(crops, _best_corners(pictures, photos), inside < 0.5, photo < 0.5, generator)
        return _end(self._hide(crops, generator), plan.ends)

    def _turn(self, count: int, device: torch.device, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rotations and reflections [N, 2, 2] of crops, and who is mirrored, [N]."""
        random = torch.rand((4, count), device=device, generator=generator)
        normal = torch.randn(count, device=device, generator=generator).clamp(-2, 2)
        angle = normal * math.radians(self.rotation_degrees) * (random[0] < self.rotated)
        angle = torch.where(random[1] < self.turned, 2 * math.pi * random[2], angle)
        mirrored = random[3] < 0.5
        sign = torch.where(mirrored, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([torch.stack([cos * sign, -sin], 1), torch.stack([sin * sign, cos], 1)], 1), mirrored

    def _whole_bodies(self, count: int, device: torch.device, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Scales [N] and shifts [N, 2] of crops around whole bodies, from crop to nominal crop."""
        random = torch.rand((4, count), device=device, generator=generator)
        normal = torch.randn((3, count), device=device, generator=generator).clamp(-2, 2)
        loose = random[0] < self.loose
        scale = 2 ** torch.where(loose, -1 + 2.6 * random[1], normal[0] * self.scale_octaves)
        reach = (0.35 * (scale - 1).abs() + 0.1) * (2 * random[2:] - 1)
        return scale, 2 * torch.where(loose, reach, normal[1:] * self.shift).T

    def _sharpened(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, 3, h, w], each as much sharper or softer as another camera's."""
        random = torch.rand((len(images), 1, 1, 1), device=images.device, generator=generator)
        around = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return images + self.sharpness * (4 * random - 1) / 3 * (images - around)

    def _coloured(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, 3, h, w], 0 to 1, with changed colours, normalised."""

        def uniform(channels: int) -> Tensor:
            return torch.rand((len(images), channels, 1, 1), device=images.device, generator=generator)

        images = torch.where(uniform(1) < self.grey, images.mean(1, keepdim=True), images)
        images = images * (1 + self.gain * (2 * uniform(3) - 1)) + self.brightness * (2 * uniform(1) - 1)
        return _normalised(images)

    def _surround(
        self, crops: Tensor, corners: Tensor, outside: Tensor, beside: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Crops [N, 3, h, w], some over an enlarged corner of their neighbour in the batch, [N, 3, c, c].

        `outside` [N, 1, h, w] says which pixels lie outside the picture, `beside` which lie outside its photo.
        """
        random = torch.rand((2, len(crops), 1, 1, 1), device=crops.device, generator=generator)
        covered = torch.where(random[0] < 0.5, beside, outside) & (random[1] < self.surrounded)
        around = F.interpolate(corners.roll(1, 0), crops.shape[-2:], mode="bicubic").clamp(0, 1)
        return torch.where(covered, _normalised(around), crops)

    def _hide(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, 3, h, w], some with a square of their neighbour in the batch: people and things hide people."""
        count, size = len(images), images.shape[-1]
        random = torch.rand((4, count, 1), device=images.device, generator=generator)
        half = 0.5 * (0.1 + 0.25 * random[2]) * (random[3] < self.hidden)
        places = (torch.arange(size, device=images.device) + 0.5) / size
        inside_x, inside_y = ((places - centre).abs() < half for centre in (random[0], random[1]))
        return torch.where(inside_y[:, None, :, None] & inside_x[:, None, None, :], images.roll(1, 0), images)

    def _ends(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """Left, upper, right and lower end of what each crop of a whole body shows, normalised to the crop, [N, 4]."""
        random = torch.rand((3, count), device=device, generator=generator)
        side = (6 * random[0]).long().clamp(max=_BELOW)  # half of the time below: photos often end at the hips
        ends = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=device)
        moved = F.one_hot(side, len(ends)) * (1.2 * random[1] * (random[2] < self.ended))[:, None]
        return ends * (1 - moved)


def _shown(joints: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Weights [N, 16] of joints that the photo shows up to its ends [N, 4]."""
    # How far joints lie beyond the nearest end, in normalised units; negative inside.
    beyond = torch.cat([ends[:, None, :2] - joints, joints - ends[:, None, 2:]], 2).amax(2)
    weights = torch.where((weights > 0) & (beyond > _CERTAINLY), ABSENT, weights)
    return torch.where((weights > 0) & (beyond > 0), 0, weights)


def _end(images: Tensor, ends: Tensor) -> Tensor:
    """Images [N, 3, h, w] that have one colour beyond their `ends` [N, 4]."""
    x, y = (cell_centres(cells, images.device) for cells in (images.shape[-1], images.shape[-2]))
    left, upper, right, lower = ends.T[:, :, None]
    shown_x, shown_y = (left < x) & (x < right), (upper < y) & (y < lower)
    return torch.where(shown_y[:, None, :, None] & shown_x[:, None, None, :], images, 0)


def _sampled(picture: Tensor, photo: Tensor, grid: Tensor) -> Tensor:
    """A picture uint8 [S, S, 3] and its photo [S, S] at a grid [h, w, 2].

    Returns:
        [5, h, w], 0 to 1: red, green and blue, whether in the picture at all, whether in its photo.
    """
    image = picture.permute(2, 0, 1).float() / 255
    layers = torch.cat([image, torch.ones_like(image[:1]), photo[None].float()])
    return F.grid_sample(layers[None], grid[None], align_corners=False)[0]


def _normalised(images: Tensor) -> Tensor:
    """The network's input of images [N, 3, h, w], 0 to 1: zero is the colour of what lies outside a photo."""
    mean, std = (torch.tensor(value, device=images.device).view(3, 1, 1) for value in (PIXEL_MEAN, PIXEL_STD))
    return (images.clamp(0, 1) - mean) / std


def _photo(picture: Tensor) -> Tensor:
    """The rectangle of a picture uint8 [S, S, 3] that is of a photo, not of the colour outside, bool [S, S]."""
    outside = torch.tensor(OUTSIDE_COLOUR, dtype=torch.int16, device=picture.device)
    distance = (picture.short() - outside).abs()
    shown = (distance >= SAME_COLOUR).any(-1)
    fractions = (shown.float().mean(axis) for axis in (1, 0))
    rows, columns = (_between((fraction > _PHOTO_FRACTION * fraction.amax()).int()) for fraction in fractions)
    return rows[:, None] & columns[None]


def _between(marked: Tensor) -> Tensor:
    """Which entries of a vector lie between the first and the last that is marked, bool [S]."""
    return (marked.cummax(0).values * marked.flip(0).cummax(0).values.flip(0)).bool()


def _best_corners(pictures: Sequence[Tensor], photos: Sequence[Tensor]) -> Tensor:
    """Of each picture uint8 [S, S, 3] the corner, a sixth of its side, with most of its photo [S, S]: [N, 3, c, c]."""

    def best(picture: Tensor, photo: Tensor) -> Tensor:
        edge = len(picture) // 6
        ends = (slice(edge), slice(-edge, None))
        corners = [picture[rows, columns] for rows in ends for columns in ends]
        shown = [photo[rows, columns].sum().item() for rows in ends for columns in ends]
        corner = corners[max(range(4), key=shown.__getitem__)]
        pixels = corner.permute(2, 0, 1)[None].float() / 255
        return F.interpolate(pixels, (_CORNER_PX, _CORNER_PX), mode="bilinear")[0]

    return torch.stack([best(*each) for each in zip(pictures, photos, strict=True)])


def _mirrored(joints: Tensor, weights: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Joints [N, 16, 2] and weights [N, 16]; left and right change places in mirrored crops [N]."""
    swapped = torch.where(
        mirrored[:, None],
        torch.tensor(MIRROR, device=joints.device),
        torch.arange(joints.shape[1], device=joints.device),
    )
    return joints.gather(1, swapped[:, :, None].expand(-1, -1, 2)), weights.gather(1, swapped)
