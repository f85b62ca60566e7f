"""The protocol of the stream of a plan without input and output; see `listed` for views.

Rules:
  * a stream is one request, and a new one begins with the first row that has not been answered;
  * the rows of a reply are accepted only if they prove to be for the views that this end expands
    the plan to.
"""

from collections.abc import Iterator

import numpy as np

from labelcast import wire, wire_plan
from labelcast.codec import Rows
from labelcast.identifiers import Digest
from labelcast.opening.delivered import DeliveredLabels
from labelcast.plans import Plan, PlanBatches, SequencePlan
from labelcast.remote.streams.exchange import Exchange
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views


class PlanExchange(Exchange):
    """State of the stream of a plan's rows.

    Args:
        label_set: digest of the label set.
        representation: form of the labels.
        row_stride: bytes of a delivered row.
        num_classes: number of classes, C.
        batches: rows of the plan, and how they are cut.
    """

    def __init__(
        self,
        *,
        label_set: Digest,
        representation: Representation,
        row_stride: int,
        num_classes: int,
        batches: PlanBatches[Plan] | PlanBatches[SequencePlan],
    ) -> None:
        super().__init__(
            label_set=label_set,
            representation=representation,
            row_stride=row_stride,
            num_classes=num_classes,
            first_row=batches.start,
        )
        self._batches = batches
        self._plan = wire_plan.plan_to_proto(batches.plan)
        self._delivered_rows = batches.start
        self._views: list[Views] = []
        self._rows: list[Rows] = []

    @property
    def done(self) -> bool:
        """Whether every batch has been delivered."""
        return self._delivered_rows == self._batches.stop

    @property
    def owes_reply(self) -> bool:
        """Whether the service must send something: rows, or the end of the stream."""
        return True

    def request(self) -> pb.StreamPlanRequest:
        """The request for all rows that have not been answered."""
        return pb.StreamPlanRequest(
            label_set=self._label_set,
            representation=self._form,
            plan=self._plan,
            first_row=self._answered_rows,
            num_rows=self._batches.stop - self._answered_rows,
        )

    def accept(self, message: pb.LabelRows | wire.ReceivedRows) -> Iterator[DeliveredLabels]:
        """Accept a reply; yields the batches that it completes.

        Raises:
            ProtocolError: the rows were not requested, or are out of order.
            ChecksumMismatchError: the rows are damaged.
            WrongSubjectError: the rows belong to other views than those that come next.
        """
        self._require_asked(message, self._batches.stop - self._answered_rows)
        # Not more than there are bytes for, whatever the message says of itself.
        count = min(message.count, len(message.payload) // self._row_stride)
        views = self._batches.plan.views(self._answered_rows, self._answered_rows + count)
        self._rows.append(self._proven(message, views))
        self._views.append(views)
        yield from self._complete()

    def rewind(self) -> None:
        """Nothing: the next request is for what has not been answered."""

    def raise_failure(self) -> None:
        """Nothing: a plan has no failures of its own."""

    def _complete(self) -> Iterator[DeliveredLabels]:
        if self._batches.end_of_batch(self._delivered_rows) > self._answered_rows:
            return
        views = Views.joined(self._views)
        # Usually no batch has begun in an earlier message.
        rows = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
        rows.flags.writeable = False
        first = self._delivered_rows
        self._views, self._rows = [], []
        while not self.done and (end := self._batches.end_of_batch(self._delivered_rows)) <= (
            self._answered_rows
        ):
            part = slice(self._delivered_rows - first, end - first)
            self._delivered_rows = end
            yield self._delivered(views[part], rows[part])
        if self._delivered_rows < self._answered_rows:
            rest = slice(self._delivered_rows - first, None)
            self._views, self._rows = [views[rest]], [rows[rest]]
