"""`SoftLabelLoader`: the right label beside the right view, epoch after epoch."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast import LabelKind, Views
from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.canary import Canary, shown_classes
from labelcast.errors import (
    ContractMismatchError,
    DifferentImageError,
    InvalidRequestError,
    MisalignedLabelsError,
)
from labelcast.identifiers import Digest
from labelcast.label_set import GridIndex, RowOrder, StoredViews, ViewIndex
from labelcast.label_set.control_views import ControlViews
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.label_set.student_side import NOTHING_KNOWN, UNCHECKED, Side, Unchecked
from labelcast.torch import (
    ArrayLabels,
    Batch,
    SampleTable,
    SoftLabelLoader,
    UncomparedImagesWarning,
    ViewRenderer,
)
from labelcast.torch.sources import LabelSource
from tests.factories.pictures import CLASSES, Pictures

POLICY = AugmentationPolicy(
    view_height=4,
    view_width=4,
    crop_scale=(0.5, 1.0),
    flip_probability=0.5,
    mix=Mix.CUTMIX,
    mix_probability=0.7,
)
DATA = Pictures(23, 5, 5)
TABLE = SampleTable(DATA)
SEEDS = [4, 0, 4, 9]


def naming_labels(policy: AugmentationPolicy | Unchecked | None = POLICY) -> ArrayLabels:
    """Labels that say whose they are: (sample's position, seed)."""
    seeds = np.arange(10, dtype=np.uint32)
    index = GridIndex(TABLE.sample_ids, seeds, RowOrder.SEED_MAJOR)
    views = index.views()
    positions = np.searchsorted(TABLE.sample_ids, views.sample_ids)
    array = np.stack([positions, views.seeds], axis=1).astype(np.float32)
    return ArrayLabels(array, ViewIndex([index]), LabelKind.LOGITS, view_policy=policy)


def loader_of(
    source: LabelSource | None = None,
    *,
    policy: AugmentationPolicy | None = POLICY,
    order_key: int = 0,
    seeds: list[int] | None = None,
    batch_size: int = 5,
    **options: Any,
) -> SoftLabelLoader:
    return SoftLabelLoader(
        DATA,
        source,
        policy=policy,
        seeds=SEEDS if seeds is None else seeds,
        batch_size=batch_size,
        order_key=order_key,
        **options,
    )


def named(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.views.sample_ids.tolist(), batch.views.seeds.tolist(), strict=True))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_labels_belong_to_their_views(batch_size: int) -> None:
    loader = loader_of(naming_labels(), batch_size=batch_size)
    batches = list(loader)
    assert len(batches) == len(loader) == 4 * -(-23 // batch_size)
    for batch in batches:
        positions = np.searchsorted(TABLE.sample_ids, batch.views.sample_ids)
        assert batch.labels[:, 0].tolist() == positions.tolist()
        assert batch.labels[:, 1].tolist() == batch.views.seeds.tolist()


def test_an_epoch_holds_every_sample_once_under_its_seed() -> None:
    views = [view for batch in loader_of() for view in named(batch)]
    for epoch, seed in enumerate(SEEDS):
        of_epoch = views[23 * epoch : 23 * (epoch + 1)]
        assert sorted(of_epoch) == [(sample_id, seed) for sample_id in TABLE.sample_ids.tolist()]
    # The two epochs under seed 4 show the same views in two orders.
    assert views[:23] != views[46:69]


def test_images_are_those_of_the_renderer() -> None:
    renderer = ViewRenderer(POLICY, TABLE.sample_ids)
    hard = TABLE.hard_labels()
    for batch in loader_of(naming_labels()):
        partners = TABLE.images(renderer.partners(batch.views).sample_ids)
        images = renderer.render(batch.views, TABLE.images(batch.views.sample_ids), partners)
        assert torch.allclose(batch.images, images, atol=1e-6)
        shown = shown_classes(batch.views, POLICY, TABLE.sample_ids, hard)
        assert batch.shown.tolist() == shown.tolist()
        assert batch.mixed_area.tolist() == renderer.mixed_area(batch.views).tolist()


def test_a_run_without_soft_labels_sees_the_same_views() -> None:
    for soft, hard in zip(loader_of(naming_labels()), loader_of(None), strict=True):
        assert (soft.epoch, named(soft)) == (hard.epoch, named(hard))
        assert torch.equal(soft.images, hard.images)
        assert torch.equal(soft.shown, hard.shown)
        assert torch.equal(soft.mixed_area, hard.mixed_area)
        assert hard.labels.shape == (len(hard.views), 0)


def plan(loader: SoftLabelLoader) -> list[tuple[int, list[int], list[int]]]:
    return [
        (batch.position.epoch, batch.views.sample_ids.tolist(), batch.views.seeds.tolist())
        for batch in loader.plan
    ]


def test_order_is_a_function_of_seeds_and_order_key_alone() -> None:
    loader = loader_of()
    first = plan(loader)
    assert len(list(loader)) == len(first)
    assert plan(loader) == first == plan(loader_of(naming_labels(), keep_image_bytes=0))
    assert plan(loader_of(policy=None)) == first
    assert plan(loader_of(order_key=1)) != first
    ids = [sample_ids for _, sample_ids, _ in first]
    assert [sample_ids for _, sample_ids, _ in plan(loader_of(seeds=[1, 2, 3, 4]))] == ids
    # Another batch size cuts the same order elsewhere.
    whole = [view for _, sample_ids, _ in plan(loader_of(batch_size=7)) for view in sample_ids]
    assert whole == [view for sample_ids in ids for view in sample_ids]


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert plan(loader_of(seeds=[*SEEDS, 5]))[: len(loader_of())] == plan(loader_of())


def test_image_workers_change_nothing() -> None:
    alone = list(loader_of(naming_labels(), seeds=[3]))
    for keep_image_bytes in (0, 2**20):
        loader = loader_of(
            naming_labels(), seeds=[3], image_workers=1, keep_image_bytes=keep_image_bytes
        )
        for batch, other in zip(loader, alone, strict=True):
            assert named(batch) == named(other)
            assert torch.equal(batch.images, other.images)
            assert torch.equal(batch.labels, other.labels)


class Teacher(LabelSource):
    """Gives the class of each view's sample, or what a mistake makes of it."""

    digest: Digest | None = None
    label_kind = LabelKind.LOGITS
    view_policy = POLICY
    view_records = None
    made_for = NOTHING_KNOWN
    fingerprints: SampleFingerprints | Unchecked | None = UNCHECKED
    control_views: ControlViews | Unchecked | None = UNCHECKED
    recorded_agreement: float | None = None

    def __init__(
        self,
        *,
        wrong_by: int = 0,
        recorded_agreement: float | None = None,
        made_for: Side = NOTHING_KNOWN,
        fingerprints: SampleFingerprints | Unchecked | None = UNCHECKED,
    ) -> None:
        self._wrong_by = wrong_by
        self.recorded_agreement = recorded_agreement
        self.made_for = made_for
        self.fingerprints = fingerprints

    @property
    def stored_views(self) -> StoredViews:
        return naming_labels().stored_views

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        for views in batches:
            at = np.searchsorted(TABLE.sample_ids, views.sample_ids)
            classes = (TABLE.hard_labels()[at] + self._wrong_by) % len(CLASSES)
            yield torch.eye(len(CLASSES))[classes]


def test_labels_made_for_other_samples_or_classes_are_refused() -> None:
    ids, hard = TABLE.sample_ids, TABLE.hard_labels()

    def made_for(ids: NDArray[np.uint64], hard: NDArray[np.int64]) -> Teacher:
        side = replace(NOTHING_KNOWN, policy=POLICY, sample_ids=ids, hard_labels=hard)
        return Teacher(made_for=side)

    assert len(list(loader_of(made_for(ids, hard), seeds=[0]))) == 5
    for other, what in (
        (made_for(ids, (hard + 1) % len(CLASSES)), "hard labels"),
        (made_for(ids + np.uint64(1), hard), "samples"),
        (made_for(ids[1:], hard[1:]), "samples"),
    ):
        with pytest.raises(MisalignedLabelsError, match=f"made for other {what}"):
            loader_of(other, seeds=[0])


def test_no_samples_at_all_are_refused_by_name() -> None:
    none = np.zeros(0, dtype=np.uint64)
    with pytest.raises(
        InvalidRequestError,
        match=r"sample_ids is empty.*; name at least one sample, or leave it out",
    ):
        loader_of(Teacher(), seeds=[0], sample_ids=none)
    one = loader_of(Teacher(), seeds=[0], sample_ids=TABLE.sample_ids[:1])
    assert [len(batch.views) for batch in one] == [1]
    assert len(loader_of(Teacher(), seeds=[0])) > 1


def test_images_are_compared_in_the_worker_that_reads_them() -> None:
    whole = Teacher(fingerprints=TABLE.fingerprints())
    other = SampleTable(Pictures(23, 5, 5, seed=1)).fingerprints()
    for workers, keep in ((0, 0), (0, 2**20), (1, 0)):
        options: dict[str, Any] = {"image_workers": workers, "keep_image_bytes": keep}
        assert len(list(loader_of(whole, seeds=[0], **options))) == 5
        with pytest.raises(DifferentImageError, match="the image of sample ID"):
            list(loader_of(Teacher(fingerprints=other), seeds=[0], **options))


def test_images_that_nobody_compares_are_a_choice() -> None:
    other = SampleTable(Pictures(23, 5, 5, seed=1)).fingerprints()
    loader = SoftLabelLoader(
        DATA,
        Teacher(fingerprints=other),
        seeds=[0],
        batch_size=5,
        fingerprints=UNCHECKED,
    )
    assert len(list(loader)) == 5
    with pytest.warns(UncomparedImagesWarning):
        loader_of(Teacher(fingerprints=None), seeds=[0])


def test_the_canary_watches_by_default_where_an_agreement_is_recorded() -> None:
    seeds = list(range(20))
    assert len(list(loader_of(Teacher(recorded_agreement=1.0), seeds=seeds))) == 100
    with pytest.raises(MisalignedLabelsError):
        list(loader_of(Teacher(wrong_by=1, recorded_agreement=1.0), seeds=seeds))
    assert len(list(loader_of(Teacher(wrong_by=1), seeds=seeds))) == 100


def test_a_canary_of_one_s_own_or_none() -> None:
    def run(source: Teacher, canary: Canary | None) -> int:
        loader = SoftLabelLoader(
            DATA, source, policy=POLICY, seeds=range(20), batch_size=23, canary=canary
        )
        return len(list(loader))

    assert run(Teacher(wrong_by=1, recorded_agreement=1.0), None) == 20
    with pytest.raises(MisalignedLabelsError):
        run(Teacher(wrong_by=1), Canary(0.9))


class Broken(Teacher):
    """Gives too few rows, too few batches, or fails."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        for number, labels in enumerate(super().labels(batches)):
            if number == 2 and self._how == "ends":
                return
            if number == 2 and self._how == "fails":
                raise ConnectionError("gone")
            yield labels[:-1] if number == 2 and self._how == "lacks a row" else labels


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("ends", InvalidRequestError),
        ("lacks a row", InvalidRequestError),
        ("fails", ConnectionError),
    ],
)
def test_a_source_that_breaks_the_run_breaks_it_at_that_batch(
    how: str, error: type[Exception]
) -> None:
    batches = iter(loader_of(Broken(how)))
    assert [next(batches).epoch, next(batches).epoch] == [0, 0]
    with pytest.raises(error):
        next(batches)


@pytest.mark.parametrize("taken", [1, 4])
def test_an_abandoned_iteration_leaves_no_thread(taken: int) -> None:
    before = set(threading.enumerate())
    batches = iter(loader_of(naming_labels(), read_ahead=2))
    for _ in range(taken):
        next(batches)
    assert set(threading.enumerate()) > before
    del batches
    assert set(threading.enumerate()) <= before


def test_two_iterations_of_one_loader_do_not_disturb_each_other() -> None:
    loader = loader_of(naming_labels())
    for one, other in zip(loader, loader, strict=True):
        assert named(one) == named(other)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_of_nothing_are_refused(batch_size: int) -> None:
    with pytest.raises(InvalidRequestError):
        loader_of(batch_size=batch_size)


def test_no_epochs_are_no_batches() -> None:
    assert list(loader_of(naming_labels(), seeds=[])) == []


def test_a_seed_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="seed"):
        list(loader_of(naming_labels(), seeds=[-1]))


def test_the_policy_is_that_of_both_sides() -> None:
    def loader(source: LabelSource | None, **policy: Any) -> SoftLabelLoader:
        return SoftLabelLoader(DATA, source, seeds=[0], batch_size=5, **policy)

    own = [batch.images for batch in loader(naming_labels())]
    told = [batch.images for batch in loader(naming_labels(), policy=POLICY)]
    assert all(torch.equal(one, other) for one, other in zip(own, told, strict=True))
    assert len(list(loader(naming_labels(UNCHECKED), policy=POLICY))) == len(own)
    for other in (None, replace(POLICY, key=POLICY.key + 1)):
        with pytest.raises(ContractMismatchError, match="another policy"):
            loader(naming_labels(), policy=other)
    for nobody in (naming_labels(UNCHECKED), None):
        with pytest.raises(InvalidRequestError, match="says how views are made"):
            loader(nobody)


def test_samples_are_named_by_any_integers() -> None:
    chosen = TABLE.sample_ids[[3, 0, 5]]
    expected = [named(batch) for batch in loader_of(naming_labels(), sample_ids=chosen)]
    for same in (chosen.tolist(), tuple(chosen.tolist()), torch.tensor(chosen.tolist())):
        assert [named(batch) for batch in loader_of(naming_labels(), sample_ids=same)] == expected
    for none in ([0.5], "x"):
        with pytest.raises(InvalidRequestError):
            loader_of(naming_labels(), sample_ids=none)


def test_what_gives_no_labels_is_no_source() -> None:
    source: Any = object()
    with pytest.raises(InvalidRequestError, match="such as LabelSetSource"):
        loader_of(source)
