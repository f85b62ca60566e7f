"""`SoftLabelLoader` taken up after a break: the same views, labels, images and numbers."""

from typing import Any

import numpy as np
import pytest
import torch

from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError
from labelcast.label_set import MissingViews, RowOrder, ViewIndex, index_of_cells
from labelcast.torch import ArrayLabels, Batch, Position, SoftLabelLoader
from tests.client.torch.images.test_soft_label_loader import DATA, POLICY, SEEDS, TABLE

PLAIN = AugmentationPolicy(view_height=4, view_width=4, crop_scale=(0.5, 1.0))
BATCH = 5


def labels_that_lack_some(policy: AugmentationPolicy) -> ArrayLabels:
    """Labels that name their view; every third view is not there."""
    seeds = np.arange(10, dtype=np.uint32)
    present = np.flatnonzero(np.arange(len(TABLE) * len(seeds)) % 3 != 2)
    index = index_of_cells(TABLE.sample_ids, seeds, RowOrder.SEED_MAJOR, present)
    views = index.views()
    named = np.stack([np.searchsorted(TABLE.sample_ids, views.sample_ids), views.seeds], axis=1)
    return ArrayLabels(
        named.astype(np.float32), ViewIndex([index]), LabelKind.LOGITS, view_policy=policy
    )


def loader(**options: Any) -> SoftLabelLoader:
    settings: dict[str, Any] = {
        "policy": POLICY,
        "seeds": SEEDS,
        "batch_size": BATCH,
        "order_key": 3,
        "missing": MissingViews.DROP,
    }
    settings |= options
    return SoftLabelLoader(DATA, labels_that_lack_some(settings["policy"]), **settings)


def assert_same_batch(one: Batch, other: Batch) -> None:
    assert (one.position, one.next_position) == (other.position, other.next_position)
    assert one.epoch == other.epoch == one.position.epoch
    assert one.views.sample_ids.tolist() == other.views.sample_ids.tolist()
    assert one.views.seeds.tolist() == other.views.seeds.tolist()
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.shown, other.shown)
    assert torch.equal(one.mixed_area, other.mixed_area)
    torch.testing.assert_close(one.images, other.images)


@pytest.mark.parametrize("missing", [MissingViews.DROP, MissingViews.DRAW, MissingViews.DRAW_ALL])
@pytest.mark.parametrize("policy", [POLICY, PLAIN, None], ids=["mixed", "plain", "none"])
@pytest.mark.parametrize("every", [1, 2], ids=["all samples", "some"])
def test_a_run_cut_after_any_batch_goes_on_as_if_it_had_not_been(
    missing: MissingViews, policy: AugmentationPolicy | None, every: int
) -> None:
    options: dict[str, Any] = {
        "missing": missing,
        "policy": policy,
        "sample_ids": TABLE.sample_ids[::every],
    }
    whole = list(loader(**options))
    assert {batch.epoch for batch in whole} == set(range(len(SEEDS)))
    for number in np.random.default_rng(every).choice(len(whole), 4, replace=False).tolist():
        rest = loader(**options, start=whole[number].next_position)
        assert len(rest) == len(whole) - number - 1
        for one, other in zip(rest, whole[number + 1 :], strict=True):
            assert_same_batch(one, other)


def test_every_iteration_begins_at_the_start() -> None:
    resumed = loader(start=Position(2, BATCH))
    first, second = list(resumed), list(resumed)
    assert first[0].position == Position(2, BATCH)
    for one, other in zip(first, second, strict=True):
        assert_same_batch(one, other)


def test_a_start_inside_a_batch_gives_the_rest_of_it_with_its_labels() -> None:
    whole = list(loader())
    first, *others = loader(start=Position(0, 2))
    assert first.position == Position(0, 2)
    assert first.next_position == whole[0].next_position
    assert torch.equal(first.labels, whole[0].labels[2:])
    assert torch.equal(first.mixed_area, whole[0].mixed_area[2:])
    torch.testing.assert_close(first.images, whole[0].images[2:])
    for one, other in zip(others, whole[1:], strict=True):
        assert_same_batch(one, other)


def test_image_workers_go_on_at_the_same_place() -> None:
    start = Position(3, BATCH)
    for one, other in zip(
        loader(start=start, image_workers=1, keep_image_bytes=0), loader(start=start), strict=True
    ):
        assert_same_batch(one, other)


def test_a_run_without_soft_labels_goes_on_as_well() -> None:
    def hard(start: Position) -> list[Batch]:
        return list(
            SoftLabelLoader(DATA, None, policy=POLICY, seeds=SEEDS, batch_size=BATCH, start=start)
        )

    whole = hard(Position())
    for one, other in zip(hard(Position(1, 10)), whole[7:], strict=True):
        assert_same_batch(one, other)


def test_a_run_that_is_over_has_nothing_left() -> None:
    last = list(loader())[-1]
    assert last.next_position == Position(len(SEEDS))
    over = loader(start=last.next_position)
    assert (len(over), list(over)) == (0, [])


def test_a_start_beyond_the_run_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequestError, match="give the full list of seeds of the run"):
        loader(seeds=SEEDS[2:], start=Position(3))
    with pytest.raises(InvalidRequestError, match="row 99 of epoch 1"):
        loader(start=Position(1, 99))
