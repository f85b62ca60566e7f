"""Scanned DistillKit files, whose labels are read part by part.

A sample is a sequence, numbered in the order of the files, and a view is a position in it. The
label at position t is the model's prediction after token t.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import PositionPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.sparse.distillkit.settings import Settings
from labelcast.codec.topk import MAX_TOTAL, Recovery
from labelcast.errors import LabelFileError
from labelcast.label_set import RowOrder, SampleOrder, SegmentIndex, index_of_cells
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.distillkit.labels import decoded
from labelcast_producers.formats.distillkit.parquet import SequenceFile, Sequences
from labelcast_producers.formats.distillkit.tokens import write_tokens
from labelcast_producers.formats.shared.consecutive_parts import ConsecutiveParts, RowRange
from labelcast_producers.formats.shared.counting import counted
from labelcast_producers.formats.shared.stamps import changed
from labelcast_producers.formats.source import Part, Source, SourceFacts, TopK

FORMAT = "distillkit"
_PART_BYTES = 64 * 2**20
# Log-probabilities that are decoded at once while scanning.
_CHUNK_VALUES = 2**20
# More are no accident, and one line each says enough.
_MOST_COPIES = 8


class DistillKitSource(Source):
    """Labels of token positions.

    Keeps the sequences that were read last, some megabytes, because parts are smaller than the
    least that Parquet can read: reading parts in order decodes every file once.

    Args:
        files: files in the order that numbers their sequences.
        settings: settings of all files.
        recovery: what the tokens outside the k get.

    Raises:
        LabelFileError: a file is damaged or contradicts the settings.
        LabelValueError: see `DistillKitImporter.open`.
    """

    def __init__(
        self,
        files: list[SequenceFile],
        settings: Settings,
        recovery: Recovery,
        progress: Progress = unwatched,
    ) -> None:
        self._files = files
        self._settings = settings
        self._recovery = recovery
        scan = _Scan(settings, recovery)
        self._first_sequences = [0]
        for file in counted(files, progress):
            content = hashlib.sha256()
            for sequences in file.sequences():
                scan.add(file, sequences)
                for held in (sequences.num_labels, sequences.values, sequences.indices):
                    content.update(np.ascontiguousarray(held).data)
            scan.finish(file, content.digest())
            self._first_sequences.append(scan.num_sequences)
        lengths = scan.lengths()
        # Row numbers count labels in the order of the files: those of a sequence start here.
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if not self._starts[-1]:
            raise LabelFileError(f"{files[0].path.parent}: not one sequence has labels")
        self.facts = SourceFacts(
            format=FORMAT,
            num_classes=settings.d,
            label_kind=LabelKind.PROBABILITIES,
            temperature=1.0,
            top_k=TopK(settings.k, recovery),
            index=_index(lengths),
            hard_labels=None,
            policy=PositionPolicy(),
            order=SampleOrder.GIVEN,
            notes=scan.notes([file.path for file in files]),
        )
        spans = [
            RowRange(file.path, int(self._starts[first]), int(self._starts[last]))
            for file, first, last in zip(
                files, self._first_sequences[:-1], self._first_sequences[1:], strict=True
            )
        ]
        self.parts = ConsecutiveParts(spans, rows_per_part=max(_PART_BYTES // (4 * settings.d), 1))
        self._held: _Held | None = None

    def records(self) -> RecordedViews | None:
        """None: views are positions, which need no records."""
        return None

    def read(self, part: Part) -> NDArray[np.float32]:
        """See `Source.read`; prefer `read_top_k`, which does not fill rows of C classes."""
        ids, probabilities = self.read_top_k(part)
        labels = np.zeros((len(ids), self._settings.d), dtype=np.float32)
        others = self._settings.d - self._settings.k
        if self._recovery is Recovery.SPREAD and others:
            rest = 1 - probabilities.sum(axis=1, dtype=np.float64, keepdims=True)
            labels += (np.maximum(rest, 0) / others).astype(np.float32)
        np.put_along_axis(labels, ids, probabilities, axis=1)
        return labels

    def read_top_k(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read the k classes of each label of a part and their probabilities.

        Returns:
            int64 and float32, each of shape (n, k), in the order of `part.rows`; a row sums to at
            most 1, and to 1 with `renormalise`.

        Raises:
            LabelFileError: the file changed since it was scanned, or is damaged.
            LabelValueError: see `DistillKitImporter.open`.
        """
        at, stop = int(part.rows[0]), int(part.rows[-1]) + 1
        ids, probabilities = [], []
        while at < stop:
            held = self._holding(at)
            end = min(stop, held.stop)
            block = decoded(
                held.file,
                held.sequences,
                slice(at - held.start, end - held.start),
                self._settings,
                self._recovery,
            )
            ids.append(block.ids)
            probabilities.append(block.probabilities)
            at = end
        return np.concatenate(ids), np.concatenate(probabilities)

    def write_input_ids(self, path: Path) -> None:
        """Write the tokens that the labels belong to; see `write_tokens`."""
        write_tokens(self._files, path)

    def _holding(self, row: int) -> "_Held":
        """The sequences that hold a row."""
        held = self._held
        if held is not None and held.start <= row < held.stop:
            return held
        sequence = int(np.searchsorted(self._starts, row, side="right")) - 1
        number = bisect_right(self._first_sequences, sequence) - 1
        file, first = self._files[number], self._first_sequences[number]
        if held is not None and held.file is file and held.stop == row:
            remaining = held.remaining
        else:
            remaining = file.sequences(sequence - first)
        # Dropped before reading on, so that no two are held at a time.
        held = self._held = None
        for sequences in remaining:
            begin = first + sequences.first_row
            expected = np.diff(self._starts[begin : begin + len(sequences.num_labels) + 1])
            if not np.array_equal(expected, sequences.num_labels):
                break
            start = int(self._starts[begin])
            stop = start + int(sequences.num_labels.sum())
            if row < stop:
                self._held = _Held(file, sequences, start, stop, remaining)
                return self._held
        raise changed(file.path)


