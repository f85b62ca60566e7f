"""Sequences cut into the batches that a model sees.

A batch holds consecutive sequences and depends on nothing but their lengths and `batch_tokens`:
any process that labels it, at any time, with as many threads, gets the same bits.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.relabel.language.text.sequences import TokenSequences


@dataclass(frozen=True, eq=False, slots=True)
class SequencePlan:
    """Batches of whole sequences; a row is a token, numbered over all sequences.

    Attributes:
        sequences: what is labelled.
        batch_tokens: most places of a batch, those included that fill up shorter sequences; a
            longer sequence is a batch of its own.
        firsts: int64, shape (batches + 1,): first sequence of each batch, and S.
    """

    sequences: TokenSequences
    batch_tokens: int
    firsts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        firsts, longest = [0], 0
        for number, length in enumerate(self.sequences.lengths.tolist()):
            longest = max(longest, length)
            count = number - firsts[-1] + 1
            if count > 1 and count * longest > self.batch_tokens:
                firsts.append(number)
                longest = length
        object.__setattr__(self, "firsts", np.array([*firsts, len(self.sequences)]))

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return len(self.firsts) - 1

    @property
    def num_rows(self) -> int:
        """Number of tokens."""
        return self.sequences.num_tokens

    def numbers(self, batch: int) -> range:
        """Sequences of a batch."""
        return range(int(self.firsts[batch]), int(self.firsts[batch + 1]))

    def rows(self, batch: int) -> tuple[int, int]:
        """First row of a batch, and the one after its last."""
        first, end = self.sequences.firsts[self.firsts[batch : batch + 2]]
        return int(first), int(end)

    def count_rows(self, batches: NDArray[np.int64]) -> int:
        """Number of rows in several batches together."""
        rows = np.diff(self.sequences.firsts[self.firsts])
        return int(rows[batches].sum())
