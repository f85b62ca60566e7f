"""Which rows a fit sees: the hold-out split, and batches as a pure function of (seed, step).

Rows:  | block 0 | block 1 | … | block E-1 | block E | …      E = holdout_every
       | fitted  | fitted  | … | held out  | fitted  | …

With one augmentation seed per block, the held-out rows are views that the fit has never seen, of
samples that it has: what a student requests if seeds are labelled later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RowNumbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows cut into blocks, of which one in every `holdout_every` is held out.

    Attributes:
        num_rows: number of rows, N.
        block_rows: rows per block; the last may be shorter.
        holdout_every: blocks per period, E; 0 holds nothing out.
    """

    num_rows: int
    block_rows: int
    holdout_every: int

    @classmethod
    def of(
        cls, num_rows: int, *, rows_per_seed: int | None, block_rows: int | None, holdout_every: int
    ) -> "Split":
        """Choose the block: as given, else one seed, else to make ten hold-out periods."""
        blocks = 10 * max(1, holdout_every)
        chosen = block_rows or rows_per_seed or max(1, num_rows // blocks)
        return cls(num_rows, chosen, holdout_every)

    @property
    def seen_rows(self) -> int:
        """Rows that are fitted."""
        periods, rest = divmod(self.num_rows, self._period)
        return periods * self._seen_in_period + min(rest, self._seen_in_period)

    @property
    def unseen_rows(self) -> int:
        """Rows that are held out."""
        return self.num_rows - self.seen_rows

    def seen(self, positions: RowNumbers) -> RowNumbers:
        """Row numbers of the fitted rows at `positions`, 0 to seen_rows - 1."""
        periods, within = np.divmod(positions, self._seen_in_period)
        return periods * self._period + within

    def unseen(self, positions: RowNumbers) -> RowNumbers:
        """Row numbers of the held-out rows at `positions`, 0 to unseen_rows - 1."""
        periods, within = np.divmod(positions, self.block_rows)
        return periods * self._period + self._seen_in_period + within

    @property
    def _period(self) -> int:
        return self.block_rows * max(1, self.holdout_every)

    @property
    def _seen_in_period(self) -> int:
        return self.block_rows * max(1, self.holdout_every - 1)


def batch_rows(split: Split, *, seed: int, step: int, count: int, run_rows: int) -> RowNumbers:
    """Rows of one fitting step: random short runs of consecutive fitted rows.

    Args:
        split: the rows that are fitted.
        seed: seed of the fit.
        step: number of the step; the same (seed, step) gives the same rows on every machine.
        count: number of rows.
        run_rows: length of a run; capped so that a batch has at least 8 runs.

    Returns:
        int64, shape (count,); drawn with replacement.
    """
    run = max(1, min(run_rows, count // 8, split.seen_rows))
    generator = np.random.default_rng([seed, step])
    starts = generator.integers(0, split.seen_rows, -(-count // run))
    positions = (starts[:, None] + np.arange(run)).ravel()[:count] % split.seen_rows
    return split.seen(positions)


def spaced(count: int, limit: int) -> RowNumbers:
    """At most `limit` positions out of `count`, evenly spaced: int64, ascending."""
    return np.arange(count) if count <= limit else np.arange(limit) * count // limit
