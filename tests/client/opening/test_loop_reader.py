"""Loops of one's own over a directory: rows that are missing, and what is given in their place."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from labelcast import LabelSet, OnMiss, Plan, ReadLabels, Representation, Views
from labelcast.augmentation import ForeignPolicy, draw_records
from labelcast.codec import CodecHeader, LabelKind, Precision, RawCodec
from labelcast.errors import (
    ContractMismatchError,
    InvalidRequestError,
    MisalignedLabelsError,
    UnsupportedFormError,
    ViewNotFoundError,
)
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import TrainingPlan, soft_label_loss
from tests.e2e.label_sets import known_label_set
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import MIXING_POLICY, make_label_set, write_label_set

GOLDEN = Path(__file__).parents[2] / "golden" / "label_sets"
CLASSES = 10
DEVICES = (None, "cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    return make_label_set(tmp_path_factory.mktemp("plain"), "raw")[0]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    """A conditioned set, which knows its hard labels."""
    return make_label_set(tmp_path_factory.mktemp("mixed"), "vqae-context")[0]


def reader_of(label_set: LabelSet, **options: Any) -> Any:
    return label_set.loop_reader(policy=label_set.contract.policy, **options)


def odd_ones(label_set: LabelSet) -> Views:
    """Views of every sample, of which every second is stored: seeds are multiples of 3."""
    ids = label_set.index().sample_ids
    return Views.of(ids, 3 + np.arange(len(ids)) % 2)


def shown_by(label_set: LabelSet, views: Views) -> Any:
    """Hard labels, view by view, from what the policy draws; sample number n is of class n % C."""
    ids = label_set.index().sample_ids
    drawn = draw_records(MIXING_POLICY, views.sample_ids, views.seeds, sample_table=ids)
    area = MIXING_POLICY.view_height * MIXING_POLICY.view_width
    rows = np.zeros((len(views), CLASSES))
    for at, (sample, partner, pixels) in enumerate(
        zip(views.sample_ids, drawn.partner_sample_ids, drawn.box_pixels(), strict=True)
    ):
        rows[at, np.flatnonzero(ids == sample)[0] % CLASSES] += 1 - pixels / area
        rows[at, np.flatnonzero(ids == partner)[0] % CLASSES] += pixels / area
    return rows


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_are_not_stored_are_masked(plain: LabelSetDirectory, device: str | None) -> None:
    views = odd_ones(plain)
    reader = reader_of(plain, on_miss=OnMiss.SKIP, miss_not_stored=True, device=device)
    labels = reader(views)
    assert type(labels.values) is type(labels.present) is (torch.Tensor if device else np.ndarray)
    there = np.arange(len(views)) % 2 == 0
    np.testing.assert_array_equal(labels.present, there)
    expected = plain.labels(views.sample_ids[there], views.seeds[there])
    np.testing.assert_array_equal(np.asarray(labels.values)[there], expected)
    assert np.isnan(np.asarray(labels.values)[~there]).all()
    assert labels.hard is None
    assert reader.missed == {"view_not_found": 25}
    assert repr(labels) == "<ReadLabels: 25 of 50 rows are soft labels>"
    assert pickle.loads(pickle.dumps(reader)).missed == {}


@pytest.mark.parametrize("device", DEVICES)
def test_hard_labels_are_those_that_a_view_shows(
    mixed: LabelSetDirectory, device: str | None
) -> None:
    views = odd_ones(mixed)
    reader = reader_of(mixed, on_miss=OnMiss.HARD_LABEL, miss_not_stored=True, device=device)
    labels = reader(views)
    missing = ~np.asarray(labels.present)
    assert np.isnan(np.asarray(labels.values)[missing]).all()
    expected = shown_by(mixed, views)[missing]
    assert ((expected > 0).sum(axis=1) == 2).any()
    np.testing.assert_allclose(labels.hard, expected, atol=1e-6)
    nothing_missing = reader(views[::2])
    assert nothing_missing.present.all()
    assert nothing_missing.hard.shape == (0, CLASSES)


def test_rows_of_probabilities_hold_their_hard_label(tmp_path: Path) -> None:
    known = known_label_set(tmp_path, "raw-probabilities", num_classes=CLASSES)
    ids, views = known.on_disk.index().sample_ids, odd_ones(known.on_disk)
    given = (ids[::-1], np.arange(len(ids))[::-1] % CLASSES)
    options = {"on_miss": OnMiss.HARD_LABEL, "miss_not_stored": True, "hard_labels": given}
    for form in (Representation.codes(), Representation.probabilities(1.0)):
        labels = reader_of(known.on_disk, representation=form, device="cpu", **options)(views)
        of_class = torch.arange(len(ids))[~labels.present] % CLASSES
        one_hot = functional.one_hot(of_class, CLASSES)
        torch.testing.assert_close(labels.hard, one_hot.float())
        torch.testing.assert_close(labels.values[~labels.present].float(), one_hot.float())
        torch.testing.assert_close(
            labels.values.float().sum(1), torch.ones(len(ids)), rtol=1e-2, atol=0
        )


def test_recorded_views_show_their_partner() -> None:
    recorded = LabelSetDirectory(GOLDEN / "recorded-mixup")
    views = recorded.index().segments[0].views()
    ids = recorded.index().sample_ids
    reader = reader_of(
        recorded, on_miss=OnMiss.HARD_LABEL, hard_labels=(ids, np.arange(len(ids)) % 5)
    )
    assert reader(views).present.all()
    drawn = recorded.views(views.sample_ids, views.seeds)
    hard = reader._hard_labels.of(views, np.ones(len(views), np.bool_))
    own, partner = (np.searchsorted(ids, each.sample_ids) % 5 for each in (views, drawn.partners))
    expected = np.zeros((len(views), 5))
    np.add.at(expected, (np.arange(len(views)), own), 1 - drawn.partner_share)
    np.add.at(expected, (np.arange(len(views)), partner), drawn.partner_share)
    np.testing.assert_allclose(hard, expected, atol=1e-6)


def test_a_loss_takes_the_mask(mixed: LabelSetDirectory) -> None:
    """As the guide says; also where no label came."""
    options = {"miss_not_stored": True, "device": "cpu"}
    stored, views = odd_ones(mixed)[::2], odd_ones(mixed)
    for on_miss in (OnMiss.SKIP, OnMiss.HARD_LABEL):
        reader = reader_of(mixed, on_miss=on_miss, **options)
        for batch in (stored, views, views[1::2]):
            logits = torch.randn(len(batch), CLASSES, requires_grad=True)
            loss = masked_loss(logits, reader(batch))
            loss.backward()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()
            learnt = logits.grad.abs().sum(1) > 0
            expected = torch.ones(len(batch)).bool()
            if on_miss is OnMiss.SKIP:
                expected = reader(batch).present
            assert learnt.tolist() == expected.tolist()


def masked_loss(logits: torch.Tensor, labels: ReadLabels) -> torch.Tensor:
    soft, share = labels.present, labels.present.float().mean()
    loss = logits.sum() * 0
    if soft.any():
        kind = LabelKind.LOGITS
        loss = loss + share * soft_label_loss(
            logits[soft], labels.values[soft], kind, temperature=4
        )
    if labels.hard is not None and not soft.all():
        loss = loss + (1 - share) * functional.cross_entropy(logits[~soft], labels.hard)
    return loss


@pytest.mark.parametrize("on_miss", [OnMiss.WAIT, OnMiss.SKIP])
def test_batches_come_as_they_were_given(plain: LabelSetDirectory, on_miss: OnMiss) -> None:
    (segment,) = plain.index().segments
    views, seeds = segment.views(), segment.seeds.tolist()
    reader = reader_of(plain, on_miss=on_miss)
    drawn = [plain.views(part.sample_ids, part.seeds) for part in views.batches(20)]
    runs: list[tuple[Any, Any]] = [
        (list(views.batches(20)), iter(views.batches(20))),
        (drawn, iter(drawn)),
        (
            list(Plan(segment.sample_ids, seeds).batches(20)),
            Plan(segment.sample_ids, seeds).batches(20),
        ),
    ]
    for expected, given in runs:
        for (batch, labels), wanted in zip(reader.over(given), expected, strict=True):
            assert batch is wanted or batch == wanted
            check_right(plain, labels, wanted if isinstance(wanted, Views) else wanted.views)
    plan = TrainingPlan(segment.sample_ids, seeds, batch_size=20)
    for (planned, labels), step in zip(reader.over(plan), plan, strict=True):
        assert planned.position == step.position
        check_right(plain, labels, step.views)


def check_right(label_set: LabelSet, labels: ReadLabels, views: Views) -> None:
    assert labels.views == views
    assert labels.present.all()
    expected = label_set.labels(views.sample_ids, views.seeds)
    np.testing.assert_array_equal(labels.values, expected)


@pytest.mark.parametrize("on_miss", [OnMiss.WAIT, OnMiss.SKIP])
def test_an_error_of_the_loop_comes_where_its_batch_would(
    plain: LabelSetDirectory, on_miss: OnMiss
) -> None:
    views = plain.index().segments[0].views()

    def batches() -> Iterator[Views]:
        yield from views[:40].batches(20)
        raise ZeroDivisionError

    read = reader_of(plain, on_miss=on_miss).over(batches())
    assert [len(next(read)[1]) for _ in range(2)] == [20, 20]
    with pytest.raises(ZeroDivisionError):
        next(read)


def test_what_a_reader_refuses(plain: LabelSetDirectory, mixed: LabelSetDirectory) -> None:
    views = plain.index().segments[0].views()
    plan = Plan(plain.index().sample_ids, [0])
    for batches in ([views], plan.batches(10)):
        with pytest.raises(InvalidRequestError, match="belongs to one rendering"):
            next(plain.loop_reader().over(batches))
    of_other = mixed.views(views.sample_ids[:2], 0)
    with pytest.raises(ContractMismatchError, match="another label set"):
        reader_of(plain).ask(of_other)
    with pytest.raises(ContractMismatchError, match="another policy"):
        plain.loop_reader(policy=MIXING_POLICY)
    with pytest.raises(ViewNotFoundError):
        reader_of(plain, on_miss=OnMiss.SKIP)(odd_ones(plain))
    with pytest.raises(InvalidRequestError, match="ask for at least one view"):
        reader_of(plain).ask(views[:0])
    with pytest.raises(InvalidRequestError, match="top-k"):
        reader_of(plain, representation=Representation.top_k(2, 1.0))
    with pytest.raises(InvalidRequestError, match="one of wait, hard-label, skip, not 'drop'"):
        reader_of(plain, on_miss="drop")
    for wrong in ({"miss_seconds": -1.0}, {"miss_seconds": float("nan")}, {"in_flight": 0}):
        with pytest.raises(InvalidRequestError, match="must be"):
            reader_of(plain, **wrong)
    ids = plain.index().sample_ids
    hard = {"on_miss": OnMiss.HARD_LABEL}
    for classes in (np.full(50, CLASSES), np.full(50, -1), np.zeros(50), np.zeros(49, int)):
        with pytest.raises(InvalidRequestError, match="hard labels are one class from 0 to 9"):
            reader_of(plain, hard_labels=(ids, classes), **hard)(views)
    theirs = np.arange(50) % CLASSES
    with pytest.raises(MisalignedLabelsError, match="other hard labels"):
        reader_of(mixed, hard_labels=(ids, np.roll(theirs, 1)), **hard)(views)
    with pytest.raises(MisalignedLabelsError, match="no sample ID"):
        reader_of(plain, hard_labels=(ids + 1, theirs), **hard)(views)
    fewer = reader_of(plain, miss_not_stored=True, hard_labels=(ids[:40], theirs[:40]), **hard)
    with pytest.raises(ViewNotFoundError):
        fewer(odd_ones(plain))


def test_forms_are_refused_as_the_label_set_s(tmp_path: Path) -> None:
    known = known_label_set(tmp_path, "raw-probabilities")
    with pytest.raises(UnsupportedFormError):
        reader_of(known.on_disk, representation=Representation.logits())(known.views[:2])


@dataclass(frozen=True)
class Bench:
    """Label sets that something cannot be said of."""

    plain: LabelSetDirectory
    foreign: LabelSetDirectory
    recorded: LabelSetDirectory


@pytest.fixture(scope="module")
def bench(plain: LabelSetDirectory, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    codec = RawCodec(CodecHeader(2, LabelKind.LOGITS, None), Precision.FP16)
    foreign: Any = ForeignPolicy()
    made = write_label_set(
        tmp_path_factory.mktemp("foreign"),
        codec,
        np.zeros((4, 4), np.uint8),
        num_samples=4,
        num_seeds=1,
        policy=foreign,
    )
    return Bench(plain, made, LabelSetDirectory(GOLDEN / "recorded-cutmix-pruned"))


def read(label_set: LabelSet, on_miss: OnMiss, **options: Any) -> object:
    views = label_set.index().segments[0].views()[:1]
    return reader_of(label_set, on_miss=on_miss, **options)(views)


def given(label_set: LabelSet, repeat: int = 0) -> tuple[Any, Any]:
    ids = label_set.index().sample_ids
    return np.append(ids, ids[:repeat]), np.zeros(len(ids) + repeat, np.int64)


def ask_twice(label_set: LabelSet, between: Callable[[Any], object], **options: Any) -> object:
    views, reader = label_set.index().segments[0].views()[:1], reader_of(label_set, **options)
    between(reader.ask(views))
    return reader.ask(views)


HARD, SKIP = OnMiss.HARD_LABEL, OnMiss.SKIP
CASES: list[Case[Bench]] = [
    Case(
        "give hard_labels=(sample_ids, classes)",
        lambda at: read(at.plain, HARD),
        lambda at: read(at.plain, HARD, hard_labels=given(at.plain)),
    ),
    Case(
        "sample IDs twice; give each one once",
        lambda at: read(at.plain, HARD, hard_labels=given(at.plain, repeat=2)),
        lambda at: read(at.plain, HARD, hard_labels=given(at.plain)),
    ),
    Case(
        "leave their rows out with on_miss=OnMiss.SKIP",
        lambda at: read(at.foreign, HARD, hard_labels=given(at.foreign)),
        lambda at: read(at.foreign, SKIP),
    ),
    Case(
        "leave such rows out with on_miss=OnMiss.SKIP",
        lambda at: read(at.recorded, HARD, hard_labels=given(at.recorded), miss_not_stored=True),
        lambda at: read(at.recorded, SKIP, miss_not_stored=True),
    ),
    Case(
        "with miss_not_stored give on_miss=OnMiss.SKIP or OnMiss.HARD_LABEL",
        lambda at: read(at.plain, OnMiss.WAIT, miss_not_stored=True),
        lambda at: (
            read(at.plain, SKIP, miss_not_stored=True),
            read(at.plain, HARD, miss_not_stored=True, hard_labels=given(at.plain)),
        ),
    ),
    Case(
        "give on_miss=OnMiss.HARD_LABEL or leave them out",
        lambda at: read(at.plain, SKIP, hard_labels=given(at.plain)),
        lambda at: (read(at.plain, HARD, hard_labels=given(at.plain)), read(at.plain, SKIP)),
    ),
    Case(
        "take result() or cancel() it first, or make the reader with in_flight=2",
        lambda at: ask_twice(at.plain, lambda _: None),
        lambda at: (
            ask_twice(at.plain, lambda asked: asked.result()),
            ask_twice(at.plain, lambda asked: asked.cancel()),
            ask_twice(at.plain, lambda _: None, in_flight=2),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_the_advice_of_a_message_works(bench: Bench, case: Case[Bench]) -> None:
    try_advice(case, bench)
