"""The contract of codecs whose rows name a few classes."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import Codec, Labels
from labelcast.views import Rows


@dataclass(frozen=True, eq=False, slots=True)
class SparseLabels:
    """Labels by the classes that their rows name.

    Attributes:
        ids: int64, shape (N, k): classes, distinct within a row but for unused places.
        probabilities: float32, shape (N, k): theirs; 0 in unused places.
        rest: float32, shape (N,): probability of each class that is not named; 0 for none.
        lumped: whether the classes that are not named are one outcome, whose probability is what
            the named ones leave: losses compare it as a whole, and `rest` is its even share.
    """

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    rest: NDArray[np.float32]
    lumped: bool = False

    def dense(self, num_classes: int) -> Labels:
        """Probabilities of all classes: float32, shape (N, C), newly allocated."""
        labels = np.empty((len(self.ids), num_classes), dtype=np.float32)
        labels[:] = self.rest[:, None]
        row, place = np.nonzero(self.probabilities)
        labels[row, self.ids[row, place]] = self.probabilities[row, place]
        return labels


class SparseCodec(Codec):
    """Rows name a few classes with their probabilities, or what these follow from."""

    @abstractmethod
    def sparse(self, rows: Rows) -> SparseLabels:
        """The classes that `rows` name.

        Raises:
            As `check_rows`.
        """

    def check_rows(self, rows: Rows) -> None:
        self.sparse(rows)

    def decode(self, rows: Rows, context: Rows | None = None) -> Labels:
        self._check_context(rows, context)
        return self.sparse(rows).dense(self.header.num_classes)
