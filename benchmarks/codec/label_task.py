"""Labels that codecs are tried on, and the split that they are fitted on."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.fitting.sampling import RowNumbers, Split, spaced

HOLDOUT_EVERY = 6
_BLOCK_ROWS = 4096
# Codecs choose between settings on so many fitted rows, or a quarter if there are few.
_CHOICE_ROWS = 4096


class LabelTask(ABC):
    """A labelled set, as a codec sees it: no images, no students."""

    @property
    @abstractmethod
    def dense(self) -> DenseLabels:
        """The teacher's labels of every view."""

    @property
    @abstractmethod
    def fit_steps(self) -> int:
        """Of every codec that is fitted by gradient descent."""

    @property
    def temperature(self) -> float:
        """At which labels are used, and so are to be near to the teacher's."""
        return 1.0

    @property
    def num_classes(self) -> int:
        """Values of a label."""
        return self.dense.description.num_classes

    @cached_property
    def split(self) -> Split:
        """The rows that codecs are fitted on, as `labelcast_producers.fitting.fit` cuts them."""
        return Split.of(
            self.dense.rows.num_rows,
            rows_per_seed=self.dense.rows.rows_per_seed,
            block_rows=None,
            holdout_every=HOLDOUT_EVERY,
        )

    def fitted_rows(self, limit: int | None = None) -> RowNumbers:
        """Rows that a codec may be fitted on: all, or `limit` of them evenly spaced."""
        count = self.split.seen_rows
        return self.split.seen(spaced(count, count if limit is None else limit))

    def choice_rows(self) -> RowNumbers:
        """Fitted rows by which a codec chooses between settings."""
        return self.fitted_rows(min(_CHOICE_ROWS, self.split.seen_rows // 4))

    def rows_beside_choice(self, limit: int) -> RowNumbers:
        """At most `limit` fitted rows, evenly spaced, for what learns rows by heart and is chosen.

        Codewords of many dimensions know the rows that they were trained on: by those, more
        components would always be better.
        """
        others = np.setdiff1d(self.fitted_rows(), self.choice_rows(), assume_unique=True)
        return others[spaced(len(others), limit)]

    def unseen_rows(self) -> RowNumbers:
        """Rows of the views that no codec is fitted on."""
        return self.split.unseen(np.arange(self.split.unseen_rows))

    def labels(self, rows: RowNumbers) -> Iterator[tuple[RowNumbers, NDArray[Any]]]:
        """The teacher's logits of `rows`, in blocks that fit into memory."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            yield block, self.dense.rows.gather(block)
