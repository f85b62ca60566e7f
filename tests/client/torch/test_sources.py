"""Where labels come from: arrays, and what a remote label set says of itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast import LabelClient, LabelKind, RemoteLabelSet, Representation, Views
from labelcast.errors import InvalidRequestError, ViewNotFoundError
from labelcast.label_set import GridIndex, RowOrder, SegmentIndex, ViewIndex
from labelcast.torch import ArrayLabels, LabelSetSource
from tests.factories.label_sets import CodecName, make_label_set

IDS = np.array([3, 2**40, 2**63], dtype=np.uint64)
SEEDS = np.array([0, 7], dtype=np.uint32)


def index_of(order: RowOrder = RowOrder.SEED_MAJOR) -> SegmentIndex:
    return GridIndex(IDS, SEEDS, order)


@pytest.mark.parametrize("order", RowOrder)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_view_gets_its_own_row(order: RowOrder, dtype: Any) -> None:
    index = index_of(order)
    array = np.arange(24, dtype=dtype).reshape(6, 4)
    rows = dict(
        enumerate(
            zip(*(c.tolist() for c in (index.views().sample_ids, index.views().seeds)), strict=True)
        )
    )
    source = ArrayLabels(array, ViewIndex([index]), LabelKind.LOGITS, view_policy=None)
    batches = [Views.of([2**63, 3, 3], [7, 0, 7]), Views.of([2**40], 0)]
    given = list(source.labels(batches))
    for views, labels in zip(batches, given, strict=True):
        assert labels.dtype == torch.from_numpy(array).dtype
        for row, label in enumerate(labels.tolist()):
            at = int(label[0]) // 4
            assert rows[at] == (int(views.sample_ids[row]), int(views.seeds[row]))
            assert label == array[at].tolist()


def zeros(shape: tuple[int, ...] = (6, 2), *segments: SegmentIndex) -> ArrayLabels:
    index = ViewIndex(segments or [index_of()])
    return ArrayLabels(np.zeros(shape), index, LabelKind.LOGITS, view_policy=None)


def test_batches_are_read_lazily() -> None:
    asked = []

    def batches() -> Any:
        for view in IDS.tolist():
            asked.append(view)
            yield Views.of([view], 0)

    labels = ArrayLabels(
        np.zeros((6, 2)), ViewIndex([index_of()]), LabelKind.LOGITS, view_policy=None
    ).labels(batches())
    assert asked == []
    next(labels)
    assert asked == [3]


@pytest.mark.parametrize(("sample_id", "seed"), [(4, 0), (3, 1), (2**64 - 1, 7)])
def test_an_unknown_view_is_refused(sample_id: int, seed: int) -> None:
    source = ArrayLabels(
        np.zeros((6, 2)), ViewIndex([index_of()]), LabelKind.LOGITS, view_policy=None
    )
    with pytest.raises(ViewNotFoundError):
        list(source.labels([Views.of([sample_id], seed)]))


def test_a_mapped_file_is_not_written_to(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.arange(12, dtype=np.float16).reshape(6, 2))
    array = np.load(tmp_path / "labels.npy", mmap_mode="r")
    source = ArrayLabels(array, ViewIndex([index_of()]), LabelKind.LOGITS, view_policy=None)
    (labels,) = source.labels([Views.of(IDS, 0)])
    labels += 100
    assert array[0].tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(5, 2), (7, 2), (2, 3, 2), (6,)])
def test_an_array_of_other_rows_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequestError, match="not one row for each"):
        zeros(shape)


def test_several_segments_are_refused() -> None:
    other = GridIndex(IDS, np.array([9], dtype=np.uint32), RowOrder.SEED_MAJOR)
    with pytest.raises(InvalidRequestError, match="the index has 2"):
        ArrayLabels(
            np.zeros((9, 2)), ViewIndex([index_of(), other]), LabelKind.LOGITS, view_policy=None
        )


@pytest.mark.parametrize(
    ("codec", "representation", "kind"),
    [
        ("raw", Representation.codes(), LabelKind.LOGITS),
        ("raw", Representation.logits(), LabelKind.LOGITS),
        ("raw", Representation.probabilities(2.0), LabelKind.PROBABILITIES),
        ("topk", Representation.codes(), LabelKind.PROBABILITIES),
    ],
)
def test_the_kind_of_labels_is_that_of_what_is_delivered(
    tmp_path: Path, codec: CodecName, representation: Representation, kind: LabelKind
) -> None:
    on_disk, _ = make_label_set(tmp_path, codec)
    source = LabelSetSource(on_disk, representation)
    assert source.label_kind is kind


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"hard_label_agreement": 0.75}, 0.75),
        ({"hard_label_agreement": None}, None),
        ({"hard_label_agreement": "0.75"}, None),
        ({}, None),
    ],
)
def test_the_recorded_agreement_is_that_of_the_report(
    tmp_path: Path, report: dict[str, Any], expected: float | None
) -> None:
    on_disk, _ = make_label_set(tmp_path)
    label_set = RemoteLabelSet(LabelClient("127.0.0.1:1"), on_disk.manifest, report)
    source = LabelSetSource(label_set, Representation.codes())
    assert source.recorded_agreement == expected
