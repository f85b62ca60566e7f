"""`PlanBatches`: a plan as the batches that a training loop reads."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from labelcast.errors import InvalidRequestError
from labelcast.views import Views

if TYPE_CHECKING:
    from labelcast.plans.plan import Plan

# Expanded at once: small batches alone would spend their time in numpy's calls.
_EXPANDED_ROWS = 2**13


class PlanBatches:
    """Some rows of a plan in batches; like any iterable of views, but a service needs no list.

    Args:
        plan: plan.
        size: views per batch; the last of an epoch may be smaller.
        start: row to begin with.
        stop: row before which to end.

    Raises:
        InvalidRequestError: an impossible size, or rows that the plan does not have.
    """

    def __init__(self, plan: "Plan", size: int, *, start: int, stop: int) -> None:
        if size < 1:
            raise InvalidRequestError(f"a batch has at least one view, not {size}")
        if not 0 <= start <= stop <= len(plan):
            raise InvalidRequestError(
                f"a plan of {len(plan)} rows has no rows from {start} to {stop}"
            )
        self.plan = plan
        self.size = size
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        """Number of batches."""
        if self.start == self.stop:
            return 0
        per_epoch = self.plan.rows_per_epoch
        first_epoch, first = divmod(self.start, per_epoch)
        last_epoch, last = divmod(self.stop, per_epoch)
        whole_epochs = (last_epoch - first_epoch) * -(-per_epoch // self.size)
        return whole_epochs + -(-last // self.size) - first // self.size

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

    def end_of_batch(self, row: int) -> int:
        """The row after the last one of the batch that `row` lies in."""
        epoch, at = divmod(row, self.plan.rows_per_epoch)
        end = min((at // self.size + 1) * self.size, self.plan.rows_per_epoch)
        return min(epoch * self.plan.rows_per_epoch + end, self.stop)
