"""`SequencePlan`: every label of whole sequences over a run, as a few numbers."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.errors import InvalidRequestError
from labelcast.plans.batches import PlanBatches, SizedBatches
from labelcast.plans.plan import Padding, Plan
from labelcast.views import Views

MAX_SEQUENCES = 2**20
"""Sequences that a rank may read in an epoch: they take 16 bytes each at both ends."""
MAX_SEQUENCE_EPOCHS = 2**16
MAX_DEALT_SEQUENCES = 2**22
"""Sequences of all epochs of a rank that shares them: only their orders say how many labels each
epoch has."""

# The one being read, and the one that begins meanwhile.
_KEPT_EPOCHS = 2
_SEQUENCE_BYTES = 16


class StoredPositions(Protocol):
    """Which labels sequences have, as the index of a label set says: `StoredViews`."""

    def count_views(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Labels of each sample: int64, shape (N,), at least 1."""
        ...

    def nth_seeds(
        self, sample_ids: NDArray[np.uint64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """Position of each sample's n-th label, counted from 0: uint32, shape (N,)."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class _Epoch:
    """One rank's sequences of an epoch, in order.

    Attributes:
        number: of the epoch.
        sample_ids: uint64, shape (N,).
        starts: int64, shape (N + 1,): labels before each sequence, and all of them.
    """

    number: int
    sample_ids: NDArray[np.uint64]
    starts: NDArray[np.int64]

    def at(self, row: int) -> int:
        """Number of the sequence that a row of the epoch belongs to."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1


class SequencePlan:
    """Labels of a run in order, epoch after epoch, sequence after sequence, as one rank reads them.

    Epoch e has every sequence once, in the order that a `Plan` of the same samples reads them in
    epoch e, and ranks share the sequences as its ranks share samples. Each sequence comes with all
    labels that it has, in the order of positions. Rows are the labels, numbered over all epochs;
    epochs of a rank that shares them differ in length. FORMAT.md §9 defines the same for services.

    Args:
        samples: sample IDs of sequences: a range, or integers of shape (N,).
        stored: which labels they have: `label_set.stored_views()`.
        epochs: epochs of the whole run, at most `MAX_SEQUENCE_EPOCHS`.
        order_key: 64 bits that select the orders of the epochs; None reads sequences as they are
            given.
        rank: whose share this is.
        num_ranks: ranks that share each epoch.
        padding: what happens to sequences that cannot be dealt out evenly.

    Raises:
        InvalidRequestError: a value out of range, a rank without sequences, or more of them than
            `MAX_SEQUENCES` an epoch or, of ranks that share them, `MAX_DEALT_SEQUENCES` in all.
        ViewNotFoundError: a sample without labels.
    """

    def __init__(
        self,
        samples: range | ArrayLike,
        stored: StoredPositions,
        *,
        epochs: int,
        order_key: int | None = 0,
        rank: int = 0,
        num_ranks: int = 1,
        padding: Padding = Padding.REPEAT,
    ) -> None:
        if not 1 <= epochs <= MAX_SEQUENCE_EPOCHS:
            raise InvalidRequestError(
                f"a plan of sequences has from 1 to {MAX_SEQUENCE_EPOCHS} epochs, not {epochs}"
            )
        self.order = Plan(
            samples,
            range(epochs),
            order_key=order_key,
            rank=rank,
            num_ranks=num_ranks,
            padding=padding,
        )
        self.sequences_per_epoch = self.order.rows_per_epoch
        _require_bounded(self.order)
        self._stored = stored
        self._kept: tuple[_Epoch, ...] = ()
        self._epoch_starts = np.zeros(epochs + 1, dtype=np.int64)
        if num_ranks == 1:
            # Whatever the order, all of them.
            self._epoch_starts[1:] = self._epoch(0).starts[-1]
        else:
            for epoch in range(epochs):
                self._epoch_starts[epoch + 1] = stored.count_views(self._sample_ids(epoch)).sum()
        np.cumsum(self._epoch_starts, out=self._epoch_starts)

    def __len__(self) -> int:
        """Labels of all epochs."""
        return int(self._epoch_starts[-1])

    def __repr__(self) -> str:
        order = self.order
        return (
            f"<SequencePlan of {order.num_epochs} epochs of {order.num_samples} sequences, rank"
            f" {order.rank} of {order.num_ranks}: {len(self)} labels>"
        )

    def views(self, start: int, stop: int) -> Views:
        """Views of the rows from `start` to before `stop`; outside the plan there are none."""
        stop, row, parts = min(stop, len(self)), start, list[Views]()
        while row < stop:
            epoch, at = self.place(row)
            end = min(stop, self.epoch_start(epoch + 1))
            parts.append(self._views(self._epoch(epoch), at, at + end - row))
            row = end
        if not parts:
            return Views.taking(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32))
        return Views.joined(parts)

    def batches(
        self,
        *,
        sequences: int | None = None,
        tokens: int | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> "PlanBatches[SequencePlan]":
        """Cut rows into batches, which never cross an epoch's end.

        Args:
            sequences: whole sequences per batch; the last batch of an epoch may have fewer.
            tokens: labels per batch instead, however sequences are cut: one goes on in the next
                batch; the last batch of an epoch may have fewer.
            start: row to begin with: `epoch_start` of an epoch, or the row after a batch. Batches
                are cut from the first row of an epoch: a start inside a batch begins with the rest
                of it.
            stop: row before which to end; None for the plan's end.

        Raises:
            InvalidRequestError: both or none of the sizes, an impossible one, or rows that the plan
                does not have.
        """
        stop = len(self) if stop is None else stop
        if sequences is not None and tokens is None:
            return SequenceBatches(self, sequences, start=start, stop=stop)
        if tokens is not None and sequences is None:
            return SizedBatches(self, tokens, start=start, stop=stop)
        raise InvalidRequestError("batches are cut by sequences or by tokens; give one of the two")

    @property
    def num_bytes(self) -> int:
        """Memory that its list and its epochs take."""
        epochs = _KEPT_EPOCHS * _SEQUENCE_BYTES * self.sequences_per_epoch
        return self.order.num_bytes + self._epoch_starts.nbytes + epochs

    @property
    def least_rows(self) -> int:
        """Rows of its smallest epoch."""
        return int(np.diff(self._epoch_starts).min())

    def place(self, row: int) -> tuple[int, int]:
        """Epoch of a row, and its number in that epoch."""
        epoch = int(np.searchsorted(self._epoch_starts, row, side="right")) - 1
        return epoch, row - self.epoch_start(epoch)

    def epoch_start(self, epoch: int) -> int:
        """First row of an epoch; of the one after the last, the number of rows."""
        return int(self._epoch_starts[epoch])

    def num_sized(self, first_epoch: int, last_epoch: int, size: int) -> int:
        """Batches of so many rows in the epochs from one to before another."""
        rows = np.diff(self._epoch_starts[first_epoch : last_epoch + 1])
        return int((-(-rows // size)).sum())

    def sequence_at(self, row: int) -> tuple[int, int]:
        """Epoch of a row, and the number of its sequence in that epoch."""
        epoch, at = self.place(row)
        return epoch, self._epoch(epoch).at(at)

    def sequence_start(self, epoch: int, number: int) -> int:
        """First row of an epoch's sequence; of the one after the last, that after the epoch."""
        return self.epoch_start(epoch) + int(self._epoch(epoch).starts[number])

    def _views(self, epoch: _Epoch, start: int, stop: int) -> Views:
        first, last = epoch.at(start), epoch.at(stop - 1) + 1
        starts = epoch.starts[first : last + 1]
        counts = np.diff(starts.clip(start, stop))
        ids = np.repeat(epoch.sample_ids[first:last], counts)
        numbers = np.arange(start, stop) - np.repeat(starts[:-1], counts)
        return Views.taking(ids, self._stored.nth_seeds(ids, numbers))

    def _epoch(self, number: int) -> _Epoch:
        # Threads may expand the same epoch twice; what they keep is the same.
        for epoch in self._kept:
            if epoch.number == number:
                return epoch
        ids = self._sample_ids(number)
        starts = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum(self._stored.count_views(ids), out=starts[1:])
        made = _Epoch(number, ids, starts)
        self._kept = (made, *self._kept[: _KEPT_EPOCHS - 1])
        return made

    def _sample_ids(self, epoch: int) -> NDArray[np.uint64]:
        first = self.order.epoch_start(epoch)
        return self.order.views(first, first + self.sequences_per_epoch).sample_ids


class SequenceBatches(PlanBatches[SequencePlan]):
    """Batches of equally many whole sequences.

    Args:
        plan: plan.
        sequences: sequences per batch; the last batch of an epoch may have fewer.
        start: row to begin with.
        stop: row before which to end.

    Raises:
        InvalidRequestError: an impossible number, or rows that the plan does not have.
    """

    def __init__(self, plan: SequencePlan, sequences: int, *, start: int, stop: int) -> None:
        if sequences < 1:
            raise InvalidRequestError(f"a batch has at least one sequence, not {sequences}")
        super().__init__(plan, start=start, stop=stop)
        self.sequences = sequences

    def __len__(self) -> int:
        if self.start == self.stop:
            return 0
        (first_epoch, first), (last_epoch, last) = (
            self.plan.sequence_at(row) for row in (self.start, self.stop - 1)
        )
        per_epoch = -(-self.plan.sequences_per_epoch // self.sequences)
        whole_epochs = (last_epoch - first_epoch) * per_epoch
        return whole_epochs + last // self.sequences + 1 - first // self.sequences

    def end_of_batch(self, row: int) -> int:
        """See `PlanBatches`."""
        epoch, number = self.plan.sequence_at(row)
        after = (number // self.sequences + 1) * self.sequences
        end = self.plan.sequence_start(epoch, min(after, self.plan.sequences_per_epoch))
        return min(end, self.stop)

    def rest(self, start: int) -> Self:
        """See `PlanBatches`."""
        return type(self)(self.plan, self.sequences, start=start, stop=self.stop)


def _require_bounded(order: Plan) -> None:
    sequences = order.rows_per_epoch
    if sequences > MAX_SEQUENCES:
        raise InvalidRequestError(
            f"a plan has at most {MAX_SEQUENCES} sequences an epoch and rank, not {sequences}; make"
            " several plans, each of a part of the samples"
        )
    if order.num_ranks > 1 and sequences * order.num_epochs > MAX_DEALT_SEQUENCES:
        raise InvalidRequestError(
            f"a rank that shares sequences reads at most {MAX_DEALT_SEQUENCES} in a plan, not"
            f" {order.num_epochs} epochs of {sequences}; make a plan for fewer epochs, and the next"
            " with another order_key"
        )
