"""Order of a training run: which views each batch holds, and where a run resumes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import permutation
from labelcast.errors import InvalidRequestError
from labelcast.label_set import MissingViews, StoredViews
from labelcast.views import Views


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in a training run, to keep in a checkpoint; later places are greater.

    Attributes:
        epoch: index into the full list of seeds of the run, from 0; the number of epochs once the
            run is over.
        row: number of rows of that epoch that come before.

    Raises:
        InvalidRequestError: one of the two is no integer, or below 0.
    """

    epoch: int = 0
    row: int = 0

    def __post_init__(self) -> None:
        for name, value in (("epoch", self.epoch), ("row", self.row)):
            if type(value) is not int or value < 0:
                raise InvalidRequestError(
                    f"a position's {name} must be an integer from 0 on, not {value!r}; take"
                    " next_position of the last batch trained on",
                    field="start",
                )

    def as_json(self) -> dict[str, int]:
        """JSON value that `from_json` reads back."""
        return {"epoch": self.epoch, "row": self.row}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read strictly.

        Raises:
            InvalidRequestError: `as_json` did not return this value.
        """
        if not isinstance(value, dict) or value.keys() != {"epoch", "row"}:
            raise InvalidRequestError(
                f"a position has an epoch and a row, not {value!r}; give what as_json returned",
                field="start",
            )
        return cls(**value)


START = Position()


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

    The order of an epoch is a pure function of its index in `seeds` and of `order_key`. Batches of
    an epoch are cut from its first row, wherever a run starts: a start inside a batch begins with
    the rest of it, and everything after is as in an uninterrupted run.

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
        InvalidRequestError: the batch size is impossible, or the run has no such start.
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
        self._sample_ids = sample_ids
        self._seeds = list(seeds)
        self._batch_size = batch_size
        self._order_key = order_key
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
            views = self._views(epoch)
            row = self._start.row if epoch == self._start.epoch else 0
            while row < len(views):
                end = min((row // self._batch_size + 1) * self._batch_size, len(views))
                after = Position(epoch, end) if end < len(views) else Position(epoch + 1)
                yield PlannedBatch(Position(epoch, row), after, views[row:end])
                row = end

    def _epochs(self) -> range:
        return range(self._start.epoch, len(self._seeds))

    def _views(self, epoch: int) -> Views:
        order = permutation(len(self._sample_ids), seed=epoch, key=self._order_key)
        views = Views.of(self._sample_ids[order], self._seeds[epoch])
        return views if self._stored is None else self._stored.resolve(views, self._missing)[0]

    def _num_rows(self, epoch: int) -> int:
        # How many rows are dropped is known only after a look-up; the other rules keep the count.
        dropping = self._missing is MissingViews.DROP
        return len(self._views(epoch)) if dropping else len(self._sample_ids)

    def _require_start(self) -> None:
        start, epochs = self._start, len(self._seeds)
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
