"""Labels of other projects as rows: read part by part, returned in row order, in bounded memory.

Rules:
  * rows come out in rising order; going back is allowed and costs reading the parts again;
  * at most one window (the parts whose rows interleave, mostly one epoch) is in memory; an epoch
    larger than WINDOW_BYTES is cut into several, and its parts are read once for each;
  * every row is written by exactly one part, or the source is refused.
"""

import bisect
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast.errors import LabelFileError, LabelValueError
from labelcast_producers.dense.files import LabelBlock, check_finite
from labelcast_producers.dense.label_kind import run_of_probabilities
from labelcast_producers.formats.source import Part, Source

WINDOW_BYTES = 384 * 2**20


@dataclass(frozen=True, slots=True)
class _Window:
    """Parts whose rows are exactly `first` to `last` − 1."""

    first: int
    last: int
    parts: tuple[Part, ...]


class ForeignRows:
    """The labels of a source by row number, as fitting and encoding read them.

    Args:
        source: scanned source.
        window_bytes: most bytes of labels in memory.

    Raises:
        LabelFileError: the source has no labels, or its parts do not add up to its rows.
    """

    rows_per_seed: int | None = None

    def __init__(self, source: Source, *, window_bytes: int = WINDOW_BYTES) -> None:
        if not source.parts:
            raise LabelFileError("there are no labels in these files")
        self._source = source
        self.num_rows = source.facts.index.num_rows
        self.num_classes = source.facts.num_classes
        self._windows = _windows(source)
        # One part tells the type of all; it is read anyway.
        self.dtype: np.dtype[Any] = source.read(source.parts[0]).dtype
        row_bytes = self.num_classes * self.dtype.itemsize
        self._most_rows = max(1, window_bytes // row_bytes)
        self._held_first = 0
        self._held: LabelBlock = np.zeros((0, self.num_classes), dtype=self.dtype)

    def read(self, start: int, stop: int) -> LabelBlock:
        """Rows start to stop − 1: finite, in the source's precision, newly allocated.

        Raises:
            LabelFileError: the range is outside the source, or a file has changed.
            LabelValueError: a row holds NaN or infinity; names the first.
        """
        if not 0 <= start <= stop <= self.num_rows:
            raise LabelFileError(f"there are no rows {start} to {stop}")
        values: LabelBlock = np.empty((stop - start, self.num_classes), dtype=self.dtype)
        row = start
        while row < stop:
            end = self._held_first + len(self._held)
            if not self._held_first <= row < end:
                self._hold(row)
                end = self._held_first + len(self._held)
            last = min(stop, end)
            # Copied at once: the next window is read into the same memory.
            values[row - start : last - start] = self._held[
                row - self._held_first : last - self._held_first
            ]
            row = last
        return values

    def gather(self, rows: NDArray[np.int64]) -> LabelBlock:
        """Read rows in the order given."""
        order = np.argsort(rows, kind="stable")
        values: LabelBlock = np.empty((len(rows), self.num_classes), dtype=self.dtype)
        for at in order.tolist():
            values[at] = self.read(int(rows[at]), int(rows[at]) + 1)[0]
        return values

    def blocks(self, first_row: int) -> Iterator[LabelBlock]:
        """Yield rows from `first_row` on, a window at a time; a block is valid until the next."""
        row = first_row
        while row < self.num_rows:
            self._hold(row)
            block = self._held[row - self._held_first :]
            yield block
            row += len(block)

    def _hold(self, row: int) -> None:
        at = bisect.bisect_right(self._windows, row, key=lambda window: window.first) - 1
        window = self._windows[at]
        cut = (row - window.first) // self._most_rows
        first = window.first + cut * self._most_rows
        last = min(first + self._most_rows, window.last)
        if len(self._held) != last - first:
            self._held = np.empty((last - first, self.num_classes), dtype=self.dtype)
        written = 0
        for part, read in self._read_ahead(window.parts):
            labels, rows = read, part.rows - first
            if labels.shape != (len(rows), self.num_classes) or labels.dtype != self.dtype:
                raise LabelFileError(
                    f"{part.path}{part.at}: labels of shape {labels.shape} and type {labels.dtype},"
                    f" the first file has {self.num_classes} classes of type {self.dtype}",
                    path=part.path,
                )
            self._require_kind(part, read)
            if first > window.first or last < window.last:
                inside = np.flatnonzero((rows >= 0) & (rows < last - first))
                rows, labels = rows[inside], labels[inside]
            self._held[rows] = labels
            written += len(rows)
        if written != last - first:
            raise LabelFileError(f"rows {first} to {last} are not all in the files, or twice")
        check_finite(self._held, np.arange(first, last))
        self._held_first = first

    def _require_kind(self, part: Part, labels: NDArray[Any]) -> None:
        """Refuse a batch of probabilities among logits; what is all of one kind was compared."""
        facts = self._source.facts
        if facts.label_kind is not LabelKind.LOGITS or facts.top_k is not None:
            return
        row = run_of_probabilities(labels)
        if row is not None:
            raise LabelValueError(
                f"{part.path}{part.at}: labels from row {row} on lie in 0…1 and sum to 1, where"
                " others of these files are logits; fetch it again, or label it again before the"
                " softmax",
                path=part.path,
                row=row,
            )

    def _read_ahead(self, parts: tuple[Part, ...]) -> Iterator[tuple[Part, NDArray[Any]]]:
        # While a part waits for the disk, the labels before it are put in place.
        with ThreadPoolExecutor(1, thread_name_prefix="import") as reader:
            upcoming: Future[NDArray[Any]] = reader.submit(self._source.read, parts[0])
            for number, part in enumerate(parts):
                labels = upcoming.result()
                if number + 1 < len(parts):
                    upcoming = reader.submit(self._source.read, parts[number + 1])
                yield part, labels


def _windows(source: Source) -> list[_Window]:
    """Cut the parts wherever all rows before the cut lie below all rows after it."""
    windows: list[_Window] = []
    first, above, parts = 0, 0, list[Part]()
    count = 0
    for part in source.parts:
        parts.append(part)
        above = max(above, int(part.rows.max()) + 1)
        count += len(part.rows)
        # As many rows as numbers below the highest: none is left for later parts.
        if count == above:
            windows.append(_Window(first, above, tuple(parts)))
            first, parts = above, []
    if parts or count != source.facts.index.num_rows:
        raise LabelFileError(
            f"the files hold {count} labels, not the {source.facts.index.num_rows} that were found"
        )
    return windows
