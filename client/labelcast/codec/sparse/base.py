"""The contract of codecs whose rows name a few classes."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import Codec, CodecHeader, Labels
from labelcast.views import Rows

# Class IDs are compared in two halves: a tolerance relative to the whole would let neighbours pass.
ID_BASE = 2**10


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

    def proof(self) -> NDArray[np.float32]:
        """Everything that a decoder must get right, in columns that a tolerance can compare.

        Returns:
            float32, shape (N, 3k + 1): for each place the upper and the lower 10 bits of its class
            and its probability, all places at a time; then `rest`.
        """
        upper, lower = np.divmod(self.ids, ID_BASE)
        columns = [upper, lower, self.probabilities, self.rest[:, None]]
        return np.concatenate(columns, axis=1, dtype=np.float32, casting="unsafe")

    def dense(self, num_classes: int) -> Labels:
        """Probabilities of all classes: float32, shape (N, C), newly allocated."""
        labels = np.empty((len(self.ids), num_classes), dtype=np.float32)
        labels[:] = self.rest[:, None]
        row, place = np.nonzero(self.probabilities)
        labels[row, self.ids[row, place]] = self.probabilities[row, place]
        return labels


class SparseCodec(Codec):
    """Rows name a few classes with their probabilities, or what these follow from.

    Besides the rules of every codec: the artifact proves what its golden rows name, since labels of
    a large vocabulary would take more bytes than all else.
    """

    @classmethod
    @abstractmethod
    def named_classes(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        """Places for classes in a row, k.

        Raises:
            As `tensor_specs`.
        """

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

    @classmethod
    def golden_columns(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        return 3 * cls.named_classes(header, config) + 1

    def golden_values(self, rows: Rows, context: Rows | None = None) -> Labels:
        self._check_context(rows, context)
        return self.sparse(rows).proof()