@dataclass(frozen=True, eq=False, slots=True)
class _Held:
    """Sequences of a file, their rows start to stop - 1, and what comes next."""

    file: SequenceFile
    sequences: Sequences
    start: int
    stop: int
    remaining: Iterator[Sequences]


class _Scan:
    """Totals over the sequences of all files."""

    def __init__(self, settings: Settings, recovery: Recovery) -> None:
        self._settings = settings
        self._recovery = recovery
        self._lengths: list[NDArray[np.int64]] = []
        self._shorter = self._scaled = self._rows = 0
        self._largest = 1.0
        self._first_with: dict[bytes, str] = {}
        self._copies: list[tuple[str, str]] = []
        self.num_sequences = 0

    def add(self, file: SequenceFile, sequences: Sequences) -> None:
        """Check and count every label of some sequences."""
        step = max(_CHUNK_VALUES // self._settings.k, 1)
        for start in range(0, len(sequences.values), step):
            rows = slice(start, start + step)
            totals = decoded(file, sequences, rows, self._settings, self._recovery).totals
            self._scaled += int((totals > MAX_TOTAL).sum())
            self._largest = max(self._largest, float(totals.max()))
            self._rows += len(totals)
        self._lengths.append(sequences.num_labels)
        self._shorter += int((sequences.num_labels < sequences.num_tokens).sum())
        self.num_sequences += len(sequences.num_labels)

    def finish(self, file: SequenceFile, content: bytes) -> None:
        """Compare a file's labels, by their digest, with those of the files before it."""
        name = file.path.name
        if (first := self._first_with.setdefault(content, name)) != name:
            self._copies.append((name, first))

    def lengths(self) -> NDArray[np.int64]:
        """Labels of each sequence, shape (num_sequences,)."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._lengths])

    def notes(self, paths: list[Path]) -> tuple[str, ...]:
        """Notes for people on what was found."""
        notes = [
            "sample IDs are rows of the Parquet files, counted on from file to file",
            "seeds are positions, and a label is of what follows",
        ]
        if paths != sorted(paths):
            notes.append("files are ordered by the numbers in their names: 2 comes before 10")
        # Not refused: a teacher says the same of a text that was captured twice.
        for copy, original in self._copies[:_MOST_COPIES]:
            notes.append(
                f"{copy} holds the very labels of {original}: if it was copied by mistake, remove"
                " it or fetch it again, since all sample IDs count on from file to file"
            )
        if self._shorter:
            notes.append(f"{self._shorter} sequences have no label at their last token")
        if empty := int((self.lengths() == 0).sum()):
            notes.append(f"{empty} sequences have no labels at all and are left out")
        if self._scaled:
            divides = self._recovery is Recovery.RENORMALISE
            notes.append(
                f"{self._scaled} of {self._rows} labels sum to above 1 by rounding or by the fit to"
                f" their tail, up to {self._largest:.4f}; they are"
                f" {'divided by their sum' if divides else 'scaled to 1'}"
            )
        return tuple(notes)


def _index(lengths: NDArray[np.int64]) -> SegmentIndex:
    sample_ids = np.flatnonzero(lengths)
    lengths = lengths[sample_ids]
    longest = int(lengths.max())
    present = None
    if (lengths < longest).any():
        # Sequence number × longest, and the position counted from the start of its sequence.
        starts = np.cumsum(lengths) - lengths
        shift = np.arange(len(lengths)) * longest - starts
        present = np.arange(lengths.sum()) + np.repeat(shift, lengths)
    return index_of_cells(
        sample_ids.astype(np.uint64),
        np.arange(longest, dtype=np.uint32),
        RowOrder.SAMPLE_MAJOR,
        present,
    )
