"""`Plan`: every view of a run, or of a rank's share of it, as a few numbers."""

import operator
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import one_of
from labelcast.plans.batches import SizedBatches
from labelcast.plans.permutation import MAX_COUNT, FeistelPermutation
from labelcast.views import MAX_SEED, Views

MAX_EPOCHS = 2**20

Whole = TypeVar("Whole", bound=np.generic)
_Column: TypeAlias = range | NDArray[Whole]


class Padding(StrEnum):
    """What happens to an epoch whose samples cannot be dealt out evenly to all ranks."""

    DROP = "drop"
    """The last samples of the order are left out, as by torch's DistributedSampler(drop_last)."""
    REPEAT = "repeat"
    """The first samples of the order come again, as by torch's DistributedSampler."""
    UNEVEN = "uneven"
    """Some ranks have a row more than others."""


class Plan:
    """Views of a run in order, epoch after epoch, as one rank reads them.

    Epoch e has every sample once, under the seed `seeds[e]`, in the order that `order_key` and e
    choose; rank r of w reads places r, r + w, r + 2w … of that order. Rows are numbered over all
    epochs. FORMAT.md §9 defines the same for services.

    Args:
        samples: sample IDs: a range, or integers of shape (N,).
        seeds: augmentation seed of each epoch of the whole run: a range, or integers. A resumed run
            gives the full list too: the order of an epoch follows from its index.
        order_key: 64 bits that select the orders of the epochs; None reads samples as they are
            given.
        rank: whose share this is.
        num_ranks: ranks that share each epoch.
        padding: what happens to the samples that cannot be dealt out evenly.

    Raises:
        InvalidRequestError: a value out of range, or a rank without rows.
    """

    def __init__(
        self,
        samples: range | ArrayLike,
        seeds: range | Sequence[int] | NDArray[np.unsignedinteger],
        *,
        order_key: int | None = 0,
        rank: int = 0,
        num_ranks: int = 1,
        padding: Padding = Padding.REPEAT,
    ) -> None:
        self.samples: _Column[np.uint64] = _samples(samples)
        self.seeds: _Column[np.uint32] = _seeds(seeds)
        self.num_samples = _length(self.samples, 1, MAX_COUNT, "samples")
        self.num_epochs = _length(self.seeds, 0, MAX_EPOCHS, "epochs")
        self.order_key = None if order_key is None else _whole(order_key, 0, 2**64, "order_key")
        self.num_ranks = _whole(num_ranks, 1, 2**32, "num_ranks")
        self.rank = _whole(rank, 0, self.num_ranks, "rank")
        self.padding = one_of(Padding, padding, "padding")
        self.rows_per_epoch = rows_of_rank(
            self.num_samples, rank=self.rank, num_ranks=self.num_ranks, padding=self.padding
        )
        if not self.rows_per_epoch:
            raise InvalidRequestError(
                f"{self.num_samples} samples leave rank {rank} of {num_ranks} without rows"
            )

    def __len__(self) -> int:
        """Rows of all epochs."""
        return self.num_epochs * self.rows_per_epoch

    def __repr__(self) -> str:
        return (
            f"<Plan of {self.num_epochs} epochs of {self.num_samples} samples, rank {self.rank} of"
            f" {self.num_ranks}: {len(self)} rows>"
        )

    def views(self, start: int, stop: int) -> Views:
        """Views of the rows from `start` to before `stop`; outside the plan there are none."""
        stop = min(stop, len(self))
        ids = np.empty(max(0, stop - start), dtype=np.uint64)
        seeds = np.empty(len(ids), dtype=np.uint32)
        row = start
        while row < stop:
            epoch, first = divmod(row, self.rows_per_epoch)
            count = min(stop - row, self.rows_per_epoch - first)
            part = slice(row - start, row - start + count)
            ids[part] = self._ids(epoch, first, count)
            seeds[part] = self.seeds[epoch]
            row += count
        return Views.taking(ids, seeds)

    @property
    def num_bytes(self) -> int:
        """Memory that its lists take."""
        listed = (values for values in (self.samples, self.seeds) if not isinstance(values, range))
        return sum(values.nbytes for values in listed)

    @property
    def least_rows(self) -> int:
        """Rows of its smallest epoch."""
        return self.rows_per_epoch

    def place(self, row: int) -> tuple[int, int]:
        """Epoch of a row, and its number in that epoch."""
        return divmod(row, self.rows_per_epoch)

    def epoch_start(self, epoch: int) -> int:
        """First row of an epoch; of the one after the last, the number of rows."""
        return epoch * self.rows_per_epoch

    def num_sized(self, first_epoch: int, last_epoch: int, size: int) -> int:
        """Batches of so many rows in the epochs from one to before another."""
        return (last_epoch - first_epoch) * -(-self.rows_per_epoch // size)

    def batches(
        self, size: int, *, start: int = 0, stop: int | None = None
    ) -> "SizedBatches[Plan]":
        """Cut rows into batches, which never cross an epoch's end.

        Args:
            size: views per batch; the last of an epoch may be smaller.
            start: row to begin with. Batches are cut from the first row of an epoch: a start inside
                a batch begins with the rest of it.
            stop: row before which to end; None for the plan's end.

        Raises:
            InvalidRequestError: an impossible size, or rows that the plan does not have.
        """
        return SizedBatches(self, size, start=start, stop=len(self) if stop is None else stop)

    def _ids(self, epoch: int, first: int, count: int) -> NDArray[np.uint64]:
        """IDs of consecutive rows of one epoch: uint64, shape (count,)."""
        places = np.arange(first, first + count, dtype=np.uint64)
        if self.num_ranks > 1:
            places *= np.uint64(self.num_ranks)
            places += np.uint64(self.rank)
            if int(places[-1]) >= self.num_samples:
                places %= np.uint64(self.num_samples)
        if self.order_key is not None:
            order = FeistelPermutation(self.num_samples, epoch=epoch, key=self.order_key)
            places = order.at(places)
        if isinstance(self.samples, range):
            return np.add(places, np.uint64(self.samples.start), out=places)
        return self.samples.take(places.view(np.intp))


def rows_of_rank(count: int, *, rank: int, num_ranks: int, padding: Padding) -> int:
    """Rows of one rank of an epoch of so many."""
    even, surplus = divmod(count, num_ranks)
    more = {
        Padding.DROP: False,
        Padding.REPEAT: surplus > 0,
        Padding.UNEVEN: rank < surplus,
    }
    return even + more[padding]


def _samples(samples: range | ArrayLike) -> _Column[np.uint64]:
    if isinstance(samples, range) and samples.step == 1:
        if not 0 <= samples.start <= samples.stop <= 2**64:
            raise InvalidRequestError("a sample ID must be at least 0 and below 2**64")
        return samples
    return _narrowed(Views.of(samples, 0).sample_ids)


def _seeds(seeds: range | Sequence[int] | NDArray[np.unsignedinteger]) -> _Column[np.uint32]:
    if isinstance(seeds, range) and seeds.step == 1:
        if not 0 <= seeds.start <= seeds.stop <= MAX_SEED + 1:
            raise InvalidRequestError(f"an augmentation seed must be from 0 to {MAX_SEED}")
        return seeds
    listed = np.zeros(len(seeds), dtype=np.uint64)
    return _narrowed(Views.of(listed, seeds).seeds)


def _narrowed(values: NDArray[Whole]) -> _Column[Whole]:
    """A range if the values are one: it takes no memory, on the wire neither."""
    if len(values) and (np.diff(values) == 1).all():
        first: Any = values[0]
        return range(int(first), int(first) + len(values))
    return values


def _whole(value: int, low: int, end: int, what: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not low <= number < end:
        raise InvalidRequestError(f"a plan's {what} must be from {low} to {end - 1}, not {value!r}")
    return number


def _length(values: _Column[Any], least: int, most: int, what: str) -> int:
    # len() of a range fails from 2**63 on.
    count = values.stop - values.start if isinstance(values, range) else len(values)
    if not least <= count <= most:
        raise InvalidRequestError(f"a plan has from {least} to {most} {what}, not {count}")
    return count
