"""Parts of files whose rows are numbered one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from labelcast_producers.formats.source import Part


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows start to stop - 1 and the file that holds them."""

    path: Path
    start: int
    stop: int


class ConsecutiveParts(Sequence[Part]):
    """Parts of equal size, made on request: a large cache has more rows than memory has room for.

    Args:
        ranges: ranges of rows, in order of the files and without gaps.
        rows_per_part: most rows of a part; a part never reaches into the next file.
    """

    def __init__(self, ranges: Sequence[RowRange], rows_per_part: int) -> None:
        self._ranges = ranges
        self._rows_per_part = rows_per_part
        counts = [-(-(rows.stop - rows.start) // rows_per_part) for rows in ranges]
        self._stops = np.cumsum(np.array(counts, dtype=np.int64))

    def __len__(self) -> int:
        return int(self._stops[-1])

    @overload
    def __getitem__(self, at: int) -> Part: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Part]: ...

    def __getitem__(self, at: int | slice) -> Part | Sequence[Part]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        number = int(np.searchsorted(self._stops, at, side="right"))
        before = int(self._stops[number - 1]) if number else 0
        rows = self._ranges[number]
        start = rows.start + (at - before) * self._rows_per_part
        stop = min(start + self._rows_per_part, rows.stop)
        return Part(rows.path, np.arange(start, stop), f", labels {start} to {stop - 1}")
