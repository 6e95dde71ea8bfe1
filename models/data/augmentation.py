"""Random crops, mirrored, rotated, scaled, shifted and coloured: a whole batch at once, on the device that holds it."""

import math
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.pack import ABSENT, CONTEXT, SAME_COLOUR
from models.networks.dsnt import cell_centres
from models.spec.crop import OUTSIDE_COLOUR, PIXEL_MEAN, PIXEL_STD
from models.spec.skeleton import MIRROR

# Of the four ends of a crop, left, upper, right, lower.
_BELOW: Final = 3

# A joint so far beyond an end, a twentieth of the crop's side, is certainly not shown: labels are not exact.
_CERTAINLY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far crops are varied.

    Attributes:
        rotation_degrees: Standard deviation of the rotation; clipped at twice that.
        rotated: Fraction of the crops that is rotated at all.
        scale_octaves: Standard deviation of the scale's logarithm to base 2; clipped at twice that.
        shift: Standard deviation of the shift along each axis, in crop sides.
        loose: Fraction of the crops as users draw them, or do not: from half a body to a person a third as large as
            usual, anywhere in the crop.
        gain: Each channel is multiplied by 1 +- up to this.
        brightness: Added to all channels, +- up to this (1 is white).
        grey: Fraction of the crops that lose their colour.
        hidden: Fraction of the crops of which a square is hidden behind a piece of another crop, up to 0.35 sides wide.
        surrounded: Fraction of the crops in which a piece of another picture lies around this one, in half of them
            around its photo, in place of one colour.
        ended: Fraction of the crops in which the photo ends before the crop does: one colour beyond, half of the time
            below.
    """

    rotation_degrees: float = 30.0
    rotated: float = 0.6
    scale_octaves: float = 0.25
    shift: float = 0.06
    loose: float = 0.5
    gain: float = 0.35
    brightness: float = 0.1
    grey: float = 0.1
    hidden: float = 0.5
    surrounded: float = 0.8
    ended: float = 0.3

    def __call__(
        self,
        pictures: Tensor,
        joints: Tensor,
        weights: Tensor,
        crop_size: int,
        generator: torch.Generator,
        lead_px: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cut one random crop from each picture.

        Args:
            pictures: uint8 [N, S, S, 3], the nominal crop in the middle S / 1.5.
            joints: float32 [N, 16, 2], normalised to the nominal crop.
            weights: float32 [N, 16], as `People` has them.
            crop_size: Side of the crops, in pixels.
            generator: Of the device that holds the pictures.
            lead_px: How far right and down of where the joints say the pictures are cut, in crop pixels.

        Returns:
            The network's input float32 [N, 3, crop_size, crop_size]; joints normalised to the new crops; weights,
            `ABSENT` for joints that are no longer shown and 0 for those at the very edge.
        """
        crop_to_nominal, mirrored = self._affine(len(pictures), pictures.device, generator)
        images = self._coloured(pictures, generator)
        lead = crop_to_nominal[:, :, :2].sum(2, keepdim=True) * (2 * lead_px / crop_size)
        cut = torch.cat([crop_to_nominal[:, :, :2], crop_to_nominal[:, :, 2:] + lead], 2)
        # One unit of the sampling grid is half a picture, `CONTEXT` times half a nominal crop.
        grid = F.affine_grid(cut / CONTEXT, [len(pictures), 3, crop_size, crop_size], align_corners=False)
        crops = _sampled(images, grid, crop_to_nominal)
        crops = self._surround(crops, images, _outside_photo(pictures), grid, generator)
        crops = self._hide(crops, generator)
        joints, weights = _transformed(joints, weights, crop_to_nominal, mirrored)
        ends = self._ends(len(crops), crops.device, generator)
        crops = _end(crops, ends)
        # How far joints lie beyond the nearest end, in normalised units; negative inside.
        beyond = torch.cat([ends[:, None, :2] - joints, joints - ends[:, None, 2:]], 2).amax(2)
        weights = torch.where((weights > 0) & (beyond > _CERTAINLY), ABSENT, weights)
        return crops, joints, torch.where((weights > 0) & (beyond > 0), 0, weights)

    def _affine(self, count: int, device: torch.device, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Maps [N, 2, 3] from normalised crop to normalised nominal coordinates, and who is mirrored, [N]."""

        def clipped_normal(*shape: int) -> Tensor:
            return torch.randn(shape, device=device, generator=generator).clamp(-2, 2)

        def uniform() -> Tensor:
            return torch.rand(count, device=device, generator=generator)

        angle = clipped_normal(count) * math.radians(self.rotation_degrees) * (uniform() < self.rotated)
        loose = uniform() < self.loose
        octaves = torch.where(loose, -1 + 2.6 * uniform(), clipped_normal(count) * self.scale_octaves)
        scale = 2**octaves
        reach = (0.35 * (scale - 1).abs() + 0.1)[:, None] * (2 * torch.stack([uniform(), uniform()], 1) - 1)
        shift = 2 * torch.where(loose[:, None], reach, clipped_normal(count, 2) * self.shift)
        mirrored = uniform() < 0.5
        sign = torch.where(mirrored, -1.0, 1.0)
        cos, sin = scale * angle.cos(), scale * angle.sin()
        rows = [torch.stack([cos * sign, -sin, shift[:, 0]], 1), torch.stack([sin * sign, cos, shift[:, 1]], 1)]
        return torch.stack(rows, 1), mirrored

    def _coloured(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """The pictures [N, 3, S, S] with changed colours, normalised: zero is the colour of what lies outside."""

        def uniform(channels: int) -> Tensor:
            return torch.rand((len(pictures), channels, 1, 1), device=pictures.device, generator=generator)

        images = pictures.permute(0, 3, 1, 2).float() / 255
        images = torch.where(uniform(1) < self.grey, images.mean(1, keepdim=True), images)
        images = images * (1 + self.gain * (2 * uniform(3) - 1)) + self.brightness * (2 * uniform(1) - 1)
        mean, std = (torch.tensor(value, device=pictures.device).view(3, 1, 1) for value in (PIXEL_MEAN, PIXEL_STD))
        return (images.clamp(0, 1) - mean) / std

    def _surround(
        self, crops: Tensor, images: Tensor, outside: Tensor, grid: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Crops [N, 3, h, w] of images [N, 3, S, S], some over the enlarged corner of their neighbour in the batch.

        `outside` [N, 1, S, S] says which pixels lie beside the photo.
        """
        random = torch.rand((2, len(crops), 1, 1, 1), device=crops.device, generator=generator)
        shown = 1 - (outside & (random[0] < 0.5)).float()
        covered = (F.grid_sample(shown, grid, align_corners=False) < 0.5) & (random[1] < self.surrounded)
        corners = _best_corners(images, outside).roll(1, 0)
        return torch.where(covered, F.interpolate(corners, crops.shape[-2:], mode="bicubic"), crops)

    def _hide(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, 3, h, w], some with a square of their neighbour in the batch: people and things hide people."""
        count, size = len(images), images.shape[-1]
        random = torch.rand((4, count, 1), device=images.device, generator=generator)
        half = 0.5 * (0.1 + 0.25 * random[2]) * (random[3] < self.hidden)
        places = (torch.arange(size, device=images.device) + 0.5) / size
        inside_x, inside_y = ((places - centre).abs() < half for centre in (random[0], random[1]))
        return torch.where(inside_y[:, None, :, None] & inside_x[:, None, None, :], images.roll(1, 0), images)

    def _ends(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """Left, upper, right and lower end of what each crop shows, normalised to the crop, [N, 4]."""
        random = torch.rand((3, count), device=device, generator=generator)
        side = (6 * random[0]).long().clamp(max=_BELOW)  # half of the time below: photos often end at the hips
        ends = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=device)
        moved = F.one_hot(side, len(ends)) * (1.2 * random[1] * (random[2] < self.ended))[:, None]
        return ends * (1 - moved)


def _end(images: Tensor, ends: Tensor) -> Tensor:
    """Images [N, 3, h, w] that have one colour beyond their `ends` [N, 4]."""
    x, y = (cell_centres(cells, images.device) for cells in (images.shape[-1], images.shape[-2]))
    left, upper, right, lower = ends.T[:, :, None]
    shown_x, shown_y = (left < x) & (x < right), (upper < y) & (y < lower)
    return torch.where(shown_y[:, None, :, None] & shown_x[:, None, None, :], images, 0)


def _sampled(images: Tensor, grid: Tensor, crop_to_nominal: Tensor) -> Tensor:
    """Crops of pictures [N, 3, S, S]; those that shrink theirs are taken from its half, so that nothing aliases."""
    crops = F.grid_sample(images, grid, align_corners=False)
    shrunk = torch.linalg.det(crop_to_nominal[:, :, :2]).abs() > 2
    if shrunk.any():
        crops[shrunk] = F.grid_sample(F.avg_pool2d(images[shrunk], 2), grid[shrunk], align_corners=False)
    return crops


def _outside_photo(pictures: Tensor) -> Tensor:
    """Which pixels of pictures uint8 [N, S, S, 3] have the colour of what lies outside a photo, bool [N, 1, S, S]."""
    distance = (pictures.int() - torch.tensor(OUTSIDE_COLOUR, device=pictures.device)).abs()
    return (distance < SAME_COLOUR).all(-1)[:, None]


def _best_corners(images: Tensor, outside: Tensor) -> Tensor:
    """Of each picture the corner, a sixth of its side, with the least `outside` [N, 1, S, S]: [N, 3, S / 6, S / 6]."""
    edge = images.shape[-1] // 6
    ends = (slice(edge), slice(-edge, None))

    def corners(of: Tensor) -> Tensor:
        return torch.stack([of[..., rows, columns] for rows in ends for columns in ends])

    best = corners(outside.float()).mean((2, 3, 4)).argmin(0)
    return corners(images)[best, torch.arange(len(images), device=images.device)]


def _transformed(joints: Tensor, weights: Tensor, crop_to_nominal: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Joints and weights in the new crops; left and right change places in mirrored ones."""
    linear, shift = crop_to_nominal[:, :, :2], crop_to_nominal[:, :, 2]
    joints = torch.linalg.solve(linear, (joints - shift[:, None]).transpose(1, 2)).transpose(1, 2)
    swapped = torch.where(
        mirrored[:, None],
        torch.tensor(MIRROR, device=joints.device),
        torch.arange(joints.shape[1], device=joints.device),
    )
    joints = joints.gather(1, swapped[:, :, None].expand(-1, -1, 2))
    return joints, weights.gather(1, swapped)
