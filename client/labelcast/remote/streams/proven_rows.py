"""Rows of a reply, once they prove to be those that were asked for."""

from labelcast import wire
from labelcast.answer_subject import LabelSubject
from labelcast.codec import Rows
from labelcast.errors import WrongSubjectError
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views


def proven_rows(
    message: pb.LabelRows | wire.ReceivedRows,
    subject: LabelSubject,
    views: Views,
    *,
    first_row: int,
    stride: int,
) -> Rows:
    """Read the rows of a reply and compare what they answer with what was asked.

    Args:
        message: the reply, of `message.count` rows.
        subject: subject of the label set and form that were asked for.
        views: those that come next, as many as the message has rows; if there are fewer, the
            message is refused.
        first_row: number of the row that comes next.
        stride: bytes of a row.

    Returns:
        uint8, shape (count, stride), read-only.

    Raises:
        ProtocolError: they are out of order, or malformed.
        ChecksumMismatchError: they are damaged.
        WrongSubjectError: they belong to other views.
    """
    rows = wire.rows_from_proto(message, first_row=first_row, stride=stride)
    if len(views) != len(rows) or subject.checksum(views) != message.subject_crc32:
        raise WrongSubjectError(
            f"the {len(rows)} rows from row {first_row} on came for other views than requested"
        )
    return rows
