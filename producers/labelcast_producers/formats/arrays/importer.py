"""Plain arrays of labels: `.npy`, `.npz`, `.safetensors`, `.pt` and Parquet, of any producer.

Rules:
  * labels are the only float array with two axes (N, C) or three (seeds, N, C); in Parquet a list
    column, one row per view;
  * `sample_ids` or `ids` beside them name the samples (`sample_id` or `id`, and `seed`, in
    Parquet); without them, row numbers do;
  * the meaning of anything else in a file is never guessed: it is refused, or in Parquet left out
    and noted.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from labelcast.augmentation import ForeignPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import RowOrder, SampleOrder, SegmentIndex, index_of_cells
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.dense.label_kind import check_label_kind, looks_like_probabilities
from labelcast_producers.formats.arrays.layout import Layout, layout_of
from labelcast_producers.formats.arrays.npz import NpzRows, npz_arrays, npz_integers
from labelcast_producers.formats.arrays.parquet import ParquetRows, parquet_integers
from labelcast_producers.formats.arrays.rows import (
    ArrayRows,
    require_floats,
    require_integers,
)
from labelcast_producers.formats.arrays.torch_tensors import SUFFIXES, open_tensor
from labelcast_producers.formats.shared.image_names import check_class_names
from labelcast_producers.formats.shared.stamps import Stamps
from labelcast_producers.formats.shared.top_k import check_distributions
from labelcast_producers.formats.source import (
    Finding,
    Importer,
    ImportOptions,
    Part,
    Source,
    SourceFacts,
)

FORMAT = "arrays"
PART_BYTES = 64 * 2**20
# Rows that tell logits from probabilities.
_TOLD_BY = 1024


class ArrayImporter(Importer):
    """Importer of one file with an array."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        layout = layout_of(path)
        if layout is None:
            return None
        missing = [
            "--label-kind: logits or probabilities; decided from the values if it is left out",
            "--temperature: of probabilities; 1 if it is left out",
        ]
        if not layout.ids:
            missing.append("sample IDs: rows are numbered")
        return Finding(
            format=FORMAT,
            title=f"Array of labels in {path.suffix}",
            inside={
                "labels": layout.labels or path.stem,
                "shape": list(layout.shape),
                "dtype": layout.dtype,
                "sample_ids": bool(layout.ids),
                "seeds": bool(layout.seeds) or len(layout.shape) == 3,
                "others": list(layout.others),
            },
            missing=tuple(missing),
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> "ArraySource":
        """See `Importer.open`.

        Raises:
            LabelValueError: the first labels are not of the kind that the user gave.
        """
        stamps = Stamps()
        if path.is_file():
            stamps.note(path)
        layout = layout_of(path)
        if layout is None:
            raise LabelFileError(
                f"{path} holds no array of labels: save one of floats, (N, C) or (seeds, N, C)"
            )
        if layout.others and path.suffix != ".parquet":
            raise LabelFileError(
                f"{path}: cannot tell what {layout.others[0]} is; save labels and sample_ids alone"
            )
        if path.suffix in SUFFIXES and 0 in layout.shape:
            raise LabelFileError(f"{path} is empty: shape {layout.shape}")
        rows, sample_of, seed_of = _opened(path, layout)
        if rows.num_rows != len(sample_of):
            raise LabelFileError(f"{path} has {rows.num_rows} labels, but {len(sample_of)} IDs")
        index, own = _index(path, sample_of, seed_of)
        notes = [] if layout.ids else ["sample IDs number the rows, as the file names none"]
        if len(layout.shape) == 3:
            seeds, samples, classes = layout.shape
            notes.append(
                f"the three axes are read as (seeds, samples, classes): {seeds} seeds of {samples}"
                f" samples with {classes} classes; if they are others, save them in this order"
            )
        if layout.others:
            notes.append(f"columns left out: {', '.join(layout.others)}")
        if len(index.seeds) > 1:
            notes.append("labels are served, views are not: nothing says how they were made")
        progress(1, 1)
        return ArraySource(
            path, rows, index, own, options, stamps=stamps, format_name=FORMAT, notes=notes
        )


class ArraySource(Source):
    """Rows of one file.

    Args:
        path: path of the file.
        rows: its labels, in float16 or float32.
        index: views that the labels belong to.
        own: int64, shape (N,): row in `index` of each row of the file.
        options: options of the user.
        stamps: size and times of the file, noted before it was read.
        format_name: name of the importer.
        notes: first notes, to which others are added.
        hard_labels: hard labels in the order of `index.sample_ids`.

    Raises:
        InvalidRequestError: the options contradict the file.
        LabelValueError: the first labels are not of the kind that the user gave.
    """

    def __init__(
        self,
        path: Path,
        rows: ArrayRows,
        index: SegmentIndex,
        own: NDArray[np.int64],
        options: ImportOptions,
        *,
        stamps: Stamps,
        format_name: str,
        notes: list[str],
        hard_labels: NDArray[np.int64] | None = None,
    ) -> None:
        check_class_names(options, rows.num_classes, path)
        self._path, self._rows, self._stamps = path, rows, stamps
        # For each row of the index, its row in the file.
        self._places = np.argsort(own)
        self._kind, more = decided_kind(path, self._first(), options)
        self.facts = SourceFacts(
            format=format_name,
            num_classes=rows.num_classes,
            label_kind=self._kind,
            temperature=options.temperature_of(self._kind),
            top_k=None,
            index=index,
            hard_labels=hard_labels,
            policy=ForeignPolicy() if len(index.seeds) > 1 else None,
            order=SampleOrder.GIVEN,
            class_names=options.class_names,
            notes=(*notes, *more),
        )
        size = max(PART_BYTES // (4 * rows.num_classes), 1)
        self.parts = [
            Part(path, own[first : first + size], f", from row {first} on")
            for first in range(0, rows.num_rows, size)
        ]

    def records(self) -> RecordedViews | None:
        """None: nothing is known about the views."""
        return None

    def read(self, part: Part) -> NDArray[Any]:
        """See `Source.read`."""
        first = int(self._places[part.rows[0]])
        labels = self._read(first, first + len(part.rows))
        if self._kind is LabelKind.PROBABILITIES:
            check_distributions(labels, lambda row: f"{self._path}, row {first + row}")
        return labels

    def _first(self) -> NDArray[Any]:
        return self._read(0, min(self._rows.num_rows, _TOLD_BY))

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        try:
            with self._stamps.unchanged(self._path):
                return self._rows.read(start, stop)
        except LabelValueError as error:
            raise LabelValueError(f"{self._path}: {error.message}", path=self._path) from None


def decided_kind(
    path: Path, block: NDArray[Any], options: ImportOptions
) -> tuple[LabelKind, list[str]]:
    """Decide between logits and probabilities, by the options or the values of the first labels.

    Args:
        path: path of the file, for messages.
        block: first labels.
        options: options of the user.

    Returns:
        The kind, and notes on what was assumed.

    Raises:
        InvalidRequestError: neither options nor values tell.
        LabelValueError: the labels are not of the kind that the user gave.
    """
    kind, notes = options.label_kind, []
    if kind is None and block.shape[1] < 2:
        raise InvalidRequestError(f"{path} has one class, which tells nothing; give --label-kind")
    if kind is None:
        like = looks_like_probabilities(block)
        kind = LabelKind.PROBABILITIES if like else LabelKind.LOGITS
        notes.append(f"labels are taken for {kind} by their values; --label-kind says else")
    try:
        check_label_kind(block, kind)
    except LabelValueError as error:
        raise LabelValueError(f"{path}: {error.message}", path=path) from None
    if kind is LabelKind.PROBABILITIES and options.temperature is None:
        notes.append("probabilities are taken to be of temperature 1; --temperature says else")
    return kind, notes


def _opened(path: Path, layout: Layout) -> tuple[ArrayRows, NDArray[np.int64], NDArray[np.int64]]:
    """Open a file's rows, with the sample and the seed of each."""
    rows: ArrayRows
    if path.suffix == ".parquet":
        rows = ParquetRows(path, layout.labels)
        every = np.arange(rows.num_rows, dtype=np.int64)
        seeds = parquet_integers(path, layout.seeds) if layout.seeds else every * 0
        if not layout.ids and layout.seeds:
            raise LabelFileError(f"{path} has seeds without sample IDs; add a column sample_id")
        return rows, parquet_integers(path, layout.ids) if layout.ids else every, seeds
    samples = layout.shape[-2]
    ids: NDArray[np.int64] = np.arange(samples, dtype=np.int64)
    if path.suffix in SUFFIXES:
        rows, given = open_tensor(path, layout.labels, layout.ids)
        ids = ids if given is None else given
    elif path.suffix == ".npz":
        arrays = npz_arrays(path)
        require_floats(path, arrays[layout.labels].dtype)
        rows = NpzRows(path, arrays[layout.labels])
        if layout.ids:
            ids = npz_integers(path, arrays[layout.ids], samples)
    else:
        rows = open_label_file(path, tensor=layout.labels or None)
        if layout.ids:
            with safe_open(path, framework="np") as file:
                stored = file.get_tensor(layout.ids)
            require_integers(path, layout.ids, stored.shape, stored.dtype, samples)
            ids = stored.astype(np.int64)
    count = rows.num_rows // samples
    return rows, np.tile(ids, count), np.repeat(np.arange(count, dtype=np.int64), samples)


def _index(
    path: Path, sample_of: NDArray[np.int64], seed_of: NDArray[np.int64]
) -> tuple[SegmentIndex, NDArray[np.int64]]:
    """Build an index of views in any order, and find the row in it of each.

    Raises:
        LabelFileError: a number is negative, a view appears twice, or there is no order at all.
    """
    for name, values, least in (("sample ID", sample_of, 2**63), ("seed", seed_of, 2**32)):
        odd = (values < 0) | (values > least - 1)
        if odd.any():
            row = int(np.argmax(odd))
            raise LabelFileError(f"{path}, row {row}: {name} {values[row]} is out of range")
    sample_ids, sample = np.unique(sample_of, return_inverse=True)
    seeds, seed = np.unique(seed_of, return_inverse=True)
    if (seed[1:] >= seed[:-1]).all():
        order, cells = RowOrder.SEED_MAJOR, seed * len(sample_ids) + sample
    elif (sample[1:] >= sample[:-1]).all():
        order, cells = RowOrder.SAMPLE_MAJOR, sample * len(seeds) + seed
    else:
        raise LabelFileError(
            f"{path}: rows are sorted neither by seed nor by sample ID; sort them by either"
        )
    present, first, own, counts = np.unique(
        cells, return_index=True, return_inverse=True, return_counts=True
    )
    if (counts > 1).any():
        row = int(first[np.argmax(counts > 1)])
        raise LabelFileError(
            f"{path}, row {row}: sample ID {sample_of[row]} under seed {seed_of[row]} is there"
            " twice; remove one"
        )
    whole = len(present) == len(sample_ids) * len(seeds)
    index = index_of_cells(
        sample_ids.astype(np.uint64),
        seeds.astype(np.uint32),
        order,
        None if whole else present.astype(np.int64),
    )
    return index, own.astype(np.int64)
