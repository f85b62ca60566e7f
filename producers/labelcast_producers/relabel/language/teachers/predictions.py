"""What a teacher predicts after the tokens of a batch: states with their head, or logits."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.latent import Head


class Predictions(Protocol):
    """Predictions after T tokens, of which logits are made a few rows at a time."""

    def __len__(self) -> int:
        """Number of tokens, T."""

    def states(self, start: int, stop: int) -> NDArray[np.float32] | None:
        """States after the final norm: shape (stop − start, d); None if they are not known."""

    def logits(self, start: int, stop: int) -> NDArray[np.float32]:
        """Logits without padding: shape (stop − start, V)."""


@dataclass(frozen=True, eq=False, slots=True)
class StatePredictions:
    """Predictions as states.

    Attributes:
        values: float32, shape (T, d).
        head: makes logits of them.
    """

    values: NDArray[np.float32]
    head: Head

    def __len__(self) -> int:
        return len(self.values)

    def states(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `Predictions.states`."""
        return self.values[start:stop]

    def logits(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `Predictions.logits`."""
        return self.head.logits(self.values[start:stop])


@dataclass(frozen=True, eq=False, slots=True)
class LogitPredictions:
    """Predictions as a model's own logits.

    Attributes:
        values: float32, shape (T, V).
    """

    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def states(self, start: int, stop: int) -> None:
        """See `Predictions.states`."""

    def logits(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `Predictions.logits`."""
        return self.values[start:stop]
