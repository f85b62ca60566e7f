"""Value → position in a strictly increasing table, without a binary search over the whole of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError

# Below, the many numpy calls of the bucketed search take longer than one plain binary search.
_FEW_VALUES = 256
_PIECE = 2**16


class SortedTable:
    """A strictly increasing column of a segment, such as its sample IDs.

    A table without gaps is looked up by subtraction. Others are cut into as many buckets of equal
    width as they have entries: a value's bucket says where the search begins, and only as many
    entries as the fullest bucket has are searched: three halvings for evenly spread values such as
    digests. A binary search over a large table waits for memory at every step instead.

    Args:
        values: unsigned integers, shape (S,).
        name: name of the section, for the error.

    Raises:
        ManifestError: the values do not increase strictly.
    """

    def __init__(self, values: NDArray[Any], name: str) -> None:
        if (values[1:] <= values[:-1]).any():
            raise ManifestError(f"the section {name} is not strictly increasing")
        self.values = values
        span = int(values[-1]) - int(values[0]) if len(values) else 0
        self._has_gaps = span >= max(1, len(values))
        if self._has_gaps:
            self._cut(span)

    def positions(self, values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Look up values.

        Args:
            values: values of the table's dtype, shape (N,).

        Returns:
            int64 and bool, shape (N,): positions, and whether the table has the value; for a
            missing value, the position is any inside the table.
        """
        if not len(self.values):
            return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.bool_)
        if self._has_gaps:
            return self._search(values)
        offsets = values - self.values[0]
        known = offsets < len(self.values)
        # Values below the first have wrapped round to above the last.
        np.minimum(offsets, offsets.dtype.type(len(self.values) - 1), out=offsets)
        return _signed(offsets), known

    def _cut(self, span: int) -> None:
        values = self.values
        shift = max(0, span.bit_length() - len(values).bit_length())
        self._shift = values.dtype.type(shift)
        dtype = np.dtype(np.int32 if len(values) < 2**31 else np.int64)
        self._starts = np.zeros((span >> shift) + 2, dtype=dtype)
        counts = self._starts[1:]
        # In pieces that fit the processor's cache: twice as fast as all at once.
        for start in range(0, len(values), _PIECE):
            buckets = self._buckets(values[start : start + _PIECE])
            first = int(buckets[0])
            counted = np.bincount(buckets - first)
            counts[first : first + len(counted)] += counted.astype(dtype)
        self._halvings = (int(counts.max()) - 1).bit_length()
        np.cumsum(counts, out=counts)

    def _search(self, values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        table = self.values
        if len(values) < _FEW_VALUES:
            at = np.minimum(np.searchsorted(table, values), len(table) - 1)
            return at, table.take(at) == values
        at = self._starts.take(self._buckets(values), mode="clip").astype(np.int64)
        found = table.take(at, mode="clip")
        known = found == values
        further = np.flatnonzero(found < values)
        if len(further):
            wanted, low = values[further], at[further] + 1
            for step in (1 << number for number in reversed(range(self._halvings))):
                # Entries of the next buckets are larger anyway, so none of them is passed.
                low += (table.take(low + (step - 1), mode="clip") < wanted) * np.int64(step)
            np.minimum(low, len(table) - 1, out=low)
            at[further], known[further] = low, table.take(low) == wanted
        return np.minimum(at, len(table) - 1, out=at), known

    def _buckets(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return _signed((values - self.values[0]) >> self._shift)


def _signed(offsets: NDArray[Any]) -> NDArray[np.int64]:
    return offsets.view(np.int64) if offsets.itemsize == 8 else offsets.astype(np.int64)
