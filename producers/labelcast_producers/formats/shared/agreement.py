"""How well labels fit the classes that are expected of what their views show.

A label's classes are ranked, so that neither the scale of its values nor one large value matters,
and each class is compared with its own usual rank, so that neither does a teacher's favourite. Of
a class that has nothing to do with the view, such a rank is 0 on average, with a variance of 1.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The chance that labels in their right order are refused: of all comparisons of one set together.
RISK = 1e-3


@dataclass(frozen=True, slots=True)
class Fit:
    """How well labels fit the classes expected of them.

    Attributes:
        rows: how many labels there are.
        total: sum of the ranks of expected classes.
        variance: of that sum, if labels and classes had nothing to do with each other.
    """

    rows: int = 0
    total: float = 0.0
    variance: float = 0.0

    @classmethod
    def of(
        cls, ranks: NDArray[np.float32], classes: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> "Fit":
        """Sum the ranks of classes.

        Args:
            ranks: `class_ranks` of labels, shape (n, C).
            classes: expected of each, shape (n, m); rows with a negative one are left out.
            weights: of those classes, shape (n, m).
        """
        known = (classes >= 0).all(axis=1)
        classes, weights = classes[known], weights[known]
        count = ranks.shape[1]
        if count < 2 or not len(classes):
            return cls()
        total = (np.take_along_axis(ranks[known], classes, axis=1) * weights).sum()
        same = classes[:, :, None] == classes[:, None, :]
        squares = np.einsum("ij,ik,ijk->", weights, weights, same)
        # The ranks of one label have a sum of 0.
        squares -= (weights.sum(axis=1) ** 2).sum() / count
        return cls(len(classes), float(total), float(squares) * count / (count - 1))

    def __add__(self, other: "Fit") -> "Fit":
        return Fit(self.rows + other.rows, self.total + other.total, self.variance + other.variance)

    @property
    def errors(self) -> float:
        """Standard errors above what chance gives."""
        return self.total / np.sqrt(self.variance) if self.variance > 0 else 0.0

    @property
    def is_borne_out(self) -> bool:
        """Whether this is more than chance gives."""
        return self.exceeds_chance(risk=RISK)

    def exceeds_chance(self, *, risk: float) -> bool:
        """Whether chance gives this less often than `risk`."""
        return self.errors > NormalDist().inv_cdf(1 - risk)

    def has_fallen_from(self, other: "Fit", *, risk: float) -> bool:
        """Whether this is chance, where the other is not.

        Views of one batch are mixed alike, so fits differ by more than labels that are drawn one by
        one: it must have fallen more than halfway to chance too.

        Args:
            other: of other labels.
            risk: the chance that a difference by chance is taken for one.
        """
        if not self.rows or self.is_borne_out or not other.is_borne_out:
            return False
        mean, usual = self.total / self.rows, other.total / other.rows
        variance = self.variance / self.rows**2 + other.variance / other.rows**2
        fell = Fit(1, usual - mean, variance)
        return mean < usual / 2 and fell.exceeds_chance(risk=risk)


def class_ranks(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Rank the classes of each label.

    Args:
        labels: shape (n, C).

    Returns:
        Shape (n, C), higher for likelier classes.
    """
    count = labels.shape[1]
    wide = labels.astype(np.float32)
    order = (wide - wide.mean(axis=0)).argsort(axis=1, kind="stable")
    ranks: NDArray[np.float32] = np.empty(labels.shape, dtype=np.float32)
    steps = np.broadcast_to(np.arange(count, dtype=np.float32), labels.shape)
    np.put_along_axis(ranks, order, steps, axis=1)
    ranks -= (count - 1) / 2
    ranks /= max(np.sqrt((count**2 - 1) / 12), 1.0)
    ranks -= ranks.mean(axis=0)
    return ranks
