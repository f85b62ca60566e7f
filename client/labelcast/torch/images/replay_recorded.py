"""Recorded views → pixels: what another producer's teacher looked at, for the student.

The order of operations is that of `labelcast.augmentation.recorded`. Pixels agree with a producer's
within 1/255 before mixing: it resizes 8-bit images with Pillow, which rounds after each axis, and
here nothing is rounded. Images may be normalised, except under a policy with RandAugment or cutout,
whose arguments are colours: those need images from 0 to 1, and the rendered views are normalised.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labelcast.augmentation import Mix, RecordedPolicy, RecordedViews
from labelcast.errors import InvalidRequestError
from labelcast.torch.images.rand_augment import rand_augment, require_unit_range

Images = Tensor | Sequence[Tensor]


def render_recorded(
    policy: RecordedPolicy,
    views: RecordedViews,
    images: Images,
    partner_views: RecordedViews | None,
    partner_images: Images | None,
) -> Tensor:
    """Render views.

    Args:
        policy: policy of the label set.
        views: N views.
        images: N source images, float, shape (channels, height, width), of any sizes, on one
            device.
        partner_views: records of the view that each is mixed with, in the order of `views`, which
            may be the view itself; None where none shows its partner.
        partner_images: their source images.

    Returns:
        float, shape (N, channels, view height, view width), on the device of `images`.

    Raises:
        InvalidRequestError: partners are missing, or what `unmixed` refuses.
    """
    own = unmixed(policy, views, images)
    if policy.mix is Mix.NONE or not (views.partner_share(policy) > 0).any():
        return own
    if partner_views is None or partner_images is None or len(partner_views) != len(views):
        raise InvalidRequestError("mixed views need the record and the image of every partner")
    return mixed(policy, views, own, unmixed(policy, partner_views, partner_images))


def unmixed(policy: RecordedPolicy, views: RecordedViews, images: Images) -> Tensor:
    """Render views up to, and without, the mix: what partners show too.

    Args:
        policy: policy of the label set.
        views: N views, at least one.
        images: N source images, float, shape (channels, height, width), of any sizes, on one
            device.

    Returns:
        float, shape (N, channels, view height, view width), on the device of `images`.

    Raises:
        InvalidRequestError: not one image for each view, images of different channels or that are
            not float, a crop without a pixel, patches that do not fit together, or images outside
            [0, 1] where colours are drawn on them.
    """
    _require_images(views, images)
    size = (policy.view_height, policy.view_width)
    boxes = _crop_boxes(views, images)
    crops = []
    for at, image in enumerate(images):
        source = rand_augment(image, views.operations[at], views.magnitudes[at])
        if policy.patch_grid > 1:
            source = shuffle_patches(source, views.patches[at], policy.patch_grid)
        top, left, bottom, right = boxes[at]
        crops.append(_resize(source[:, top:bottom, left:right], size))
    rendered = torch.stack(crops)
    if views.flip.any():
        flip = torch.from_numpy(views.flip).to(rendered.device)
        rendered = torch.where(flip[:, None, None, None], rendered.flip(3), rendered)
    return _cover(rendered, views.cutout) if policy.cutout else rendered


def mixed(policy: RecordedPolicy, views: RecordedViews, own: Tensor, partners: Tensor) -> Tensor:
    """Mix rendered views with their partners.

    A loader whose batches are the producer's renders each view once with `unmixed`, and takes
    `partners` from the same tensor.

    Args:
        policy: policy of the label set.
        views: N views.
        own: float, shape (N, channels, view height, view width): the views, unmixed.
        partners: the same of each view's partner.

    Returns:
        The shape of `own`; `own` itself if the policy does not mix.
    """
    if policy.mix is Mix.NONE:
        return own
    if policy.mix is Mix.MIXUP:
        lam = torch.from_numpy(views.lam).to(own.device, own.dtype)
        return torch.lerp(partners, own, lam[:, None, None, None])
    return torch.where(_inside(views.box, own), partners, own)


def shuffle_patches(image: Tensor, patches: NDArray[np.uint8], grid: int) -> Tensor:
    """Put the patches of an image in another order.

    Patches are cut as RDED cuts them: `size // grid` pixels per side, and the last takes the rest.
    If the grid divides the image, any order fits. If it does not, patches keep their sizes, and an
    order fits if every row of patches has one height and all rows have one width, as orders of
    whole rows and whole columns always do.

    Args:
        image: float, shape (channels, height, width).
        patches: uint8, shape (grid²,): patch i of the result, row by row, is patch `patches[i]`.
        grid: patches per side.

    Returns:
        The same shape, newly allocated.

    Raises:
        InvalidRequestError: patches that do not fit together.
    """
    heights, widths = (
        [size // grid] * (grid - 1) + [size - size // grid * (grid - 1)] for size in image.shape[1:]
    )
    tiles = [tile for row in image.split(heights, 1) for tile in row.split(widths, 2)]
    order = patches.reshape(grid, grid).tolist()
    fits = all(len({tiles[patch].shape[1] for patch in row}) == 1 for row in order)
    if not fits or len({sum(tiles[patch].shape[2] for patch in row) for row in order}) > 1:
        raise InvalidRequestError(
            f"patches in the order {order} do not fit together in an image of"
            f" {image.shape[1]}×{image.shape[2]} pixels, which their grid does not divide"
        )
    return torch.cat([torch.cat([tiles[patch] for patch in row], 2) for row in order], 1)


def _require_images(views: RecordedViews, images: Images) -> None:
    if len(images) == 0 or len(images) != len(views):
        raise InvalidRequestError(f"{len(views)} views need one image each, not {len(images)}")
    for at, image in enumerate(images):
        alike = image.ndim == 3 and image.is_floating_point() and len(image) == len(images[0])
        if not alike:
            raise InvalidRequestError(
                f"the image of view {at} is {image.dtype} of shape {tuple(image.shape)}; images"
                " are float, of shape (channels, height, width) and of as many channels",
                view=at,
            )


def _crop_boxes(views: RecordedViews, images: Images) -> list[list[int]]:
    """Top, left, bottom, right of each crop in whole pixels of its source image.

    Producers give Pillow fractional edges, which it rounds, halves to even. Parts that
    half-precision fractions put outside are cut off: the crop that the teacher saw was inside.
    """
    sizes = np.array([image.shape[1:] for image in images])
    # The producer's own arithmetic: both terms are scaled before they are added.
    starts, extents = views.crop[:, :2] * sizes, views.crop[:, 2:] * sizes
    edges = np.rint(np.stack([starts, starts + extents], axis=1))
    edges = edges.clip(0, sizes[:, None]).astype(np.int64)
    empty = (edges[:, 1] <= edges[:, 0]).any(axis=1)
    if empty.any():
        at = int(empty.argmax())
        raise InvalidRequestError(
            f"the crop of view {at} holds no pixel of its image of"
            f" {sizes[at, 0]}×{sizes[at, 1]} pixels; is this the data set that was labelled?",
            view=at,
        )
    boxes: list[list[int]] = edges.reshape(-1, 4).tolist()
    return boxes


def _resize(crop: Tensor, size: tuple[int, int]) -> Tensor:
    if crop.shape[1:] == size:
        return crop
    resized: Tensor = functional.interpolate(
        crop[None], size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    return resized


def _cover(rendered: Tensor, cutout: NDArray[np.float32]) -> Tensor:
    """Fill a rectangle of each view, as the producer of ImageNet-21K-P labels does."""
    if rendered.shape[1] != 3:
        raise InvalidRequestError(f"cutout needs RGB images, not {rendered.shape[1]} channels")
    require_unit_range(rendered, "cutout")
    size = np.array(rendered.shape[2:])
    # Drawn as whole pixels and kept as fractions in single precision.
    centre = np.rint(cutout[:, :2] * size)
    extent = np.rint(cutout[:, 2:4] * size)
    starts = (centre - extent // 2).clip(0, size)
    # Pillow fills the last row and column too; a rectangle without extent was never drawn.
    ends = np.where(
        (extent > 0).all(axis=1, keepdims=True), (centre + extent // 2).clip(0, size) + 1, starts
    )
    boxes = np.concatenate([starts, ends], axis=1).astype(np.int32)
    colours = torch.from_numpy(cutout[:, 4:] / 255).to(rendered.device, rendered.dtype)
    return torch.where(_inside(boxes, rendered), colours[:, :, None, None], rendered)


def _inside(boxes: NDArray[np.int32], views: Tensor) -> Tensor:
    """Which pixels lie in top, left, bottom, right: bool, shape (N, 1, height, width)."""
    top, left, bottom, right = torch.from_numpy(boxes.T.copy()).to(views.device)[:, :, None]
    row = torch.arange(views.shape[2], device=views.device)[None]
    column = torch.arange(views.shape[3], device=views.device)[None]
    rows = (row >= top) & (row < bottom)
    columns = (column >= left) & (column < right)
    inside: Tensor = rows[:, None, :, None] & columns[:, None, None, :]
    return inside
