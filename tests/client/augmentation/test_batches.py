"""Views mixed by batches: shared within a batch, and still drawn alone and in any order."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy, Mix, Records, draw_records
from labelcast.augmentation.seeded.batches import batch_mixes, sample_order

SAMPLES, BATCH = 203, 20
TABLE = np.sort(np.random.default_rng(0).choice(2**40, SAMPLES, replace=False)).astype(np.uint64)
POLICY = AugmentationPolicy(
    view_height=32,
    view_width=48,
    crop_scale=(0.3, 1.0),
    flip_probability=0.5,
    mix=Mix.CUTMIX,
    key=2**63 + 7,
    mix_batch=BATCH,
)
BOX = ("box_top", "box_left", "box_bottom", "box_right")


def of_seed(seed: int, policy: AugmentationPolicy = POLICY) -> Records:
    seeds = np.full(SAMPLES, seed, dtype=np.uint32)
    return draw_records(policy, TABLE, seeds, sample_table=TABLE)


def batches_of(seed: int, policy: AugmentationPolicy = POLICY) -> list[NDArray[np.int64]]:
    order = sample_order(SAMPLES, seed=seed, key=policy.key)
    return np.split(order, range(policy.mix_batch, SAMPLES, policy.mix_batch))


def same(first: Records, second: Records) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name))
        for field in fields(Records)
    )


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_partners_are_exchanged_within_a_batch(seed: int) -> None:
    records, batches = of_seed(seed), batches_of(seed)
    assert [len(batch) for batch in batches] == [20] * 10 + [3]
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(SAMPLES))
    for batch in batches:
        partners = np.searchsorted(TABLE, records.partner_sample_ids[batch])
        assert np.array_equal(np.sort(partners), np.sort(batch))
    assert (records.partner_seeds == seed).all()


def test_a_batch_shares_its_box_and_others_have_their_own() -> None:
    records = of_seed(5)
    boxes = np.stack([getattr(records, name) for name in BOX], axis=1)
    of_batches = [np.unique(boxes[batch], axis=0) for batch in batches_of(5)]
    assert [len(box) for box in of_batches] == [1] * 11
    assert len(np.unique(np.concatenate(of_batches), axis=0)) > 8


def test_whole_batches_are_mixed_or_not() -> None:
    policy = replace(POLICY, mix_probability=0.5)
    mixed = 0
    for seed in range(100):
        records = of_seed(seed, policy)
        own = records.partner_sample_ids == TABLE
        for batch in batches_of(seed, policy)[:-1]:
            # Of twenty partners nearly all are others.
            alone = bool(own[batch].all())
            mixed += not alone
            assert not (alone and records.box_pixels()[batch].any())
    assert abs(mixed / 1000 - 0.5) < 0.07


@given(st.lists(st.tuples(st.integers(0, SAMPLES - 1), st.integers(0, 5)), max_size=30))
def test_any_view_is_drawn_alone_and_in_any_order(views: list[tuple[int, int]]) -> None:
    at = np.array([sample for sample, _ in views], dtype=np.intp)
    seeds = np.array([seed for _, seed in views], dtype=np.uint32)
    drawn = draw_records(POLICY, TABLE[at], seeds, sample_table=TABLE)
    for row, (sample, seed) in enumerate(views):
        assert same(drawn[row : row + 1], of_seed(seed)[sample : sample + 1])


def test_what_is_no_mix_is_drawn_as_ever() -> None:
    by_batch, by_view = of_seed(3), of_seed(3, replace(POLICY, mix_batch=0))
    for name in ("crop_top", "crop_left", "crop_height", "crop_width", "rotation", "flip"):
        assert np.array_equal(getattr(by_batch, name), getattr(by_view, name))
    assert not np.array_equal(by_batch.partner_sample_ids, by_view.partner_sample_ids)
    plain = replace(POLICY, mix=Mix.NONE)
    assert same(of_seed(3, plain), of_seed(3, replace(plain, mix_batch=0)))


def test_partners_orders_and_boxes_are_drawn_evenly() -> None:
    seeds = np.arange(8000, dtype=np.uint32)
    first = np.zeros(8000, dtype=np.int64)
    partners, words = batch_mixes(first, seeds, samples=40, batch=8, key=3)
    counts = np.bincount(partners, minlength=40)
    # Any sample is in the same batch as often, and is then the partner as often; itself comes as
    # one of eight.
    others = np.delete(counts, 0)
    assert abs(counts[0] - 1000) < 150
    expected = 7000 / 39
    assert float(((others - expected) ** 2 / expected).sum()) < 73  # one in a thousand
    shares = words / 2**32
    assert np.abs(shares.mean(axis=1) - 0.5).max() < 0.015
    assert np.abs(np.corrcoef(shares) - np.eye(4)).max() < 0.05
    places = [sample_order(40, seed=seed, key=3)[0] for seed in range(4000)]
    evenly = np.bincount(places, minlength=40)
    assert float(((evenly - 100) ** 2 / 100).sum()) < 73


def test_the_order_of_a_seed_is_its_own() -> None:
    one = sample_order(SAMPLES, seed=1, key=1)
    assert not np.array_equal(one, sample_order(SAMPLES, seed=2, key=1))
    assert not np.array_equal(one, sample_order(SAMPLES, seed=1, key=2))
    assert np.array_equal(one, sample_order(SAMPLES, seed=1, key=1))


def test_threads_draw_the_same() -> None:
    whole = {seed: of_seed(seed, replace(POLICY, key=99)) for seed in range(12)}
    with ThreadPoolExecutor(8) as pool:
        again = pool.map(
            lambda seed: of_seed(seed, replace(POLICY, key=98 + seed % 2)), [*whole] * 9
        )
        for seed, records in zip([*whole] * 9, again, strict=True):
            assert same(records, whole[seed]) == bool(seed % 2)


def test_batches_stay_what_they_are() -> None:
    hasher = hashlib.sha256()
    for seed in (0, 7, 2**32 - 1):
        records = of_seed(seed, replace(POLICY, patch_grid=2, mix_probability=0.7))
        for column in ("partner_sample_ids", *BOX, "patch_columns", "patch_rows"):
            hasher.update(getattr(records, column).astype("<u8").tobytes())
    assert hasher.hexdigest() == DIGEST


# Changing it is a breaking change: stored labels would belong to other views.
DIGEST = "ad3c77864582cea4c7b98c7922e4068d1dbabe8f94cec9f76cc84bd9e5b92701"
