"""What the classes get that a row does not name."""

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.sparse.base import SparseLabels


class MissingMass(StrEnum):
    """Where the probability is that the named classes leave."""

    SPREAD = "spread"
    """Each class that is not named has an equal share of it."""
    RENORMALISE = "renormalise"
    """Nowhere: what the named ones hold is scaled up to 1."""
    LUMPED = "lumped"
    """On all other classes together, as one outcome."""
    ZERO = "zero"
    """Nowhere: the named ones sum to less than 1."""

    @property
    def is_kept(self) -> bool:
        """Whether the other classes get it."""
        return self in {MissingMass.SPREAD, MissingMass.LUMPED}

    def completed(
        self,
        ids: NDArray[np.int64],
        probabilities: NDArray[Any],
        mass: NDArray[np.float64],
        num_classes: int,
    ) -> SparseLabels:
        """Labels of named classes.

        Args:
            ids: int64, shape (N, k).
            probabilities: floating, shape (N, k): of all classes; 0 in unused places.
            mass: shape (N,): what the classes hold that are not named.
            num_classes: number of classes, C.
        """
        rest = np.zeros(len(ids), dtype=np.float32)
        if self is MissingMass.RENORMALISE:
            probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        elif self.is_kept:
            others = num_classes - np.count_nonzero(probabilities, axis=1)
            rest = (mass / np.maximum(others, 1)).astype(np.float32)
        return SparseLabels(
            ids, probabilities.astype(np.float32), rest, lumped=self is MissingMass.LUMPED
        )
