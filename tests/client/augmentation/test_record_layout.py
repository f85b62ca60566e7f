"""Recorded views ⇄ packed rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.augmentation import Mix, MixTable, RecordedPolicy, RecordedViews, RecordLayout
from labelcast.augmentation.recorded.packing import FINEST
from labelcast.errors import ManifestError

EVERYTHING = RecordedPolicy(
    view_height=224, view_width=200, mix=Mix.CUTMIX, operations=2, patch_grid=2, cutout=True
)


def drawn(policy: RecordedPolicy, count: int, *, side: int, seed: int = 0) -> RecordedViews:
    """Records as producers draw them, on images of one size."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 50, count).astype(np.uint64)
    views = RecordedViews.plain(ids, np.zeros(count, np.uint32), policy)
    size = generator.integers(1, side + 1, (count, 2))
    start = (generator.random((count, 2)) * (side - size + 1)).astype(int)
    views.crop[:] = (np.concatenate([start, size], axis=1) / side).astype(np.float32)
    views.flip[:] = generator.random(count) < 0.5
    views.operations[:] = generator.integers(0, 16, views.operations.shape)
    views.magnitudes[:] = generator.normal(size=views.magnitudes.shape).astype(np.float16)
    views.patches[:] = generator.permuted(views.patches, axis=1)
    views.cutout[:, 4:] = generator.integers(0, 256, views.cutout[:, 4:].shape)
    return views


def mixes_of(count: int, seed: int = 0) -> MixTable:
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, 100, (count, 2))
    return MixTable(
        generator.random(count), np.concatenate([corner, corner + 100], 1, dtype=np.int32)
    )


def round_trip(
    policy: RecordedPolicy, views: RecordedViews, table: MixTable | None
) -> tuple[RecordLayout, RecordedViews]:
    samples = np.arange(50, dtype=np.uint64)
    count = len(views)
    layout = RecordLayout.for_records(
        views.crop, num_samples=50, num_mixes=0 if table is None else len(table.lam)
    )
    generator = np.random.default_rng(1)
    partners = generator.integers(0, 50, count)
    mixes = np.zeros(count, int) if table is None else generator.integers(0, len(table.lam), count)
    packed = layout.pack(policy, views, partners, mixes)
    assert packed.shape == (count, layout.stride(policy))
    ids = views.partner_sample_ids.copy()
    back = layout.unpack(
        policy,
        packed,
        sample_ids=ids,
        seeds=views.partner_seeds,
        sample_table=samples,
        mixes=table,
    )
    if table is not None:
        np.testing.assert_array_equal(back.partner_sample_ids, samples[partners])
        np.testing.assert_array_equal(back.lam, table.lam[mixes])
        np.testing.assert_array_equal(back.box, table.box[mixes])
    return layout, back


@pytest.mark.parametrize("side", [32, 224, 500])
def test_every_field_survives(side: int) -> None:
    views = drawn(EVERYTHING, 300, side=side)
    layout, back = round_trip(EVERYTHING, views, mixes_of(7))
    assert (layout.crop_rows, layout.crop_columns) == (side, side)
    for name in ("flip", "operations", "magnitudes", "patches"):
        np.testing.assert_array_equal(getattr(back, name), getattr(views, name))
    # The fractions of one image size come back bit for bit in the precision that they had.
    np.testing.assert_array_equal(back.crop.astype(np.float32), views.crop.astype(np.float32))
    np.testing.assert_allclose(back.cutout, views.cutout, atol=1 / FINEST)


def test_records_are_as_small_as_a_tight_form_of_them() -> None:
    policy = RecordedPolicy(view_height=224, view_width=224, mix=Mix.CUTMIX)
    views = drawn(policy, 300, side=224)
    layout = RecordLayout.for_records(views.crop, num_samples=10_000, num_mixes=3000)
    assert layout.stride(policy) * 8 <= 75


def test_crops_of_many_image_sizes_find_the_same_pixels() -> None:
    generator = np.random.default_rng(0)
    sides = generator.integers(100, 2000, 500)
    policy = RecordedPolicy(view_height=64, view_width=64)
    views = RecordedViews.plain(np.zeros(500, np.uint64), np.zeros(500, np.uint32), policy)
    pixels = (generator.random((500, 4)) * sides[:, None] / 2).astype(int) + 1
    views.crop[:] = (pixels / sides[:, None]).astype(np.float32)
    layout, back = round_trip(policy, views, None)
    assert layout.crop_rows == FINEST
    np.testing.assert_array_equal(np.rint(back.crop * sides[:, None]), pixels)


@given(data=st.binary(min_size=11, max_size=11))
def test_foreign_bytes_give_views_or_a_typed_error(data: bytes) -> None:
    policy = RecordedPolicy(view_height=224, view_width=224, mix=Mix.CUTMIX)
    layout = RecordLayout(crop_rows=224, crop_columns=224, partner_bits=14, mix_bits=12)
    packed = np.frombuffer(data, np.uint8)[None, : layout.stride(policy)]
    try:
        views = layout.unpack(
            policy,
            packed,
            sample_ids=np.zeros(1, np.uint64),
            seeds=np.zeros(1, np.uint32),
            sample_table=np.arange(9000, dtype=np.uint64),
            mixes=mixes_of(3000),
        )
    except ManifestError:
        return
    assert (views.crop >= 0).all()
    assert (views.crop[:, :2] + views.crop[:, 2:] <= 1).all()


@pytest.mark.parametrize("lam", [-0.1, 1.1, float("nan")])
def test_a_mix_outside_its_range_is_refused(lam: float) -> None:
    policy = RecordedPolicy(view_height=224, view_width=224, mix=Mix.MIXUP)
    table = MixTable(np.array([0.5, lam]), np.zeros((2, 4), np.int32))
    with pytest.raises(ManifestError, match="row 1"):
        MixTable.unpack(table.pack(), policy)


@pytest.mark.parametrize("box", [[5, 0, 4, 9], [0, 0, 225, 9], [0, 9, 9, 8]])
def test_a_box_outside_its_view_is_refused(box: list[int]) -> None:
    policy = RecordedPolicy(view_height=224, view_width=224, mix=Mix.CUTMIX)
    table = MixTable(np.array([0.5]), np.array([box], np.int32))
    with pytest.raises(ManifestError, match="row 0"):
        MixTable.unpack(table.pack(), policy)


def test_policies_are_read_strictly() -> None:
    assert RecordedPolicy.from_json(EVERYTHING.as_json()) == EVERYTHING
    for change in ({"mix": "blend"}, {"operations": 9}, {"cutout": 1}, {"extra": 1}):
        with pytest.raises(ManifestError):
            RecordedPolicy.from_json(EVERYTHING.as_json() | change)
