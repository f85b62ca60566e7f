"""What the protocols of listed and of planned views share."""

from labelcast import wire
from labelcast.answer_subject import LabelSubject
from labelcast.codec import Rows
from labelcast.errors import ProtocolError
from labelcast.identifiers import Digest
from labelcast.opening.delivered import DeliveredLabels
from labelcast.remote.streams.proven_rows import proven_rows
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views


class Exchange:
    """State of one label stream, without input and output.

    Args:
        label_set: digest of the label set.
        representation: form of the labels.
        row_stride: bytes of a delivered row.
        num_classes: number of classes, C.
        first_row: number of the first row of the run.
    """

    def __init__(
        self,
        *,
        label_set: Digest,
        representation: Representation,
        row_stride: int,
        num_classes: int,
        first_row: int,
    ) -> None:
        self._label_set = label_set
        self._representation = representation
        self._form = wire.representation_to_proto(representation)
        self._row_stride = row_stride
        self._num_classes = num_classes
        self._subject = LabelSubject(label_set, representation)
        self._answered_rows = first_row

    @property
    def done(self) -> bool:
        """Whether every batch has been delivered."""
        raise NotImplementedError

    @property
    def answered(self) -> int:
        """Number of the next row that is to be answered."""
        return self._answered_rows

    def finish(self) -> None:
        """Check that all rows have arrived when the service closes the stream.

        Raises:
            ProtocolError: rows are missing.
        """
        if not self.done:
            raise ProtocolError("the service closed the stream before the last row")

    def _require_asked(self, message: pb.LabelRows | wire.ReceivedRows, asked_rows: int) -> None:
        """Refuse a reply without rows, or with more than the `asked_rows` that may follow.

        Raises:
            ProtocolError: the rows were not requested.
        """
        if not 1 <= message.count <= asked_rows:
            raise ProtocolError("the service sent no rows, or some that were not requested")

    def _proven(self, message: pb.LabelRows | wire.ReceivedRows, views: Views) -> Rows:
        """Rows of a reply that prove to be for the views that come next; see `proven_rows`."""
        rows = proven_rows(
            message, self._subject, views, first_row=self._answered_rows, stride=self._row_stride
        )
        self._answered_rows += len(rows)
        return rows

    def _delivered(self, views: Views, rows: Rows) -> DeliveredLabels:
        return DeliveredLabels(views, rows, self._representation, self._num_classes)
