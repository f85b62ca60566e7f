"""Context of views, derived once more here, view by view, from what a policy draws."""

from dataclasses import replace

import numpy as np
import pytest

from labelcast.augmentation import AugmentationPolicy, Mix, draw_records
from labelcast.codec import ContextShape, Rows
from labelcast.context.rows import LARGEST_GEOMETRY
from labelcast.context.view_context import ViewContext
from labelcast.errors import ViewNotFoundError
from labelcast.views import Views

RNG = np.random.default_rng(8)
TABLE = np.unique(RNG.integers(2**64, size=400, dtype=np.uint64))
CLASSES = 50
HARD = RNG.integers(CLASSES, size=len(TABLE))
POLICY = AugmentationPolicy(
    view_height=14,
    view_width=10,
    rotation_degrees=40.0,
    crop_scale=(0.3, 0.9),
    crop_ratio=1.5,
    mix=Mix.CUTMIX,
    mix_probability=0.6,
    key=11,
)
PLAIN = replace(POLICY, mix=Mix.NONE)
CONTEXT = ViewContext(POLICY, TABLE, HARD)
VIEWS = Views.of(RNG.choice(TABLE, size=600), RNG.integers(2**32, size=600))


def crop_of(policy: AugmentationPolicy, sample_id: int, seed: int) -> list[float]:
    """Crop, rotation and flip of one view, from its record."""
    record = draw_records(
        policy, np.array([sample_id], np.uint64), np.array([seed], np.uint32), sample_table=TABLE
    )
    sides = (record.crop_top, record.crop_left, record.crop_height, record.crop_width)
    return [
        *(2 * int(side[0]) / 65536 - 1 for side in sides),
        int(record.rotation[0]) / 65536 / 45,
        float(record.flip[0]),
    ]


def row_of(policy: AugmentationPolicy, sample_id: int, seed: int) -> bytes:
    """Context row of one view."""
    record = draw_records(
        policy, np.array([sample_id], np.uint64), np.array([seed], np.uint32), sample_table=TABLE
    )
    top, left, bottom, right = (
        int(side[0])
        for side in (record.box_top, record.box_left, record.box_bottom, record.box_right)
    )
    pixels = (bottom - top) * (right - left)
    partner = int(record.partner_sample_ids[0]) if pixels else sample_id
    # What a partner shows is its own unmixed view: the same words, drawn without mixing.
    unmixed = replace(policy, mix=Mix.NONE)
    geometry = [
        *crop_of(policy, sample_id, seed),
        *crop_of(unmixed, partner, int(record.partner_seeds[0])),
        2 * top / policy.view_height - 1 if pixels else -1,
        2 * left / policy.view_width - 1 if pixels else -1,
        2 * bottom / policy.view_height - 1 if pixels else -1,
        2 * right / policy.view_width - 1 if pixels else -1,
        pixels / (policy.view_height * policy.view_width),
    ]
    labels = [int(HARD[TABLE.tolist().index(number)]) for number in (sample_id, partner)]
    return np.array(labels, "<u4").tobytes() + np.array(geometry, "<f4").tobytes()


def expected_rows(policy: AugmentationPolicy, views: Views) -> Rows:
    pairs = zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True)
    content = b"".join(row_of(policy, sample_id, seed) for sample_id, seed in pairs)
    return np.frombuffer(content, np.uint8).reshape(len(views), -1)


@pytest.mark.parametrize("policy", [POLICY, PLAIN], ids=["mixed", "plain"])
def test_context_rows_are_those_worked_out_view_by_view(policy: AugmentationPolicy) -> None:
    rows = ViewContext(policy, TABLE, HARD).rows(VIEWS)
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows, expected_rows(policy, VIEWS))


def test_a_view_that_shows_no_partner_is_its_own() -> None:
    known = CONTEXT.of(VIEWS)
    records = draw_records(POLICY, VIEWS.sample_ids, VIEWS.seeds, sample_table=TABLE)
    alone = records.box_pixels() == 0
    # Some of them drew a partner, but a box that was clipped away.
    assert (alone & (records.partner_sample_ids != VIEWS.sample_ids)).any()
    assert 100 < alone.sum() < 500
    shares = known.geometry[:, -1]
    np.testing.assert_array_equal(shares == 0, alone)
    assert shares.max() <= 1
    np.testing.assert_array_equal(known.classes[alone, 0], known.classes[alone, 1])
    np.testing.assert_array_equal(known.geometry[alone, :6], known.geometry[alone, 6:12])
    assert (known.classes[~alone, 0] != known.classes[~alone, 1]).mean() > 0.9
    assert (known.geometry[~alone, :6] != known.geometry[~alone, 6:12]).any(axis=1).mean() > 0.9


def test_samples_without_a_policy_are_whole_and_unmixed() -> None:
    known = ViewContext(None, TABLE, HARD).of(Views.of(TABLE[::-1], 5))
    np.testing.assert_array_equal(known.classes, np.stack([HARD, HARD], axis=1)[::-1])
    whole = [-1, -1, 1, 1, 0, 0]
    assert (known.geometry == [*whole, *whole, -1, -1, -1, -1, 0]).all()


@pytest.mark.parametrize("context", [CONTEXT, ViewContext(None, TABLE, HARD)], ids=["cutmix", "no"])
def test_rows_depend_on_no_other_view_and_come_in_order(context: ViewContext) -> None:
    together = context.rows(VIEWS)
    assert together.shape == (600, ContextShape(1).row_stride)
    order = np.random.default_rng(0).permutation(600)
    np.testing.assert_array_equal(context.rows(VIEWS[order]), together[order])
    alone = [context.rows(VIEWS[at : at + 1]) for at in range(0, 600, 13)]
    np.testing.assert_array_equal(np.concatenate(alone), together[::13])
    halves = [context.rows(VIEWS[:7]), context.rows(VIEWS[7:])]
    np.testing.assert_array_equal(np.concatenate(halves), together)
    assert context.rows(VIEWS[:0]).shape == (0, together.shape[1])


@pytest.mark.parametrize("dtype", ["<u4", np.int64, np.int32, np.uint8])
def test_hard_labels_may_be_any_integers(dtype: str) -> None:
    other = ViewContext(POLICY, TABLE, HARD.astype(dtype))
    np.testing.assert_array_equal(other.rows(VIEWS), CONTEXT.rows(VIEWS))


@pytest.mark.parametrize("policy", [POLICY, PLAIN, None], ids=["mixed", "plain", "none"])
@pytest.mark.parametrize("stranger", [0, int(TABLE[7]) + 1, 2**64 - 1])
def test_a_sample_that_is_not_in_the_table_is_refused(
    policy: AugmentationPolicy | None, stranger: int
) -> None:
    views = Views.of(np.array([int(TABLE[3]), stranger], np.uint64), 0)
    with pytest.raises(ViewNotFoundError, match=str(stranger)):
        ViewContext(policy, TABLE, HARD).rows(views)


def test_whatever_a_policy_draws_is_accepted_by_the_codec() -> None:
    wild = AugmentationPolicy(
        view_height=1,
        view_width=3,
        rotation_degrees=180.0,
        crop_scale=(0.01, 1.0),
        crop_ratio=4.0,
        mix=Mix.CUTMIX,
        mix_probability=1.0,
    )
    rows = ViewContext(wild, TABLE, HARD).rows(VIEWS)
    known = ContextShape(1).unpack(rows, CLASSES)
    assert np.abs(known.geometry).max() <= LARGEST_GEOMETRY
    assert np.abs(known.geometry[:, 4]).max() > 3.9
