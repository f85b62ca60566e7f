"""Every sample under every seed: rows follow by arithmetic."""

import numpy as np
from numpy.typing import NDArray

from labelcast.label_set.index.base import SegmentIndex
from labelcast.views import Views


class GridIndex(SegmentIndex):
    """Index of a segment that has all views of its samples and seeds."""

    @property
    def num_rows(self) -> int:
        return self.num_cells

    @property
    def present(self) -> None:
        return None

    def pack_presence(self) -> None:
        return None

    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        return self._cells(views)

    def cells_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows

    def rows_before(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        return cells

    def count_views(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.full(len(samples), len(self.seeds), dtype=np.int64)

    def nth_seeds(
        self, samples: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        return self.seeds.take(numbers)
