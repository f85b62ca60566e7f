"""Label rows of an array, as fitting and encoding read those of a file."""

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.dense.files import LabelBlock


class InMemory:
    """Label rows of an array."""

    rows_per_seed: int | None = None

    def __init__(self, values: LabelBlock) -> None:
        self.values = values
        self.num_rows, self.num_classes = values.shape

    def read(self, start: int, stop: int) -> LabelBlock:
        return self.values[start:stop].copy()

    def gather(self, rows: NDArray[np.int64]) -> LabelBlock:
        return self.values[rows]
