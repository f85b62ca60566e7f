"""Records → pixels, on the device of the images: what teacher and student both see."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labelcast.augmentation import FIXED_POINT, AugmentationPolicy, Mix, Records, draw_records
from labelcast.views import Views


class ViewRenderer:
    """Renders views of one data set under one policy.

    Args:
        policy: recipe of the views; None leaves images unchanged.
        sample_table: uint64, shape (S,), all sample IDs, strictly increasing.
    """

    def __init__(self, policy: AugmentationPolicy | None, sample_table: NDArray[np.uint64]) -> None:
        self.policy = policy
        self.sample_table = sample_table

    def partners(self, views: Views) -> Views:
        """The view that each view is mixed with; the view itself if there is no mixing."""
        if self.policy is None or self.policy.mix is Mix.NONE:
            return views
        records = self._records(self.policy, views)
        return Views(records.partner_sample_ids, records.partner_seeds)

    def render(self, views: Views, images: Tensor, partner_images: Tensor | None) -> Tensor:
        """Render views.

        Args:
            views: N views.
            images: float, shape (N, channels, height, width): the sample of each view.
            partner_images: the same for `partners(views)`; None where there is no mixing.

        Returns:
            float, shape (N, channels, view height, view width), on the device of `images`.
        """
        if self.policy is None:
            return images
        size = (self.policy.view_height, self.policy.view_width)
        records = self._records(self.policy, views)
        rendered = crop_and_rotate(shuffle_patches(images, records), records, size)
        if self.policy.mix is Mix.NONE or partner_images is None:
            return rendered
        partner_views = Views(records.partner_sample_ids, records.partner_seeds)
        partners = self._records(self.policy, partner_views)
        shuffled = shuffle_patches(partner_images, partners)
        return paste(rendered, crop_and_rotate(shuffled, partners, size), records)

    def mixed_area(self, views: Views) -> NDArray[np.float32]:
        """Share of each view's area that shows its partner: float32, shape (N,)."""
        if self.policy is None:
            return np.zeros(len(views), dtype=np.float32)
        pixels = self.policy.view_height * self.policy.view_width
        return (self._records(self.policy, views).box_pixels() / pixels).astype(np.float32)

    def _records(self, policy: AugmentationPolicy, views: Views) -> Records:
        return draw_records(policy, views.sample_ids, views.seeds, sample_table=self.sample_table)


def shuffle_patches(images: Tensor, records: Records) -> Tensor:
    """Put the strips of each image's grid in the order of its record: columns, then rows.

    Strips are whole pixels, size // grid wide, and the last takes the rest, so that strips of an
    image that the grid does not divide end up at other pixels than they began.

    Args:
        images: float, shape (N, channels, height, width).
        records: draws of N views.

    Returns:
        The same shape; the same tensor if the grid is 1.
    """
    if records.patch_columns.shape[1] == 1:
        return images
    height, width = images.shape[2:]
    columns = torch.from_numpy(_sources(records.patch_columns, width)).to(images.device)
    rows = torch.from_numpy(_sources(records.patch_rows, height)).to(images.device)
    across = images.gather(3, columns[:, None, None, :].expand_as(images))
    return across.gather(2, rows[:, None, :, None].expand_as(images))


def _sources(orders: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Source pixel of every pixel along one axis: int64, shape (N, size)."""
    grid = orders.shape[1]
    edges = np.append(np.arange(grid) * (size // grid), size)
    strips = np.split(np.arange(size), edges[1:-1])
    distinct, which = np.unique(orders, axis=0, return_inverse=True)
    of_order = [np.concatenate([strips[strip] for strip in order]) for order in distinct]
    # numpy 2.0.0 shapes the inverse like its input.
    sources: NDArray[np.int64] = np.stack(of_order)[which.reshape(-1)].astype(np.int64)
    return sources


def crop_and_rotate(images: Tensor, records: Records, size: tuple[int, int]) -> Tensor:
    """Crop, turn about the crop's centre and flip in one bilinear sampling; outside is zero.

    Args:
        images: float, shape (N, channels, height, width).
        records: draws of N views; mixing is ignored.
        size: height and width of the result.

    Returns:
        float, shape (N, channels, *size).
    """
    height, width = images.shape[2:]
    fractions = np.stack(
        [records.crop_top, records.crop_left, records.crop_height, records.crop_width]
    )
    device = images.device
    box = torch.from_numpy(fractions.astype(np.float32) / FIXED_POINT).to(device)
    angle = torch.from_numpy(records.rotation.astype(np.float32)).to(device)
    angle = angle * (math.pi / 180 / FIXED_POINT)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    half_height, half_width = box[2] * height / 2, box[3] * width / 2
    flip = torch.from_numpy(np.where(records.flip, np.float32(-1), np.float32(1))).to(device)
    # Output (x, y) in [-1, 1] → source pixels about the centre → source coordinates in [-1, 1].
    centre_y, centre_x = 2 * box[0] + box[2] - 1, 2 * box[1] + box[3] - 1
    rows = (
        cosine * half_width * flip * 2 / width,
        -sine * half_height * 2 / width,
        centre_x,
        sine * half_width * flip * 2 / height,
        cosine * half_height * 2 / height,
        centre_y,
    )
    theta = torch.stack(rows, dim=1).reshape(-1, 2, 3).to(images.dtype)
    grid = functional.affine_grid(theta, [*images.shape[:2], *size], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


def paste(views: Tensor, partners: Tensor, records: Records) -> Tensor:
    """CutMix: show the partner inside each view's box.

    Args:
        views: float, shape (N, channels, height, width).
        partners: the same shape.
        records: draws of N views.

    Returns:
        The same shape, newly allocated.
    """
    height, width = views.shape[2:]
    corners = np.stack([records.box_top, records.box_bottom, records.box_left, records.box_right])
    top, bottom, left, right = torch.from_numpy(corners).to(views.device)[:, :, None]
    row = torch.arange(height, device=views.device)[None]
    column = torch.arange(width, device=views.device)[None]
    inside_rows = (row >= top) & (row < bottom)
    inside_columns = (column >= left) & (column < right)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return torch.where(inside, partners, views)
