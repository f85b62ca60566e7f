"""Which parts of which samples stand in which row of a batch.

Rows are made once, from lengths alone, and only their order changes from epoch to epoch: every
epoch then has equally many steps, and any batch of it can be had without the ones before.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError

# Rows that may still be filled. A part is tried in each, so they bound the time it takes; with so
# many, texts of 20 to 600 tokens fill 99 % of rows of 1,024.
_OPEN_ROWS = 256


@dataclass(frozen=True, eq=False, slots=True)
class Packing:
    """Rows of parts of samples.

    Attributes:
        row_length: places of a row.
        samples: int64, shape (P,): place of each part's sample, in the order of rows.
        firsts: int64, shape (P,): position of the sample that the part begins with.
        lengths: int64, shape (P,): tokens of the part.
        ends: int64, shape (R + 1,): parts of row r are `ends[r]` to before `ends[r + 1]`.
    """

    row_length: int
    samples: NDArray[np.int64]
    firsts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __repr__(self) -> str:
        share = self.lengths.sum() / (len(self) * self.row_length)
        return f"<Packing: {len(self):,} rows of {self.row_length}, {share:.1%} filled>"

    def parts(self, row: int) -> slice:
        """The parts of a row."""
        return slice(int(self.ends[row]), int(self.ends[row + 1]))

    def digest(self) -> int:
        """First 64 bits of a SHA-256 of all that it says."""
        content = hashlib.sha256(b"%d" % self.row_length)
        for column in (self.samples, self.firsts, self.lengths, self.ends):
            content.update(column.astype("<i8").tobytes())
        return int.from_bytes(content.digest()[:8], "little")


def pack(
    lengths: NDArray[np.int64],
    row_length: int,
    *,
    order: NDArray[np.int64],
    packed: bool = True,
    needed: NDArray[np.int64] | None = None,
) -> Packing:
    """Fill rows with samples, first-fit: a part goes into the first open row that has room for it.

    A sample that is longer than a row is cut into parts of a row's length, and the rest. The same
    arguments always give the same rows.

    Args:
        lengths: int64, shape (S,): tokens of each sample.
        row_length: places of a row.
        order: int64: places of the samples, in the order in which they are put into rows.
        packed: whether several parts may share a row.
        needed: int64, shape (tokens + 1,): number of positions before each token, over all samples,
            whose labels count: a part without any is left out. None if all count.

    Raises:
        InvalidRequestError: a row without places, or nothing to put into rows.
    """
    if row_length < 1:
        raise InvalidRequestError(f"row_length is {row_length}, must be at least 1")
    samples, firsts, sizes = _parts(lengths, row_length, order)
    if needed is not None:
        starts = (np.cumsum(lengths) - lengths)[samples] + firsts
        kept = needed[starts + sizes] > needed[starts]
        samples, firsts, sizes = samples[kept], firsts[kept], sizes[kept]
    if not len(samples):
        raise InvalidRequestError(
            "no position's label counts: nothing is left to train on; check the mask of positions"
            " that count, and that the label set has their labels"
        )
    rows = _first_fit(sizes, row_length) if packed else np.arange(len(sizes))
    by_row = np.argsort(rows, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows))])
    return Packing(row_length, samples[by_row], firsts[by_row], sizes[by_row], ends)


def _parts(
    lengths: NDArray[np.int64], row_length: int, order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sample, first position and length of every part, in the order of the samples."""
    counts = -(-lengths[order] // row_length)
    samples = np.repeat(order, counts)
    number = np.arange(len(samples)) - np.repeat(np.cumsum(counts) - counts, counts)
    firsts = number * row_length
    return samples, firsts, np.minimum(lengths[samples] - firsts, row_length)


def _first_fit(sizes: NDArray[np.int64], row_length: int) -> NDArray[np.int64]:
    """Row of each part; rows are numbered as they are opened."""
    rows = np.empty(len(sizes), dtype=np.int64)
    room = np.empty(0, dtype=np.int64)
    numbers = np.empty(0, dtype=np.int64)
    opened = 0
    for place, size in enumerate(sizes.tolist()):
        fits = room >= size
        first = int(fits.argmax()) if len(fits) else 0
        if len(fits) and fits[first]:
            rows[place] = numbers[first]
            room[first] -= size
            continue
        rows[place] = opened
        if size < row_length:
            if len(room) == _OPEN_ROWS:
                fullest = int(room.argmin())
                room, numbers = np.delete(room, fullest), np.delete(numbers, fullest)
            room = np.append(room, row_length - size)
            numbers = np.append(numbers, opened)
        opened += 1
    return rows
