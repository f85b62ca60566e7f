"""`LoopReader`: labels for a training loop that goes on where they are missing."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import one_of
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.drawn_views import DrawnViews
from labelcast.opening.label_reader import LabelReader
from labelcast.opening.loops.asked_labels import AskedLabels, Request
from labelcast.opening.loops.hard_labels import HardLabels
from labelcast.opening.loops.listed import Listed
from labelcast.opening.loops.misses import MISSES, Misses
from labelcast.opening.loops.read_ahead import ReadAhead
from labelcast.opening.loops.read_labels import OnMiss, ReadLabels
from labelcast.opening.pending_labels import PendingLabels
from labelcast.representation import Form, Representation
from labelcast.views import Views, check_batches

if TYPE_CHECKING:
    from labelcast.opening.label_set import LabelSet

# Labels of one call; a service answers several times as many at once, of any form.
_CALL_BYTES = 2**21


@runtime_checkable
class PlannedRun(Protocol):
    """A run that knows its batches beforehand, such as `labelcast.torch.TrainingPlan`."""

    @property
    def batches(self) -> Iterable[Views]:
        """Views of every batch."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class LoopReader:
    """Gives labels to one training loop: asked for ahead, and row by row as soft or missing.

    `over` reads many batches ahead; `ask` requests one batch, which travels while the loop trains
    on the one before. Only labels that do not come can be missed, and views that are not stored if
    `miss_not_stored` says so. Whatever speaks against the labels (a wrong digest or subject,
    damage, another contract) is always raised, and so is every failure to read what decoding and
    hard labels need, which is read once in each process, before the first labels.

    A reader belongs to one thread. It can be sent to a worker, where it counts its own misses.

    Args:
        label_set: label set to read.
        reader: decodes its labels, and knows which views may be asked for.
        representation: form of the reader.
        on_miss: what happens to labels that do not come.
        miss_seconds: seconds for which the loop waits for a batch before its labels are missed; of
            no meaning with `OnMiss.WAIT`. While the service cannot be reached, only the first batch
            waits.
        miss_not_stored: whether views that the label set lacks are missed, rather than refused.
        hard_labels: for `OnMiss.HARD_LABEL`, sample IDs and their classes, each of shape (S,); by
            default those that the label set's codes were chosen under.
        in_flight: batches that may be asked for by `ask` at one time.

    Raises:
        InvalidRequestError: no such `on_miss`, seconds below 0, no batch in flight, or something
            that has no meaning with this `on_miss`.
    """

    def __init__(
        self,
        label_set: "LabelSet",
        reader: LabelReader,
        representation: Representation,
        *,
        on_miss: OnMiss,
        miss_seconds: float,
        miss_not_stored: bool,
        hard_labels: tuple[ArrayLike, ArrayLike] | None,
        in_flight: int,
    ) -> None:
        self._on_miss = one_of(OnMiss, on_miss, "on_miss")
        if not 0 <= miss_seconds < math.inf:
            raise InvalidRequestError(f"miss_seconds is {miss_seconds}, must be 0 or more")
        if in_flight < 1:
            raise InvalidRequestError(f"in_flight is {in_flight}, must be at least 1")
        if miss_not_stored and self._waits:
            raise InvalidRequestError(
                "a reader that waits misses nothing; with miss_not_stored give on_miss=OnMiss.SKIP"
                " or OnMiss.HARD_LABEL"
            )
        if hard_labels is not None and self._on_miss is not OnMiss.HARD_LABEL:
            raise InvalidRequestError(
                f"hard_labels are not used with on_miss={self._on_miss}; give"
                " on_miss=OnMiss.HARD_LABEL or leave them out"
            )
        self._label_set = label_set
        self._reader = reader
        self._representation = representation
        self._miss_seconds = miss_seconds
        self._miss_not_stored = miss_not_stored
        self._given_hard_labels = hard_labels
        self._in_flight = in_flight
        self._begin_anew()

    def __getstate__(self) -> dict[str, Any]:
        anew = ("_hard_labels", "_prepared", "_misses", "_asked")
        return {name: value for name, value in self.__dict__.items() if name not in anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """What this process makes for itself."""
        self._prepared = False
        self._hard_labels: HardLabels | None = None
        self._misses = Misses(self._on_miss, self._label_set.count_missed)
        self._asked: list[AskedLabels] = []

    @property
    def missed(self) -> dict[str, int]:
        """Rows missed in this process, by `reason` of the error.

        Such as "service_unavailable" and "deadline_exceeded"; "view_not_found" are not stored.
        """
        return self._misses.rows

    def __call__(self, views: DrawnViews | Views | ArrayLike) -> ReadLabels:
        """Read the labels of views: `ask` and its `result` at once."""
        return self.ask(views).result()

    def ask(self, views: DrawnViews | Views | ArrayLike) -> AskedLabels:
        """Ask for the labels of the next batch, and return while they travel.

        Raises:
            ContractMismatchError: the views were drawn for another label set.
            InvalidRequestError: there are no views, nothing says how they are rendered, or as many
                batches as may be are on their way.
        """
        self._asked = [asked for asked in self._asked if not asked.done]
        if len(self._asked) >= self._in_flight:
            raise InvalidRequestError(
                f"{len(self._asked)} asked before and not taken; take result() or cancel() it"
                f" first, or make the reader with in_flight={self._in_flight + 1}"
            )
        asked = self._new_request(views)
        self._asked.append(asked)
        return asked

    def over(
        self, batches: "PlannedRun | Iterable[Views | DrawnViews]"
    ) -> Generator[tuple[Any, ReadLabels]]:
        """Read many batches ahead, in order, with the client's `rows_in_flight` as bound.

        A loop that leaves it closes it; one that keeps it must.

        Args:
            batches: a `labelcast.torch.TrainingPlan`; or batches of views, such as those of a
                `labelcast.Plan`, read lazily.

        Yields:
            Each batch as it was given, such as a `PlannedBatch`, and its labels.

        Raises:
            As `ask` and `AskedLabels.result`.
        """
        check_batches(batches)
        if not isinstance(batches, PlannedRun):
            yield from self._over(batches)
            return
        with closing(self._over(batches.batches)) as read:
            for planned, (_, labels) in zip(batches, read, strict=True):
                yield planned, labels

    def close(self) -> None:
        """Cancel what was asked for and not taken."""
        for asked in self._asked:
            asked.cancel()
        self._asked = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _waits(self) -> bool:
        return self._on_miss is OnMiss.WAIT

    def _over(
        self, batches: Iterable[Views | DrawnViews]
    ) -> Generator[tuple[Views | DrawnViews, ReadLabels]]:
        if self._waits:
            return self._streamed(batches)
        # A stream would end with the first labels that do not come; calls stand for themselves.
        most_rows = self._label_set.rows_ahead(self._representation)
        return ReadAhead(batches, self._new_request, most_rows).read()

    def _streamed(
        self, batches: Iterable[Views | DrawnViews]
    ) -> Generator[tuple[Views | DrawnViews, ReadLabels]]:
        listed = Listed(self._reader, batches)
        stream = self._label_set.stream(listed.views, self._representation)
        try:
            for delivered in stream:
                every = np.ones(len(delivered.views), np.bool_)
                yield listed.next(), self._joined(delivered.views, every, [delivered])
        finally:
            if isinstance(stream, Generator):
                stream.close()

    def _new_request(self, views: DrawnViews | Views | ArrayLike) -> AskedLabels:
        self._prepare()
        views = self._reader.views_of(views)
        if not len(views):
            raise InvalidRequestError("ask for at least one view")
        stored = np.ones(len(views), np.bool_)
        if self._miss_not_stored:
            stored = self._label_set.index().holds(views)
        stride = self._representation.row_stride(
            self._label_set.contract.num_classes, self._label_set.code_stride
        )
        calls = tuple(
            (len(part), self._label_set.ask(part, self._representation))
            for part in views[np.flatnonzero(stored)].batches(max(1, _CALL_BYTES // stride))
        )
        return AskedLabels(Request(views, stored, calls, self._misses.outages), self._finish)

    def _prepare(self) -> None:
        if self._prepared:
            return
        if not self._waits:
            self._reader.prepare()
        if self._miss_not_stored:
            self._label_set.index()
        if self._on_miss is OnMiss.HARD_LABEL:
            self._hard_labels = HardLabels(self._label_set, self._given_hard_labels)
            if self._miss_not_stored:
                self._hard_labels.require_known_if_not_stored()
        self._prepared = True

    def _finish(self, request: Request) -> ReadLabels:
        present, came = request.stored.copy(), list[DeliveredLabels]()
        asked, first = np.flatnonzero(present), 0
        if len(asked) < len(present):
            self._misses.not_stored(request.views[np.flatnonzero(~present)])
        for rows, call in request.calls:
            try:
                came.append(self._wait_for(call))
            except MISSES as error:
                if self._waits:
                    raise
                present[asked[first : first + rows]] = False
                self._misses.missed(error, rows)
            else:
                self._misses.came(request.outages)
            first += rows
        return self._joined(request.views, present, came)

    def _wait_for(self, call: PendingLabels) -> DeliveredLabels:
        if self._waits:
            return call.result()
        return call.result(self._miss_seconds, again=not self._misses.missing)

    def _joined(
        self, views: Views, present: NDArray[np.bool_], came: Sequence[DeliveredLabels]
    ) -> ReadLabels:
        place, soft = self._reader.placed, [self._reader.decode(part) for part in came]
        hard = None if self._hard_labels is None else self._hard_labels.of(views, ~present)
        if present.all() and len(soft) == 1:
            values = soft[0]
        else:
            empty = np.full((len(views), self._label_set.contract.num_classes), np.nan)
            if hard is not None and self._gives_distributions:
                empty[~present] = hard
            values, first = place(empty.astype(self._dtype)), 0
            rows = np.flatnonzero(present)
            for part in soft:
                values[place(rows[first : first + len(part)])] = part
                first += len(part)
        return ReadLabels(views, values, place(present), None if hard is None else place(hard))

    @property
    def _dtype(self) -> np.dtype[Any]:
        codes = self._representation.form is Form.CODES
        return np.dtype(np.float32) if codes else self._representation.dtype

    @property
    def _gives_distributions(self) -> bool:
        kind = self._label_set.contract.label_kind
        return kind is LabelKind.PROBABILITIES or self._representation.form is Form.PROBABILITIES
