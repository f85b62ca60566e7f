"""Scanned batches whose labels are read one batch, or a few batches of one file, at a time."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import Mix, RecordedPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.finite import all_finite
from labelcast.codec.topk import MISSING_LOGIT
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import RowOrder, SegmentIndex, index_of_cells
from labelcast_producers.formats.batches.batch import Batch, Place
from labelcast_producers.formats.batches.comparisons import KindComparison
from labelcast_producers.formats.batches.layout import Kind
from labelcast_producers.formats.batches.numbering import SampleIDs
from labelcast_producers.formats.batches.order_check import DerivedOrder
from labelcast_producers.formats.batches.record import Record, Signature
from labelcast_producers.formats.batches.samples import KnownSamples
from labelcast_producers.formats.batches.scanning import (
    Scan,
    opened_records,
    require_record,
)
from labelcast_producers.formats.shared.stamps import changed
from labelcast_producers.formats.shared.top_k import (
    check_distributions,
    checked_values,
    recovered,
)
from labelcast_producers.formats.shared.view_size import ask_for_view_size, unusual_source_size
from labelcast_producers.formats.source import (
    USUAL_VIEW_SIZE,
    ImportOptions,
    Part,
    Source,
    SourceFacts,
)

# A box reaches the far edge in every second batch or so. The chance that none of this many does is
# one in a hundred million.
_TELLING_BOXES = 24
# Whose crops tell how large small images are.
_TELLING_BATCHES = 64
# Batches of one file that are read together: opening a file of hundreds of them takes longer than
# reading one.
_PART_BYTES = 2**26


def build_index(ids: Sequence[SampleIDs], seeds: Sequence[int]) -> tuple[SegmentIndex, SampleIDs]:
    """Build the index of the stored views, and find the row of each.

    Args:
        ids: sample IDs of each batch; no sample is twice under one seed.
        seeds: seed of each batch, never falling.

    Returns:
        The index, and int64, shape (N,): rows in the order of the batches.
    """
    together = np.concatenate(ids).astype(np.int64)
    sample_ids, samples = np.unique(together, return_inverse=True)
    seed_table, seed_of = np.unique(np.asarray(seeds, dtype=np.int64), return_inverse=True)
    rows = np.repeat(seed_of.reshape(-1), [len(of_batch) for of_batch in ids]) * len(sample_ids)
    rows += samples.reshape(-1)
    present: NDArray[np.int64] | None = None
    if len(rows) < len(sample_ids) * len(seed_table):
        present = np.sort(rows)
        rows = np.searchsorted(present, rows)
    index = index_of_cells(
        sample_ids.astype(np.uint64), seed_table.astype(np.uint32), RowOrder.SEED_MAJOR, present
    )
    return index, rows


def recorded_policy(
    scan: Scan, options: ImportOptions, known: KnownSamples
) -> tuple[RecordedPolicy, str]:
    """Make the policy that describes the records of scanned batches.

    Returns:
        It, and what tells the size of views; empty where it is given or assumed.

    Raises:
        LabelFileError: some batches are mixed by CutMix, others by MixUp.
        InvalidRequestError: the view size does not fit the boxes, or it is not given and the images
            speak against the usual one.
    """
    mix = Mix.NONE
    for batch in scan.batches:
        # A batch that its producer left unmixed fits both.
        if batch.mix is not Mix.NONE and mix not in {Mix.NONE, batch.mix}:
            batch.place.refuse(
                f"is mixed by {batch.mix}, those before it by {mix}; all files must be of one run"
            )
        mix = mix if batch.mix is Mix.NONE else batch.mix
    view_size = options.view_size or _assumed_view_size(scan, known)
    if mix is Mix.CUTMIX:
        _check_view_size(scan, view_size)
    signature = scan.signature
    boxes = _boxes(scan)
    is_told = options.view_size is None and len(boxes) >= _TELLING_BOXES
    policy = RecordedPolicy(
        view_height=view_size,
        view_width=view_size,
        mix=mix,
        operations=signature.layers,
        patch_grid=2 if signature.patches and options.apply_patches else 1,
        cutout=signature.cutout,
    )
    # A box that reached less far would have been refused.
    return policy, f"the farthest edge of {len(boxes)} CutMix boxes" if is_told else ""


def _assumed_view_size(scan: Scan, known: KnownSamples) -> int:
    """Pixels a side of the views: of the images, if boxes bear it out, or as is usual."""
    boxes = _boxes(scan)
    farthest = int(boxes.max(initial=0))
    crops = islice((batch.coords for batch in scan.batches), _TELLING_BATCHES)
    folder = known.folder
    root, names = (None, ()) if folder is None else (folder.root, folder.paths)
    source_size = unusual_source_size(root, names, np.concatenate(list(crops)))
    if source_size is None:
        return USUAL_VIEW_SIZE
    # Images may have been enlarged: then only boxes that reach the usual edge bear that out.
    borne_out = farthest == USUAL_VIEW_SIZE or source_size == (farthest, farthest)
    if len(boxes) >= _TELLING_BOXES and borne_out:
        return farthest
    raise ask_for_view_size(source_size)


def _boxes(scan: Scan) -> NDArray[np.int64]:
    boxes = [batch.box for batch in scan.batches if batch.mix is Mix.CUTMIX]
    return np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _check_view_size(scan: Scan, view_size: int) -> None:
    boxes = _boxes(scan)
    farthest = int(boxes.max())
    if len(boxes) >= _TELLING_BOXES and farthest < view_size:
        raise InvalidRequestError(
            f"not one of {len(boxes)} CutMix boxes reaches the edge of views of {view_size} pixels;"
            f" they reach {farthest}: give the producer's view size, which may be --view-size"
            f" {farthest}"
        )


class BatchSource(Source):
    """Labels of scanned batches.

    Args:
        scanned: every batch.
        kind: kind of the layout.
        facts: facts with the index from `build_index`.
        rows: row of every label, in the order of the batches.
        order: the order of the samples, if it was derived.
        kinds: compares batches of top-k logits; None where the user says what they are.
    """

    def __init__(
        self,
        scanned: Scan,
        kind: Kind,
        facts: SourceFacts,
        rows: SampleIDs,
        order: DerivedOrder | None = None,
        kinds: KindComparison | None = None,
    ) -> None:
        self.facts = facts
        self._kinds = kinds
        self._order = order
        self._untold: str | None = None
        self._scan = scanned
        self._kind = kind
        self._rows = rows
        self._groups = {(group[0].place.file.path, _at(group)): group for group in _groups(scanned)}
        self.parts = []
        end = 0
        for (path, at), group in self._groups.items():
            start, end = end, end + sum(batch.size for batch in group)
            self.parts.append(Part(path, rows[start:end], at))

    def require_order(self) -> str | None:
        """See `Source.require_order`; reads some labels of every epoch, once."""
        if self._order is not None:
            self._untold = self._order.require(self)
        self._order = None
        return self._untold

    def records(self) -> RecordedViews | None:
        """See `Source.records`; about 90 bytes per view, built on request."""
        policy = self.facts.policy
        if not isinstance(policy, RecordedPolicy):
            return None
        views = self.facts.index.views()
        records = RecordedViews.plain(views.sample_ids, views.seeds, policy)
        end = 0
        for batch in self._scan.batches:
            start, end = end, end + batch.size
            rows = self._rows[start:end]
            _place(records, rows, batch, views.sample_ids[rows])
        return records

    def read(self, part: Part) -> NDArray[Any]:
        """See `Source.read`; in the stored type."""
        group = self._groups.get((part.path, part.at))
        if group is None or len(part.rows) != sum(batch.size for batch in group):
            raise LabelFileError(f"{part.path}{part.at} is no part of this source", path=part.path)
        place = group[0].place
        with (
            self._scan.stamps.unchanged(part.path),
            opened_records(place.file, self._kind) as records,
        ):
            if len(group) == 1:
                return self._labels(records, group[0])
            labels = np.empty((len(part.rows), self.facts.num_classes), dtype=self._dtype)
            end = 0
            for batch in group:
                start, end = end, end + batch.size
                labels[start:end] = self._labels(records, batch)
            return labels

    @property
    def _dtype(self) -> np.dtype[Any]:
        recovered_too = self._is_probabilities and self.facts.top_k is not None
        return np.dtype(np.float32 if recovered_too else self._scan.signature.label_type)

    @property
    def _is_probabilities(self) -> bool:
        return self.facts.label_kind is LabelKind.PROBABILITIES

    def _labels(self, records: Sequence[tuple[Place, Any]], batch: Batch) -> NDArray[Any]:
        position = batch.place.number if self._kind is Kind.EPOCH_FILES else 0
        if position >= len(records):
            raise changed(batch.place.file.path)
        record = require_record(records[position][1], batch.place, self._scan.signature)
        if Signature.of(record) != self._scan.signature or record.size != batch.size:
            raise changed(batch.place.file.path)
        values = record.labels.read()
        self._check_values(values, batch)
        if self._kinds is not None:
            self._kinds.require_alike(values, batch.place)
        return values if record.indices is None else self._recovered(record, values)

    def _recovered(self, record: Record, values: NDArray[Any]) -> NDArray[Any]:
        indices = None if record.indices is None else record.indices.read().astype(np.int64)
        if indices is not None and self._is_probabilities and self.facts.top_k is not None:
            return recovered(
                indices,
                values.astype(np.float32),
                self.facts.num_classes,
                self.facts.top_k.recovery,
                self.facts.label_kind,
            )
        shape = (len(values), self.facts.num_classes)
        labels = np.full(shape, MISSING_LOGIT, dtype=values.dtype)
        if indices is not None:
            np.put_along_axis(labels, indices, values, axis=1)
        return labels

    def _check_values(self, values: NDArray[Any], batch: Batch) -> None:
        good = np.ones(len(values), dtype=np.bool_)
        why = "hold NaN or infinity"
        if not all_finite(values):
            good = np.isfinite(values).all(axis=1)
        if good.all() and self.facts.top_k is not None:
            good = (np.abs(values) < -MISSING_LOGIT).all(axis=1)
            why = f"lie beyond ±{-MISSING_LOGIT:.0f}"
        if good.all() and self._is_probabilities:

            def where(row: int) -> str:
                return f"{batch.place}: labels, row {row}"

            if self.facts.top_k is None:
                check_distributions(values, where)
            else:
                checked_values(values, self.facts.label_kind, where)
        if not good.all():
            row = int(np.argmin(good))
            raise LabelValueError(
                f"{batch.place}: labels, row {row}: they {why}; label that batch again",
                path=batch.place.file.path,
                row=row,
            )


def _place(
    records: RecordedViews, rows: SampleIDs, batch: Batch, sample_ids: NDArray[np.uint64]
) -> None:
    records.crop[rows] = batch.coords
    if batch.flip is not None:
        records.flip[rows] = batch.flip
    if batch.cutout is not None:
        records.cutout[rows] = batch.cutout
    if batch.mix_index is not None:
        records.partner_sample_ids[rows] = sample_ids[batch.mix_index]
        records.lam[rows] = batch.lam
        records.box[rows] = batch.box
    if batch.patches is not None and records.patches.shape[1] > 1:
        records.patches[rows] = batch.patches
    records.operations[rows] = batch.operations
    records.magnitudes[rows] = batch.magnitudes


def _groups(scanned: Scan) -> Iterator[list[Batch]]:
    """Batches of one file that are read together."""
    signature = scanned.signature
    row_bytes = signature.label_columns * np.dtype(signature.label_type).itemsize
    most = _PART_BYTES // row_bytes
    for _, batches in groupby(scanned.batches, lambda batch: batch.place.file):
        group: list[Batch] = []
        for batch in batches:
            if group and sum(each.size for each in group) + batch.size > most:
                yield group
                group = []
            group.append(batch)
        yield group


def _at(group: Sequence[Batch]) -> str:
    first, last = group[0].place, group[-1].place
    if len(group) == 1:
        return first.at
    return f", batches {first.number} to {last.number}"
