"""Order of a training run: which views each batch holds, and where a run resumes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.label_set import MissingViews, StoredViews
from labelcast.plans import Padding, Plan, rows_of_rank
from labelcast.torch.data.position import START, Position
from labelcast.torch.data.state import RunState, samples_digest, seeds_digest
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class PlannedBatch:
    """One batch of a plan.

    Attributes:
        position: place of its first row.
        next_position: place of the row after its last, in the next epoch if it ends one.
        views: N views.
        repeated: bool, shape (N,): rows that only fill the rank up to as many as the others have;
            their samples come in this epoch anyway.
    """

    position: Position
    next_position: Position
    views: Views
    repeated: NDArray[np.bool_]


class TrainingPlan:
    """Every batch of a run from `start` on, without reading anything.

    The order of an epoch is a pure function of its index in `seeds` and of `order_key`, the same as
    that of a `labelcast.plans.Plan`. Batches of an epoch are cut from its first row, wherever a run
    starts: a start inside a batch begins with the rest of it, and everything after is as in an
    uninterrupted run.

    Ranks share each epoch, and each makes equally many steps: batch k of all ranks together is the
    same set of views for every number of ranks that share the same number of views a step.

    Args:
        sample_ids: uint64, shape (N,): the samples of all ranks.
        seeds: augmentation seed of each epoch of the whole run. A resumed run gives the full list
            too, not the remaining seeds.
        batch_size: views per batch of this rank; the last of an epoch may be smaller.
        order_key: key that selects the orders of the epochs.
        rank: whose share this is.
        num_ranks: ranks that share each epoch.
        padding: what happens to samples that cannot be dealt out evenly: some come again and are
            marked as `repeated`, or the last of the order are left out.
        missing: what happens to views that are not stored, before the rest is dealt out to ranks.
            Rows are counted after that.
        stored: stored views of each sample; may be None only if `missing` refuses.
        start: place of the first batch.

    Attributes:
        start: place of the first batch.

    Raises:
        InvalidRequestError: the batch size is impossible, there are no samples, the rank or number
            of ranks is, a rank would make more steps than others, or the run has no such start.
        ViewNotFoundError: in the epoch of `start`, a sample has no stored view.
    """

    def __init__(
        self,
        sample_ids: NDArray[np.uint64],
        seeds: Sequence[int],
        *,
        batch_size: int,
        order_key: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        padding: Padding = Padding.REPEAT,
        missing: MissingViews = MissingViews.REFUSE,
        stored: StoredViews | None = None,
        start: Position = START,
    ) -> None:
        if batch_size < 1:
            raise InvalidRequestError(f"batch_size is {batch_size}, must be at least 1")
        missing = MissingViews(missing)
        if missing is not MissingViews.REFUSE and stored is None:
            raise InvalidRequestError("this label source does not say which views it has")
        self._order_key = order_key
        self._plan = Plan(
            sample_ids,
            seeds,
            order_key=order_key,
            rank=rank,
            num_ranks=num_ranks,
            padding=padding,
        )
        if num_ranks > 1 and self._plan.padding is Padding.UNEVEN:
            raise InvalidRequestError(
                "with padding=uneven some ranks make a step more than the others, which wait for"
                " them forever; use repeat or drop",
                field="padding",
            )
        self._batch_size = batch_size
        self._missing = missing
        self._stored = None if missing is MissingViews.REFUSE else stored
        self.start = start
        self._stop = self._plan.num_epochs
        self._require(start)

    def __len__(self) -> int:
        """Batches from `start` on."""
        rows = [self._num_rows(epoch) for epoch in self._epochs()]
        skipped = self.start.row // self._batch_size if rows else 0
        return sum(-(-count // self._batch_size) for count in rows) - skipped

    def __iter__(self) -> Iterator[PlannedBatch]:
        for epoch in self._epochs():
            row = self.start.row if epoch == self.start.epoch else 0
            end_of_epoch, num_views, batches = self._rest_of_epoch(epoch, row)
            for views in batches:
                end = row + len(views)
                after = Position(epoch, end) if end < end_of_epoch else Position(epoch + 1)
                repeated = self._places(np.arange(row, end)) >= num_views
                yield PlannedBatch(Position(epoch, row), after, views, repeated)
                row = end

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""
        return self._plan.num_epochs

    @property
    def batches(self) -> Iterable[Views]:
        """Views of every batch: as a plan that a service expands itself, if none are missing."""
        if self._stored is not None:
            return (planned.views for planned in self)
        rows = self._plan.rows_per_epoch
        first = self.start.epoch * rows + self.start.row
        last = max(first, self._stop * rows)
        return self._plan.batches(self._batch_size, start=first, stop=last)

    def starting(self, start: Position) -> Self:
        """The same run from another place on, to its end.

        Raises:
            InvalidRequestError: the run has no such place.
        """
        self._require(start)
        return self._part(start, self._plan.num_epochs)

    def epoch(self, number: int) -> Self:
        """What of the run from `start` on lies in one epoch; nothing of epochs before.

        Raises:
            InvalidRequestError: the run has no such epoch.
        """
        if not 0 <= number < self.num_epochs:
            raise InvalidRequestError(
                f"the run has no epoch {number}: it has {self.num_epochs}, counted from 0; give"
                " one seed for each epoch",
                field="epoch",
            )
        return self._part(max(self.start, Position(number)), number + 1)

    def state_at(self, position: Position) -> dict[str, int | str]:
        """State of the run at a place of this rank: the same on every rank, and JSON."""
        row = position.row * self._plan.num_ranks
        return replace(self._run, epoch=position.epoch, row=row).as_json()

    def resumed(self, state: Mapping[str, Any]) -> Self:
        """The same run from the place on that a state tells, with this rank's share.

        Args:
            state: what `state_at` returned on any rank. The number of ranks may differ, if all of
                them still read as many views a step; more seeds may follow the run's.

        Raises:
            InvalidRequestError: the state is of another run, or other batches would come.
        """
        told, plan = RunState.from_json(state), self._plan
        seeds = plan.seeds[: told.num_epochs]
        begun = replace(self._run, num_epochs=len(seeds), seeds=seeds_digest(seeds))
        told.require_same_run(begun)
        return self.starting(Position(told.epoch, told.row // plan.num_ranks))

    @cached_property
    def _run(self) -> RunState:
        plan = self._plan
        return RunState(
            epoch=0,
            row=0,
            global_batch_size=int(self._batch_size) * plan.num_ranks,
            num_ranks=plan.num_ranks,
            num_epochs=plan.num_epochs,
            num_samples=plan.num_samples,
            order_key=int(self._order_key),
            samples=samples_digest(plan),
            seeds=seeds_digest(plan.seeds),
            padding=plan.padding.value,
            missing=self._missing.value,
        )

    def _part(self, start: Position, stop: int) -> Self:
        part = copy(self)
        part.start, part._stop = start, stop  # noqa: SLF001 - of the same class
        return part

    def _epochs(self) -> range:
        return range(self.start.epoch, self._stop)

    def _places(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Places of this rank's rows in the order of an epoch; those that repeat lie beyond it."""
        return rows * self._plan.num_ranks + self._plan.rank

    def _rest_of_epoch(self, epoch: int, row: int) -> tuple[int, int, Iterable[Views]]:
        """This rank's rows of an epoch, all ranks' views of it, and batches from a row on."""
        size, rows = self._batch_size, self._plan.rows_per_epoch
        if self._stored is None:
            first = epoch * rows
            batches = self._plan.batches(size, start=first + row, stop=first + rows)
            return rows, self._plan.num_samples, batches
        stored = self._stored_views(epoch, self._stored)
        places = self._places(np.arange(self._share(len(stored))))
        views = stored[places % max(1, len(stored))]
        cuts = [row, *range((row // size + 1) * size, len(views), size), len(views)]
        return len(views), len(stored), (views[at:end] for at, end in pairwise(cuts) if at < end)

    def _stored_views(self, epoch: int, stored: StoredViews) -> Views:
        """Stored views of all ranks in an epoch."""
        # Dealt out before the look-up, some ranks would be left with fewer rows than others.
        plan = self._plan
        alone = Plan(plan.samples, plan.seeds, order_key=plan.order_key)
        views = alone.views(epoch * plan.num_samples, (epoch + 1) * plan.num_samples)
        return stored.resolve(views, self._missing)[0]

    def _share(self, num_views: int) -> int:
        """Rows that each rank has of an epoch of so many views."""
        plan = self._plan
        return rows_of_rank(
            num_views, rank=plan.rank, num_ranks=plan.num_ranks, padding=plan.padding
        )

    def _num_rows(self, epoch: int) -> int:
        # How many rows are dropped is known only after a look-up; the other rules keep the count.
        if self._stored is None or self._missing is not MissingViews.DROP:
            return self._plan.rows_per_epoch
        return self._share(len(self._stored_views(epoch, self._stored)))

    def _require(self, start: Position) -> None:
        epochs = self._plan.num_epochs
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
