"""Records: golden, pure, within bounds, and spread as the recipe says."""

import hashlib
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.augmentation import (
    FIXED_POINT,
    AugmentationPolicy,
    Mix,
    Records,
    draw_records,
    philox,
)
from labelcast.errors import ViewNotFoundError

# Patches have a column for each strip; the rest is pinned as it was before there were any.
COLUMNS = [field.name for field in fields(Records) if not field.name.startswith("patch_")]
TABLE = np.array([3, 8, 2**32 + 3, 2**40, 2**64 - 1], dtype=np.uint64)
POLICY = AugmentationPolicy(
    view_height=224,
    view_width=192,
    rotation_degrees=15.0,
    crop_scale=(0.25, 0.9),
    crop_ratio=4 / 3,
    flip_probability=0.5,
    mix=Mix.CUTMIX,
    mix_probability=0.75,
    key=0x0123_4567_89AB_CDEF,
)
WIDE = replace(POLICY, crop_scale=(1e-4, 1.0), crop_ratio=16.0, rotation_degrees=180.0)
TINY = replace(POLICY, view_height=1, view_width=2**14, mix_probability=1.0)


def many(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """`count` views: every sample under seeds spread over their whole range."""
    seeds = np.linspace(0, 2**32 - 1, count).astype(np.uint32)
    return TABLE[np.arange(count) % len(TABLE)], seeds


def draw(policy: AugmentationPolicy, count: int = 10_000) -> Records:
    return draw_records(policy, *many(count), sample_table=TABLE)


def listed(records: Records) -> dict[str, list[int]]:
    return {name: [int(value) for value in getattr(records, name)] for name in COLUMNS}


def test_records_stay_what_they_are() -> None:
    ids = np.array([3, 2**32 + 3, 2**64 - 1, 3], dtype=np.uint64)
    seeds = np.array([0, 0, 2**32 - 1, 1], dtype=np.uint32)
    assert listed(draw_records(POLICY, ids, seeds, sample_table=TABLE)) == GOLDEN


@pytest.mark.parametrize("name", ["policy", "wide", "tiny"])
def test_ten_thousand_records_stay_what_they_are(name: str) -> None:
    records = draw({"policy": POLICY, "wide": WIDE, "tiny": TINY}[name])
    hasher = hashlib.sha256()
    for column in COLUMNS:
        hasher.update(getattr(records, column).astype("<u8").tobytes())
    assert hasher.hexdigest() == DIGESTS[name]


@given(st.lists(st.integers(0, 199), max_size=40))
def test_a_record_does_not_depend_on_its_neighbours(rows: list[int]) -> None:
    ids, seeds = many(200)
    chosen = np.array(rows, dtype=np.intp)
    alone = draw_records(POLICY, ids[chosen], seeds[chosen], sample_table=TABLE)
    assert len(alone) == len(rows)
    assert listed(alone) == listed(draw(POLICY, 200)[chosen])


def test_another_key_sample_or_seed_is_another_view() -> None:
    seeds = np.arange(1000, dtype=np.uint32)
    ids = np.full(1000, 3, dtype=np.uint64)
    one = draw_records(POLICY, ids, seeds, sample_table=TABLE)
    rekeyed = draw_records(replace(POLICY, key=POLICY.key + 2**32), ids, seeds, sample_table=TABLE)
    other = draw_records(POLICY, ids + np.uint64(2**32), seeds, sample_table=TABLE)
    for changed in (rekeyed, other, one[np.roll(np.arange(1000), 1)]):
        assert (one.crop_top == changed.crop_top).mean() < 0.01


def test_a_larger_data_set_changes_partners_alone() -> None:
    ids, seeds = many(500)
    small = draw_records(POLICY, ids, seeds, sample_table=TABLE)
    grown = np.sort(np.append(TABLE, np.arange(100, 120, dtype=np.uint64)))
    large = draw_records(POLICY, ids, seeds, sample_table=grown)
    partners = listed(small).pop("partner_sample_ids"), listed(large).pop("partner_sample_ids")
    assert partners[0] != partners[1]
    for name in set(COLUMNS) - {"partner_sample_ids"}:
        assert np.array_equal(getattr(small, name), getattr(large, name))


@pytest.mark.parametrize("policy", [POLICY, WIDE, TINY], ids=["policy", "wide", "tiny"])
def test_every_field_is_within_its_bounds(policy: AugmentationPolicy) -> None:
    records, (_, seeds) = draw(policy), many(10_000)
    for begin, extent in (
        (records.crop_top, records.crop_height),
        (records.crop_left, records.crop_width),
    ):
        assert extent.min() > 0
        assert begin.min() >= 0
        assert (begin + extent).max() <= FIXED_POINT
    assert np.abs(records.rotation).max() <= policy.rotation_degrees * FIXED_POINT
    assert 0 <= records.box_top.min() <= records.box_bottom.max() <= policy.view_height
    assert 0 <= records.box_left.min() <= records.box_right.max() <= policy.view_width
    assert (records.box_top <= records.box_bottom).all()
    assert (records.box_left <= records.box_right).all()
    pixels = records.box_pixels()
    assert 0 <= pixels.min() <= pixels.max() <= policy.view_height * policy.view_width
    assert np.isin(records.partner_sample_ids, TABLE).all()
    assert np.array_equal(records.partner_seeds, seeds)


def test_the_crop_covers_what_the_policy_says() -> None:
    records = draw(replace(POLICY, crop_ratio=1.1))
    area = records.crop_height.astype(float) * records.crop_width / FIXED_POINT**2
    assert 0.2499 < area.min() < 0.27
    assert 0.88 < area.max() < 0.9001
    assert abs(area.mean() - 0.575) < 0.01
    ratio = records.crop_width / records.crop_height
    assert 1 / 1.1001 < ratio.min() < 0.92
    assert 1.09 < ratio.max() < 1.1001
    assert abs((ratio > 1).mean() - 0.5) < 0.025
    assert abs(records.flip.mean() - 0.5) < 0.025
    assert abs(records.rotation.mean()) < 0.3 * FIXED_POINT


def test_a_policy_that_changes_nothing_gives_the_whole_image() -> None:
    records = draw(AugmentationPolicy(view_height=5, view_width=5))
    assert set(records.crop_height) == set(records.crop_width) == {FIXED_POINT}
    for name in ("crop_top", "crop_left", "rotation", "flip"):
        assert not getattr(records, name).any()
    assert not records.box_pixels().any()


def test_without_mixing_every_view_is_its_own_partner() -> None:
    ids, _ = many(10_000)
    for policy in (replace(POLICY, mix=Mix.NONE), replace(POLICY, mix_probability=0.0)):
        records = draw(policy)
        assert np.array_equal(records.partner_sample_ids, ids)
        assert not records.box_pixels().any()


def test_views_are_mixed_as_often_as_the_policy_says() -> None:
    ids, _ = many(10_000)
    mixed = draw(POLICY).box_pixels() > 0
    assert abs(mixed.mean() - 0.75) < 0.02
    assert (draw(POLICY).partner_sample_ids[~mixed] == ids[~mixed]).mean() > 0.99


def test_boxes_are_as_large_as_a_uniform_lambda_makes_them() -> None:
    policy = replace(POLICY, mix_probability=1.0, view_height=1000, view_width=1000)
    records, (ids, seeds) = draw(policy), many(10_000)
    halves = (ids & np.uint64(2**32 - 1)).astype(np.uint32), (ids >> np.uint64(32))
    counter = (halves[0], halves[1].astype(np.uint32), seeds, np.full_like(seeds, 2))
    left_over = philox(counter, policy.key)[1] / 2**32  # λ
    inside = (
        (records.box_top > 0)
        & (records.box_left > 0)
        & (records.box_bottom < 1000)
        & (records.box_right < 1000)
    )
    assert inside.any()
    unclipped = 1 - left_over[inside]
    assert np.abs(records.box_pixels()[inside] / 1e6 - unclipped).max() < 0.005
    assert (records.box_pixels() / 1e6 <= 1 - left_over + 1e-9).all()


def test_partners_are_drawn_evenly() -> None:
    table = np.sort(np.arange(40, dtype=np.uint64) ** 3 + np.uint64(2**33))
    seeds = np.arange(20_000, dtype=np.uint32)
    policy = replace(POLICY, mix_probability=1.0)
    ids = np.full(20_000, table[0])
    records = draw_records(policy, ids, seeds, sample_table=table)
    counts = np.bincount(np.searchsorted(table, records.partner_sample_ids), minlength=40)
    assert float(((counts - 500) ** 2 / 500).sum()) < 72.1  # one in a thousand, 39 degrees


def test_patches_change_nothing_else() -> None:
    plain, shuffled = draw(POLICY, 500), draw(replace(POLICY, patch_grid=3), 500)
    assert listed(plain) == listed(shuffled)
    assert (plain.patch_columns.shape, shuffled.patch_rows.shape) == ((500, 1), (500, 3))
    assert not plain.patch_columns.any()
    assert not plain.patch_rows.any()


@pytest.mark.parametrize("grid", [2, 3, 4])
def test_every_order_of_patches_is_as_likely(grid: int) -> None:
    records = draw(replace(POLICY, patch_grid=grid))
    columns, rows = (
        np.unique(orders, axis=0, return_inverse=True)
        for orders in (records.patch_columns, records.patch_rows)
    )
    number = math.factorial(grid)
    for orders, _ in (columns, rows):
        assert orders.shape == (number, grid)
        assert (np.sort(orders, axis=1) == np.arange(grid)).all()
    # Columns and rows are drawn apart: every pair of orders comes as often.
    counts = np.bincount(columns[1].reshape(-1) * number + rows[1].reshape(-1), minlength=number**2)
    chi = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    freedom = number**2 - 1
    assert abs(chi - freedom) < 4 * math.sqrt(2 * freedom)


def test_patches_stay_what_they_are() -> None:
    records = draw(replace(POLICY, patch_grid=4), 6)
    assert records.patch_columns.tolist() == GOLDEN_COLUMNS
    assert records.patch_rows.tolist() == GOLDEN_ROWS


@pytest.mark.parametrize("stranger", [0, 4, 2**32, 2**64 - 2])
def test_an_unknown_sample_is_named(stranger: int) -> None:
    ids = np.array([3, stranger, 7], dtype=np.uint64)
    with pytest.raises(ViewNotFoundError) as caught:
        draw_records(POLICY, ids, np.zeros(3, np.uint32), sample_table=TABLE)
    assert caught.value.facts["sample_id"] == str(stranger)


def test_an_empty_data_set_knows_no_sample() -> None:
    with pytest.raises(ViewNotFoundError):
        draw_records(
            POLICY, TABLE, np.zeros(5, np.uint32), sample_table=np.empty(0, dtype=np.uint64)
        )


# Changing these is a breaking change: stored labels would belong to other views.
GOLDEN = {
    "crop_top": [15117, 6506, 2899, 7081],
    "crop_left": [4010, 5563, 5120, 1810],
    "crop_height": [50305, 53685, 44411, 53438],
    "crop_width": [58672, 47384, 45925, 62960],
    "rotation": [-514264, -841602, -305863, -565211],
    "flip": [0, 1, 1, 0],
    "partner_sample_ids": [8, 8, 4294967299, 3],
    "partner_seeds": [0, 0, 4294967295, 1],
    "box_top": [0, 16, 0, 76],
    "box_left": [0, 0, 0, 177],
    "box_bottom": [120, 198, 131, 76],
    "box_right": [125, 129, 137, 177],
}
DIGESTS = {
    "policy": "d37b02d3217132240d9cb6d04e2eb4d934432d4ddfd97012d1b319526a91a4fa",
    "wide": "860f44ef4edebdbca6adf2018b3f703dcc7230a99b3112731b3306541c193f2e",
    "tiny": "65daa7898b8e53961ae3a4b55dae3c2681e4afbde6a849942330fdeae3fdcffd",
}
GOLDEN_COLUMNS = [
    [3, 2, 0, 1],
    [2, 3, 0, 1],
    [3, 2, 0, 1],
    [3, 1, 0, 2],
    [3, 1, 0, 2],
    [2, 0, 1, 3],
]
GOLDEN_ROWS = [
    [1, 0, 2, 3],
    [1, 3, 2, 0],
    [3, 0, 1, 2],
    [2, 3, 0, 1],
    [3, 0, 1, 2],
    [2, 3, 1, 0],
]
