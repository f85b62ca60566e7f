"""policy × sample ID × augmentation seed → record.

Rules:
  * pure: relabeller and student call the same function and get the same bits on every platform, so
    only integers and the IEEE operations + - * / and square root are used (exp, log and powers
    differ between libraries), and every field is rounded to an integer;
  * independent: a view's record depends on no other view that happens to be drawn beside it (a
    batch that shares its mix is cut from the data set's own table, never from what is asked for);
  * append-only: a later policy may draw more words, never the same words for something else.
"""

from dataclasses import dataclass, fields
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation.seeded.batches import batch_mixes
from labelcast.augmentation.seeded.philox import philox
from labelcast.augmentation.seeded.policy import AugmentationPolicy, Mix
from labelcast.errors import ViewNotFoundError

FIXED_POINT = 2**16

Integers = NDArray[np.int32]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Records:
    """Drawn parameters of N views, as columns of shape (N,).

    Attributes:
        crop_top, crop_left, crop_height, crop_width: int32, the crop in units of 1/65,536 of the
            source's height or width.
        rotation: int32, degrees in units of 1/65,536; content turns anti-clockwise.
        flip: bool, horizontally, after the crop.
        partner_sample_ids: uint64; the partner is the *unmixed* view of this sample under the
            partner seed, with that view's own crop, rotation and flip. A view that is not mixed
            is its own partner.
        partner_seeds: uint32.
        box_top, box_left, box_bottom, box_right: int32, pixels of the view that show the partner,
            clipped; empty where the view is not mixed.
        patch_columns, patch_rows: uint8, shape (N, grid): strip i of the shuffled image, from the
            left or the top, is strip `patch_columns[:, i]` of the source's grid.
    """

    crop_top: Integers
    crop_left: Integers
    crop_height: Integers
    crop_width: Integers
    rotation: Integers
    flip: NDArray[np.bool_]
    partner_sample_ids: NDArray[np.uint64]
    partner_seeds: NDArray[np.uint32]
    box_top: Integers
    box_left: Integers
    box_bottom: Integers
    box_right: Integers
    patch_columns: NDArray[np.uint8]
    patch_rows: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> "Records":
        return Records(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def box_pixels(self) -> Integers:
        """Pixels that show the partner: int32, shape (N,). From the clipped box, never from λ."""
        return (self.box_bottom - self.box_top) * (self.box_right - self.box_left)


def draw_records(
    policy: AugmentationPolicy,
    sample_ids: NDArray[np.uint64],
    seeds: NDArray[np.uint32],
    *,
    sample_table: NDArray[np.uint64],
) -> Records:
    """Draw the records of views.

    Args:
        policy: the recipe.
        sample_ids: uint64, shape (N,).
        seeds: uint32, shape (N,).
        sample_table: uint64, shape (S,), all sample IDs of the data set, strictly increasing;
            partners are drawn from it.

    Returns:
        N records, in the order of the views.

    Raises:
        ViewNotFoundError: a sample ID is not in the table.
    """
    require_known(sample_ids, sample_table)
    low, high = (sample_ids & np.uint64(0xFFFFFFFF)), (sample_ids >> np.uint64(32))
    counter = (low.astype(np.uint32), high.astype(np.uint32), seeds)
    # Words 0-4: crop, 5: rotation, 6: flip, 7: partner, 8-11: mix, 12-13: patches.
    blocks = 3 if policy.patch_grid == 1 else 4
    words = np.concatenate(
        [philox((*counter, np.full_like(seeds, block)), policy.key) for block in range(blocks)]
    )
    unit = words.astype(np.float64) * 2.0**-32
    top, left, height, width = _draw_crop(policy, unit[0:5])
    if policy.mix_batch and policy.mix is not Mix.NONE:
        position, mix_words = batch_mixes(
            np.searchsorted(sample_table, sample_ids),
            seeds,
            samples=len(sample_table),
            batch=policy.mix_batch,
            key=policy.key,
        )
        mix = mix_words.astype(np.float64) * 2.0**-32
    else:
        # Multiply-shift: uniform up to 2**-32 times the size of the table, without a division.
        scaled = (words[7].astype(np.uint64) * np.uint64(len(sample_table))) >> np.uint64(32)
        position, mix = scaled.astype(np.int64), unit[8:12]
    mixed = mix[0] < (0 if policy.mix is Mix.NONE else policy.mix_probability)
    side = np.where(mixed, np.sqrt(1 - mix[1]), 0)
    box_top, box_bottom = _draw_side(side, mix[2], policy.view_height)
    box_left, box_right = _draw_side(side, mix[3], policy.view_width)
    columns, rows = _draw_patches(policy.patch_grid, unit[12:14], len(seeds))
    return Records(
        crop_top=top,
        crop_left=left,
        crop_height=height,
        crop_width=width,
        rotation=_fixed((2 * unit[5] - 1) * policy.rotation_degrees),
        flip=unit[6] < policy.flip_probability,
        partner_sample_ids=np.where(mixed, sample_table[position], sample_ids),
        partner_seeds=seeds,
        box_top=box_top,
        box_left=box_left,
        box_bottom=box_bottom,
        box_right=box_right,
        patch_columns=columns,
        patch_rows=rows,
    )


def _draw_crop(
    policy: AugmentationPolicy, unit: NDArray[np.float64]
) -> tuple[Integers, Integers, Integers, Integers]:
    low, high = policy.crop_scale
    area = low + unit[0] * (high - low)
    ratio = 1 + unit[1] * (policy.crop_ratio - 1)
    ratio = np.where(unit[2] < 0.5, ratio, 1 / ratio)
    width = _fixed(np.minimum(np.sqrt(area * ratio), 1))
    height = _fixed(np.minimum(np.sqrt(area / ratio), 1))
    top = np.floor(unit[3] * (FIXED_POINT - height + 1)).astype(np.int32)
    left = np.floor(unit[4] * (FIXED_POINT - width + 1)).astype(np.int32)
    return top, left, height, width


def _draw_patches(
    grid: int, unit: NDArray[np.float64], count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    # All orders, lexicographically: at most 24.
    orders = np.array(list(permutations(range(grid))), dtype=np.uint8)
    if grid == 1:
        return np.zeros((count, 1), np.uint8), np.zeros((count, 1), np.uint8)
    chosen = np.floor(unit * len(orders)).astype(np.intp)
    return orders[chosen[0]], orders[chosen[1]]


def _draw_side(
    side: NDArray[np.float64], centre: NDArray[np.float64], pixels: int
) -> tuple[Integers, Integers]:
    middle, half = np.floor(centre * pixels), np.floor(side * pixels / 2)
    begin, end = np.maximum(middle - half, 0), np.minimum(middle + half, pixels)
    return begin.astype(np.int32), end.astype(np.int32)


def _fixed(values: NDArray[np.float64]) -> Integers:
    return np.rint(values * FIXED_POINT).astype(np.int32)


def require_known(sample_ids: NDArray[np.uint64], sample_table: NDArray[np.uint64]) -> None:
    """Refuse sample IDs of another data set.

    Raises:
        ViewNotFoundError: names the first that is not in the table.
    """
    positions = np.searchsorted(sample_table, sample_ids)
    known = positions < len(sample_table)
    known[known] = sample_table[positions[known]] == sample_ids[known]
    if not known.all():
        stranger = int(sample_ids[~known][0])
        raise ViewNotFoundError(
            f"sample ID {stranger} is not in the data set of {len(sample_table)} samples",
            sample_id=stranger,
        )
