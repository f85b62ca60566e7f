"""The protocol of the stream of a plan without input and output; see `listed` for views.

Rules:
  * a stream is one request, and a new one begins with the first row that has not been answered;
  * the rows of a reply are accepted only if they prove to be for the views that this end expands
    the plan to.
"""

from collections.abc import Iterator

import numpy as np

from labelcast import wire, wire_plan
from labelcast.answer_subject import LabelSubject
from labelcast.codec import Rows
from labelcast.errors import ProtocolError
from labelcast.identifiers import Digest
from labelcast.opening.delivered import DeliveredLabels
from labelcast.plans import PlanBatches
from labelcast.remote.streams.proven_rows import proven_rows
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views


class PlanExchange:
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
        batches: PlanBatches,
    ) -> None:
        self._label_set = label_set
        self._representation = representation
        self._row_stride = row_stride
        self._num_classes = num_classes
        self._batches = batches
        self._plan = wire_plan.plan_to_proto(batches.plan)
        self._subject = LabelSubject(label_set, representation)
        self._answered = self._delivered = batches.start
        self._views: list[Views] = []
        self._rows: list[Rows] = []

    @property
    def done(self) -> bool:
        """Whether every batch has been delivered."""
        return self._delivered == self._batches.stop

    @property
    def answered_rows(self) -> int:
        """Rows of the plan that have been answered, with those before the first batch."""
        return self._answered

    @property
    def owes_reply(self) -> bool:
        """Whether the service must send something: rows, or the end of the stream."""
        return True

    def request(self) -> pb.StreamPlanRequest:
        """The request for all rows that have not been answered."""
        return pb.StreamPlanRequest(
            label_set=self._label_set,
            representation=wire.representation_to_proto(self._representation),
            plan=self._plan,
            first_row=self._answered,
            num_rows=self._batches.stop - self._answered,
        )

    def accept(self, message: pb.LabelRows) -> Iterator[DeliveredLabels]:
        """Accept a reply; yields the batches that it completes.

        Raises:
            ProtocolError: the rows were not requested, or are out of order.
            ChecksumMismatchError: the rows are damaged.
            WrongSubjectError: the rows belong to other views than those that come next.
        """
        if not 1 <= message.count <= self._batches.stop - self._answered:
            raise ProtocolError("the service sent no rows, or some that were not requested")
        # Not more than there are bytes for, whatever the message says of itself.
        count = min(message.count, len(message.payload) // self._row_stride)
        views = self._batches.plan.views(self._answered, self._answered + count)
        rows = proven_rows(
            message, self._subject, views, first_row=self._answered, stride=self._row_stride
        )
        self._answered += len(rows)
        self._views.append(views)
        self._rows.append(rows)
        yield from self._complete()

    def finish(self) -> None:
        """Check that all rows have arrived when the service closes the stream.

        Raises:
            ProtocolError: rows are missing.
        """
        if not self.done:
            raise ProtocolError("the service closed the stream before the last row")

    def rewind(self) -> None:
        """Nothing: the next request is for what has not been answered."""

    def raise_failure(self) -> None:
        """Nothing: a plan has no failures of its own."""

    def _complete(self) -> Iterator[DeliveredLabels]:
        if self._batches.end_of_batch(self._delivered) > self._answered:
            return
        views = Views.joined(self._views)
        # Usually no batch has begun in an earlier message.
        rows = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
        rows.flags.writeable = False
        first = self._delivered
        self._views, self._rows = [], []
        while not self.done and (end := self._batches.end_of_batch(self._delivered)) <= (
            self._answered
        ):
            part = slice(self._delivered - first, end - first)
            self._delivered = end
            yield DeliveredLabels(views[part], rows[part], self._representation, self._num_classes)
        if self._delivered < self._answered:
            rest = slice(self._delivered - first, None)
            self._views, self._rows = [views[rest]], [rows[rest]]
