"""All views of a run, cut into the batches that the teacher sees.

A batch never crosses a seed, and its views depend on nothing but the data set, the seeds and
`batch_rows`: any process that labels a batch, at any time, gets the same bits.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labelcast.label_set import SegmentIndex


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Batches of a seed-major index.

    Attributes:
        index: every view that is labelled, and its row.
        batch_rows: most views in a batch.
        num_batches: number of batches.
    """

    index: SegmentIndex
    batch_rows: int
    num_batches: int = field(init=False)
    _first_rows: NDArray[np.int64] = field(init=False)
    _first_batches: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        cells = np.arange(len(self.index.seeds) + 1) * len(self.index.sample_ids)
        rows = self.index.rows_before(cells)
        batches = np.append(0, np.cumsum(-(-np.diff(rows) // self.batch_rows)))
        object.__setattr__(self, "_first_rows", rows)
        object.__setattr__(self, "_first_batches", batches)
        object.__setattr__(self, "num_batches", int(batches[-1]))

    @property
    def num_rows(self) -> int:
        """Number of views."""
        return self.index.num_rows

    def rows(self, batch: int) -> tuple[int, int]:
        """First row of a batch, and the one after its last."""
        seed = int(np.searchsorted(self._first_batches, batch, side="right")) - 1
        within = batch - int(self._first_batches[seed])
        first = int(self._first_rows[seed]) + within * self.batch_rows
        return first, min(first + self.batch_rows, int(self._first_rows[seed + 1]))

    def count_rows(self, batches: NDArray[np.int64]) -> int:
        """Number of rows in several batches together."""
        seeds = np.searchsorted(self._first_batches, batches, side="right") - 1
        within = (batches - self._first_batches[seeds]) * self.batch_rows
        left = self._first_rows[seeds + 1] - self._first_rows[seeds] - within
        return int(np.minimum(left, self.batch_rows).sum())
