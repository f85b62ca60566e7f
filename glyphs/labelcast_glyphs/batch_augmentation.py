"""Random views of a batch for training the teacher: rotation, resized crop, CutMix.

Independent of the project's seeded augmentation: the teacher has to cover the *kind* of view
that is labelled later, not its bits.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_LARGEST_RATIO = 4 / 3


def random_geometry(
    images: torch.Tensor,
    *,
    max_rotation_degrees: float,
    min_crop_scale: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Rotate each picture about its crop's centre and enlarge a random crop of it.

    Args:
        images: float32, shape (N, 1, H, W).
        max_rotation_degrees: angles are uniform in ± this.
        min_crop_scale: the crop's share of the area is uniform in [this, 1]; its aspect ratio is
            log-uniform in [3/4, 4/3], and it lies inside the picture.
        generator: source of all randomness.

    Returns:
        float32, shape (N, 1, H, W), newly allocated; what lies outside the picture is 0.
    """
    count = len(images)
    uniform = torch.rand(5, count, generator=generator)
    angle = (2 * uniform[0] - 1) * math.radians(max_rotation_degrees)
    area = min_crop_scale + (1 - min_crop_scale) * uniform[1]
    ratio = torch.exp((2 * uniform[2] - 1) * math.log(_LARGEST_RATIO))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    centre_x = (2 * uniform[3] - 1) * (1 - width)
    centre_y = (2 * uniform[4] - 1) * (1 - height)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([width * cos, -height * sin, centre_x], dim=1),
            torch.stack([width * sin, height * cos, centre_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def cutmix(
    images: torch.Tensor, *, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Paste a box of a random partner into each picture (CutMix, arXiv 1905.04899).

    λ is uniform and drawn per picture, as is the box's centre.

    Args:
        images: float32, shape (N, 1, H, W).
        generator: source of all randomness.

    Returns:
        Mixed pictures, float32 (N, 1, H, W); each row's partner, int64 (N,); the partner's share
        of the area after clipping at the border, float32 (N,). All newly allocated.
    """
    count, _, height, width = images.shape
    partner = torch.randperm(count, generator=generator)
    uniform = torch.rand(3, count, generator=generator)
    half = (1 - uniform[0]).sqrt() / 2

    def inside(centre: torch.Tensor, size: int) -> torch.Tensor:
        first = ((centre - half) * size).round()[:, None]
        last = ((centre + half) * size).round()[:, None]
        pixel = torch.arange(size)[None, :]
        return (pixel >= first) & (pixel < last)

    box = inside(uniform[1], height)[:, :, None] & inside(uniform[2], width)[:, None, :]
    mixed = torch.where(box[:, None], images[partner], images)
    return mixed, partner, box.float().mean(dim=(1, 2))
