"""The canary: labels of other views are caught, chance is not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy, Mix, draw_records
from labelcast.canary import Canary, shown_classes
from labelcast.errors import MisalignedLabelsError
from labelcast.views import Views

CLASSES = 100
RNG = np.random.default_rng(20)
TABLE = np.sort(RNG.choice(10**6, size=5000, replace=False)).astype(np.uint64)
HARD = RNG.integers(CLASSES, size=len(TABLE))
POLICY = AugmentationPolicy(view_height=32, view_width=32, crop_scale=(0.4, 1.0), mix=Mix.CUTMIX)
PLAIN = replace(POLICY, mix=Mix.NONE)
Classes = NDArray[np.int64]


def views_of(seed: int, count: int = 4096) -> Views:
    chosen = np.random.default_rng(seed).integers(len(TABLE), size=count)
    return Views.of(TABLE[chosen], seed)


def teacher(views: Views, policy: AugmentationPolicy | None, *, errs: float = 0.1) -> Classes:
    """Names the class that takes most of the view, and now and then any other."""
    own, partner = shown_classes(views, policy, TABLE, HARD)
    named = own
    if policy is not None:
        records = draw_records(policy, views.sample_ids, views.seeds, sample_table=TABLE)
        named = np.where(records.box_pixels() > 512, partner, own)
    rng = np.random.default_rng(int(views.seeds[0]))
    return np.where(rng.random(len(views)) < errs, rng.integers(CLASSES, size=len(views)), named)


def agreement(policy: AugmentationPolicy | None, *, errs: float = 0.1) -> float:
    """What a label set records: over other views than the run's first."""
    views = views_of(99, 50_000)
    named, shown = teacher(views, policy, errs=errs), shown_classes(views, policy, TABLE, HARD)
    return float((shown == named).any(axis=0).mean())


def watch(canary: Canary, likeliest: Classes, shown: Classes, *, batch: int = 100) -> Canary:
    for first in range(0, len(likeliest), batch):
        canary.watch(likeliest[first : first + batch], shown[:, first : first + batch])
    return canary


@pytest.mark.parametrize("policy", [POLICY, PLAIN, None], ids=["cutmix", "plain", "none"])
@pytest.mark.parametrize("errs", [0.0, 0.1, 0.5, 0.95])
def test_aligned_labels_pass(policy: AugmentationPolicy | None, errs: float) -> None:
    canary = Canary(agreement(policy, errs=errs))
    for seed in range(3):
        views = views_of(seed)
        labels = teacher(views, policy, errs=errs)
        watch(canary, labels, shown_classes(views, policy, TABLE, HARD))
    assert not canary.watching


def shuffled(views: Views, policy: AugmentationPolicy) -> Classes:
    return np.random.default_rng(5).permutation(teacher(views, policy))


def shifted_by_a_row(views: Views, policy: AugmentationPolicy) -> Classes:
    return np.roll(teacher(views, policy), 1)


def other_class_order(views: Views, policy: AugmentationPolicy) -> Classes:
    named: Classes = np.random.default_rng(6).permutation(CLASSES)[teacher(views, policy)]
    return named


def classes_off_by_one(views: Views, policy: AugmentationPolicy) -> Classes:
    return (teacher(views, policy) + 1) % CLASSES


def seed_off_by_one(views: Views, policy: AugmentationPolicy) -> Classes:
    return teacher(Views.of(views.sample_ids, int(views.seeds[0]) + 1), policy)


def other_key(views: Views, policy: AugmentationPolicy) -> Classes:
    return teacher(views, replace(policy, key=1))


def position_instead_of_id(views: Views, policy: AugmentationPolicy) -> Classes:
    ids = TABLE[np.arange(len(views)) % len(TABLE)]
    return teacher(Views(ids, views.seeds), policy)


MISTAKES = [
    shuffled,
    shifted_by_a_row,
    other_class_order,
    classes_off_by_one,
    seed_off_by_one,
    other_key,
    position_instead_of_id,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_misaligned_labels_are_caught_within_4096_views(
    mistake: Callable[[Views, AugmentationPolicy], Classes],
) -> None:
    canary, views = Canary(agreement(POLICY)), views_of(1)
    with pytest.raises(MisalignedLabelsError, match="do not belong") as caught:
        watch(canary, mistake(views, POLICY), shown_classes(views, POLICY, TABLE, HARD))
    facts = caught.value.facts
    assert float(facts["observed"]) < float(facts["expected"]) - 0.05


@pytest.mark.parametrize("mistake", [shuffled, other_class_order, position_instead_of_id])
def test_mistakes_without_mixing_are_caught(
    mistake: Callable[[Views, AugmentationPolicy], Classes],
) -> None:
    canary, views = Canary(agreement(PLAIN)), views_of(1)
    with pytest.raises(MisalignedLabelsError):
        watch(canary, mistake(views, PLAIN), shown_classes(views, PLAIN, TABLE, HARD))


def test_a_wrong_seed_that_mixes_nothing_cannot_be_seen() -> None:
    """Without a partner both views show the same class: the canary's limit, and no alarm."""
    views = views_of(1)
    labels = seed_off_by_one(views, PLAIN)
    watch(Canary(agreement(PLAIN)), labels, shown_classes(views, PLAIN, TABLE, HARD))


@pytest.mark.parametrize("expected", [0.02, 0.3, 0.7, 0.9, 0.99, 1.0])
def test_noise_near_the_recorded_agreement_is_no_alarm(expected: float) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        agrees = rng.random(4096) < expected - 0.02
        watch(Canary(expected), agrees.astype(np.int64), np.ones((2, 4096), np.int64), batch=7)


@pytest.mark.parametrize("expected", [0.5, 0.9, 1.0])
def test_a_clear_fall_is_an_alarm(expected: float) -> None:
    for seed in range(40):
        agrees = np.random.default_rng(seed).random(4096) < expected - 0.15
        with pytest.raises(MisalignedLabelsError):
            watch(Canary(expected), agrees.astype(np.int64), np.ones((2, 4096), np.int64))


def test_a_few_views_prove_nothing() -> None:
    canary = Canary(1.0)
    canary.watch(np.zeros(199, np.int64), np.ones((2, 199), np.int64))
    with pytest.raises(MisalignedLabelsError):
        canary.watch(np.zeros(1, np.int64), np.ones((2, 1), np.int64))


def test_it_stops_watching_where_it_was_told() -> None:
    canary = Canary(0.9, views_to_watch=300)
    watch(canary, np.ones(299, np.int64), np.ones((2, 299), np.int64))
    assert canary.watching
    canary.watch(np.ones(1, np.int64), np.ones((2, 1), np.int64))
    assert not canary.watching


def test_shown_classes_are_those_of_sample_and_partner() -> None:
    views = views_of(3, 500)
    own, partner = shown_classes(views, POLICY, TABLE, HARD)
    records = draw_records(POLICY, views.sample_ids, views.seeds, sample_table=TABLE)
    by_id = dict(zip(TABLE.tolist(), HARD.tolist(), strict=True))
    for row in range(500):
        assert own[row] == by_id[int(views.sample_ids[row])]
        other = int(records.partner_sample_ids[row])
        seen = by_id[other] if records.box_pixels()[row] else own[row]
        assert partner[row] == seen
    assert (own != partner).any()
