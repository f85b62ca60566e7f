"""`PlanBatches`: a plan as the batches that a training loop reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, Protocol, Self, TypeVar

from labelcast.errors import InvalidRequestError
from labelcast.views import Views

# Expanded at once: small batches alone would spend their time in numpy's calls.
_EXPANDED_ROWS = 2**13


class RowsOfEpochs(Protocol):
    """What batches need of a plan."""

    def __len__(self) -> int: ...

    def views(self, start: int, stop: int) -> Views:
        """Views of the rows from `start` to before `stop`."""
        ...

    def place(self, row: int) -> tuple[int, int]:
        """Epoch of a row, and its number in that epoch."""
        ...

    def epoch_start(self, epoch: int) -> int:
        """First row of an epoch; of the one after the last, the number of rows."""
        ...

    def num_sized(self, first_epoch: int, last_epoch: int, size: int) -> int:
        """Batches of so many rows in the epochs from one to before another."""
        ...


AnyPlan = TypeVar("AnyPlan", bound=RowsOfEpochs)


class PlanBatches(ABC, Generic[AnyPlan]):
    """Some rows of a plan in batches; like any iterable of views, but a service needs no list.

    Args:
        plan: plan.
        start: row to begin with.
        stop: row before which to end.

    Raises:
        InvalidRequestError: rows that the plan does not have.
    """

    def __init__(self, plan: AnyPlan, *, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(plan):
            raise InvalidRequestError(
                f"a plan of {len(plan)} rows has no rows from {start} to {stop}"
            )
        self.plan = plan
        self.start = start
        self.stop = stop

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches."""

    def __iter__(self) -> Iterator[Views]:
        row = self.start
        while row < self.stop:
            end = self.end_of_batch(row)
            while end < self.stop and end - row < _EXPANDED_ROWS:
                end = self.end_of_batch(end)
            views = self.plan.views(row, end)
            at = row
            while at < end:
                after = self.end_of_batch(at)
                yield views[at - row : after - row]
                at = after
            row = end

    @abstractmethod
    def end_of_batch(self, row: int) -> int:
        """The row after the last one of the batch that `row` lies in."""

    @abstractmethod
    def rest(self, start: int) -> Self:
        """The same batches from a row on."""


class SizedBatches(PlanBatches[AnyPlan]):
    """Batches of equally many rows.

    Args:
        plan: plan.
        size: views per batch; the last of an epoch may be smaller.
        start: row to begin with.
        stop: row before which to end.

    Raises:
        InvalidRequestError: an impossible size, or rows that the plan does not have.
    """

    def __init__(self, plan: AnyPlan, size: int, *, start: int, stop: int) -> None:
        if size < 1:
            raise InvalidRequestError(f"a batch has at least one view, not {size}")
        super().__init__(plan, start=start, stop=stop)
        self.size = size

    def __len__(self) -> int:
        if self.start == self.stop:
            return 0
        (first_epoch, first), (last_epoch, last) = map(self.plan.place, (self.start, self.stop - 1))
        whole_epochs = self.plan.num_sized(first_epoch, last_epoch, self.size)
        return whole_epochs + last // self.size + 1 - first // self.size

    def end_of_batch(self, row: int) -> int:
        """See `PlanBatches`."""
        epoch, at = self.plan.place(row)
        end = row - at + (at // self.size + 1) * self.size
        return min(end, self.plan.epoch_start(epoch + 1), self.stop)

    def rest(self, start: int) -> Self:
        """See `PlanBatches`."""
        return type(self)(self.plan, self.size, start=start, stop=self.stop)
