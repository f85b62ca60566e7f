"""`TokenPlan`: which rows each batch of a run holds, and whose labels they ask for."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.label_set.fingerprints import fingerprint
from labelcast.plans import Padding
from labelcast.torch.data.plan import TrainingPlan
from labelcast.torch.data.position import START, Position
from labelcast.torch.tokens.data.packing import Packing
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.views import Views

_PACKING = "packing"


@dataclass(frozen=True, eq=False, slots=True)
class PlannedRows:
    """One batch of a plan.

    Attributes:
        position: place of its first row.
        next_position: place of the row after its last, in the next epoch if it ends one.
        rows: int64, shape (B,): rows of the packing.
        views: T views whose labels count, row after row.
        repeated: bool, shape (B,): rows that only fill the rank up to as many as the others have.
    """

    position: Position
    next_position: Position
    rows: NDArray[np.int64]
    views: Views
    repeated: NDArray[np.bool_]


class TokenPlan:
    """Every batch of a run from `start` on, without reading a token.

    An epoch has every row of the packing once, in an order of its own. Ranks share its rows, and
    each makes equally many steps, as of a `TrainingPlan`.

    Args:
        sequences: samples of all ranks.
        packing: their rows.
        counted: bool, shape (N,): positions whose labels are asked for.
        epochs: epochs of the whole run. A resumed run gives all of them, too.
        batch_size: rows per batch of this rank; the last of an epoch may be smaller.
        order_key: key that selects the orders of the epochs.
        rank: whose share this is.
        num_ranks: ranks that share each epoch.
        padding: what happens to rows that cannot be dealt out evenly.
        start: place of the first batch.

    Raises:
        InvalidRequestError: as of `TrainingPlan`.
    """

    def __init__(
        self,
        sequences: TokenSequences,
        packing: Packing,
        counted: NDArray[np.bool_],
        *,
        epochs: int,
        batch_size: int,
        order_key: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        padding: Padding = Padding.REPEAT,
        start: Position = START,
    ) -> None:
        self.sequences, self.packing, self.counted = sequences, packing, counted
        # The rows' own plan: what it calls a sample is a row.
        self._rows = TrainingPlan(
            np.arange(len(packing), dtype=np.uint64),
            range(epochs),
            batch_size=batch_size,
            order_key=order_key,
            rank=rank,
            num_ranks=num_ranks,
            padding=padding,
            start=start,
        )
        self._packing_digest = packing.digest() ^ _digest_of_ids(sequences)

    def __len__(self) -> int:
        """Batches from `start` on."""
        return len(self._rows)

    def __iter__(self) -> Iterator[PlannedRows]:
        for planned in self._rows:
            rows = planned.views.sample_ids.astype(np.int64)
            yield PlannedRows(
                planned.position,
                planned.next_position,
                rows,
                self._views(rows),
                planned.repeated,
            )

    @property
    def batches(self) -> Iterator[Views]:
        """Views of every batch, as a reader's `over` takes them."""
        return (planned.views for planned in self)

    @property
    def start(self) -> Position:
        """Place of the first batch."""
        return self._rows.start

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""
        return self._rows.num_epochs

    def starting(self, start: Position) -> Self:
        """The same run from another place on, to its end."""
        return self._with(self._rows.starting(start))

    def epoch(self, number: int) -> Self:
        """What of the run from `start` on lies in one epoch."""
        return self._with(self._rows.epoch(number))

    def state_at(self, position: Position) -> dict[str, int | str]:
        """State of the run at a place of this rank: the same on every rank, and JSON."""
        return {**self._rows.state_at(position), _PACKING: self._packing_digest}

    def resumed(self, state: Mapping[str, Any]) -> Self:
        """The same run from the place on that a state tells, with this rank's share.

        Args:
            state: what `state_at` returned on any rank. The number of ranks may differ, if all of
                them still read as many rows a step; more epochs may follow the run's.

        Raises:
            InvalidRequestError: the state is of another run, or other batches would come.
        """
        rest = {name: value for name, value in state.items() if name != _PACKING}
        resumed = self._rows.resumed(rest)
        if state.get(_PACKING) != self._packing_digest:
            raise InvalidRequestError(
                "this run cannot go on from the state: the state is of rows that are packed from"
                " other sequences, or otherwise; give the sequences, mask and row_length that the"
                " run began with",
                field="state",
            )
        return self._with(resumed)

    def _with(self, rows: TrainingPlan) -> Self:
        other = copy(self)
        other._rows = rows  # noqa: SLF001 - of the same class
        return other

    def _views(self, rows: NDArray[np.int64]) -> Views:
        packing = self.packing
        parts = np.concatenate([np.arange(*packing.parts(row).indices(2**62)[:2]) for row in rows])
        samples, firsts, lengths = (
            column[parts] for column in (packing.samples, packing.firsts, packing.lengths)
        )
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions = np.repeat(firsts, lengths) + inside
        counted = self.counted[np.repeat(self.sequences.offsets[samples], lengths) + positions]
        ids = np.repeat(self.sequences.sample_ids[samples], lengths)
        return Views.taking(ids[counted], positions[counted].astype(np.uint32))


def _digest_of_ids(sequences: TokenSequences) -> int:
    """Tells samples apart that are packed alike."""
    return fingerprint(memoryview(sequences.sample_ids.astype("<u8").tobytes()))
