"""One process's part of the labelling."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.progress import Progress, unwatched
from labelcast_producers.fitting.parallel import Workers
from labelcast_producers.relabel.finished_batches import FinishedBatches
from labelcast_producers.relabel.label_writer import OpenLabels

# Often enough that the processes stay together (if one fails, all stop, and none waits for the last
# one longer than torch allows), seldom enough that a slow batch makes few of them wait.
_BATCHES_BETWEEN_MEETINGS = 8


class BatchPlan(Protocol):
    """How the rows of a run are cut into batches."""

    @property
    def num_batches(self) -> int:
        """Number of batches."""

    @property
    def num_rows(self) -> int:
        """Number of rows in all batches."""

    def rows(self, batch: int) -> tuple[int, int]:
        """First row of a batch, and the one after its last."""

    def count_rows(self, batches: NDArray[np.int64]) -> int:
        """Number of rows in several batches together."""


class LabellingLoop:
    """Labels one process's share of the remaining batches.

    Args:
        plan: plan of the whole run.
        done: batches that earlier runs have finished.
        workers: processes that share the rest.
        kept: files that record progress.
        files: files that receive what belongs to each row.
    """

    def __init__(
        self,
        plan: BatchPlan,
        done: NDArray[np.int64],
        workers: Workers,
        kept: FinishedBatches,
        files: Sequence[OpenLabels],
    ) -> None:
        left = np.ones(plan.num_batches, dtype=np.bool_)
        left[done] = False
        batches = np.flatnonzero(left).astype(np.int64)
        self._plan, self._workers, self._kept, self._files = plan, workers, kept, files
        self._rows_before = plan.count_rows(done)
        # The first one's file also lists what earlier runs have done.
        self._noted = done if workers.is_first else done[:0]
        self._share = workers.share(batches)
        # The shares differ by at most one batch, and all must meet equally often.
        self._longest = -(-len(batches) // workers.size)

    def work(
        self, label: Callable[[int], None], *, save_seconds: float, progress: Progress
    ) -> None:
        """Label every batch of the share, recording progress at intervals and at the end.

        Args:
            label: labels one batch, by its number, and writes its rows.
            save_seconds: least time between two records of progress.
            progress: counts the rows of all processes; called in the first alone.
        """
        finished, saved_at = 0, time.monotonic()
        together = _BATCHES_BETWEEN_MEETINGS if self._workers.size > 1 else 1
        shown = progress if self._workers.is_first else unwatched
        done, total = self._rows_before, self._plan.num_rows
        shown(done, total)
        try:
            for begin in range(0, self._longest, together):
                rows = 0
                for batch in self._share[begin : begin + together]:
                    label(int(batch))
                    first, end = self._plan.rows(int(batch))
                    rows += end - first
                    finished += 1
                    if time.monotonic() - saved_at >= save_seconds:
                        self._save(finished)
                        saved_at = time.monotonic()
                counted = torch.tensor(rows, dtype=torch.float64)
                self._workers.sum_([counted])
                done += int(counted)
                shown(done, total)
        finally:
            self._save(finished)

    def _save(self, finished: int) -> None:
        if not finished:
            return
        for file in self._files:
            file.sync()
        batches = np.union1d(self._noted, self._share[:finished])
        rows = self._plan.count_rows(batches)
        self._kept.write(self._workers.rank, batches, rows=rows)
