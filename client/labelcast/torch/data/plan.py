"""Order of a training run: which views each batch holds, and where a run resumes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.label_set import MissingViews, StoredViews
from labelcast.plans import Plan
from labelcast.torch.data.position import START, Position
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class PlannedBatch:
    """One batch of a plan.

    Attributes:
        position: place of its first row.
        next_position: place of the row after its last, in the next epoch if it ends one.
        views: N views.
    """

    position: Position
    next_position: Position
    views: Views


class TrainingPlan:
    """Every batch of a run from `start` on, without reading anything.

    The order of an epoch is a pure function of its index in `seeds` and of `order_key`, the same as
    that of a `labelcast.plans.Plan`. Batches of an epoch are cut from its first row, wherever a run
    starts: a start inside a batch begins with the rest of it, and everything after is as in an
    uninterrupted run.

    Args:
        sample_ids: uint64, shape (N,).
        seeds: augmentation seed of each epoch of the whole run. A resumed run gives the full list
            too, not the remaining seeds.
        batch_size: views per batch; the last of an epoch may be smaller.
        order_key: key that selects the orders of the epochs.
        missing: what happens to views that are not stored. Rows are counted after that.
        stored: stored views of each sample; may be None only if `missing` refuses.
        start: place of the first batch.

    Raises:
        InvalidRequestError: the batch size is impossible, there are no samples, or the run has no
            such start.
        ViewNotFoundError: in the epoch of `start`, a sample has no stored view.
    """

    def __init__(
        self,
        sample_ids: NDArray[np.uint64],
        seeds: Sequence[int],
        *,
        batch_size: int,
        order_key: int = 0,
        missing: MissingViews = MissingViews.REFUSE,
        stored: StoredViews | None = None,
        start: Position = START,
    ) -> None:
        if batch_size < 1:
            raise InvalidRequestError(f"batch_size is {batch_size}, must be at least 1")
        if missing is not MissingViews.REFUSE and stored is None:
            raise InvalidRequestError("this label source does not say which views it has")
        self._plan = Plan(sample_ids, seeds, order_key=order_key)
        self._batch_size = batch_size
        self._missing = missing
        self._stored = None if missing is MissingViews.REFUSE else stored
        self._start = start
        self._require_start()

    def __len__(self) -> int:
        """Batches from `start` on."""
        rows = [self._num_rows(epoch) for epoch in self._epochs()]
        skipped = self._start.row // self._batch_size
        return sum(-(-count // self._batch_size) for count in rows) - skipped

    def __iter__(self) -> Iterator[PlannedBatch]:
        for epoch in self._epochs():
            row = self._start.row if epoch == self._start.epoch else 0
            end_of_epoch, batches = self._rest_of_epoch(epoch, row)
            for views in batches:
                end = row + len(views)
                after = Position(epoch, end) if end < end_of_epoch else Position(epoch + 1)
                yield PlannedBatch(Position(epoch, row), after, views)
                row = end

    @property
    def batches(self) -> Iterable[Views]:
        """Views of every batch: as a plan that a service expands itself, if none are missing."""
        if self._stored is not None:
            return (planned.views for planned in self)
        first = self._start.epoch * self._plan.rows_per_epoch + self._start.row
        return self._plan.batches(self._batch_size, start=first)

    def _epochs(self) -> range:
        return range(self._start.epoch, self._plan.num_epochs)

    def _rest_of_epoch(self, epoch: int, row: int) -> tuple[int, Iterable[Views]]:
        """Rows of a whole epoch, and its batches from a row on."""
        size, rows = self._batch_size, self._plan.rows_per_epoch
        if self._stored is None:
            first = epoch * rows
            return rows, self._plan.batches(size, start=first + row, stop=first + rows)
        views = self._stored_views(epoch, self._stored)
        cuts = [row, *range((row // size + 1) * size, len(views), size), len(views)]
        return len(views), (views[at:end] for at, end in pairwise(cuts) if at < end)

    def _stored_views(self, epoch: int, stored: StoredViews) -> Views:
        first = epoch * self._plan.rows_per_epoch
        views = self._plan.views(first, first + self._plan.rows_per_epoch)
        return stored.resolve(views, self._missing)[0]

    def _num_rows(self, epoch: int) -> int:
        # How many rows are dropped is known only after a look-up; the other rules keep the count.
        if self._stored is None or self._missing is not MissingViews.DROP:
            return self._plan.rows_per_epoch
        return len(self._stored_views(epoch, self._stored))

    def _require_start(self) -> None:
        start, epochs = self._start, self._plan.num_epochs
        if start.epoch > epochs or (start.epoch == epochs and start.row):
            raise InvalidRequestError(
                f"the run cannot start at epoch {start.epoch}, row {start.row}: it has {epochs}"
                " epochs; give the full list of seeds of the run, not the remaining ones",
                field="start",
            )
        if start.row and start.row >= (rows := self._num_rows(start.epoch)):
            raise InvalidRequestError(
                f"the run cannot start at row {start.row} of epoch {start.epoch}, which has {rows}"
                f" rows; to resume after it, start at Position({start.epoch + 1}, 0)",
                field="start",
            )
