"""How much is asked for, decoded and sent at a time: three sizes, kept apart.

request  what a client asks for at once: as many views as it likes
unit     what is looked up, gathered and decoded at once: bounded by the bytes of its labels
message  what one reply carries: `labelcast.wire.MESSAGE_BYTES`, or twice that
"""

from dataclasses import dataclass
from typing import Self

from labelcast.representation import Form, Representation

# Of the float32 labels that a decoder makes of one unit. A network gains nothing from more rows
# than these are at 1,000 classes, and several units share a turn of the decoder anyway.
_DECODED_BYTES = 2**23
# A message of codes is thousands of labels, one of dense labels a hundred: twice as long, a stream
# of these is a third faster, and four times as long hardly more.
_DENSE_MESSAGE = 2


@dataclass(frozen=True, slots=True)
class UnitSizes:
    """Sizes for one label set in one form.

    Attributes:
        row_bytes: bytes of a delivered row.
        message_rows: most rows of a message.
        unit_rows: most rows of a unit; whole messages.
    """

    row_bytes: int
    message_rows: int
    unit_rows: int

    @classmethod
    def of(
        cls,
        representation: Representation,
        *,
        num_classes: int,
        code_stride: int,
        message_bytes: int,
    ) -> Self:
        """Choose them.

        Args:
            representation: form of the labels.
            num_classes: number of classes, C.
            code_stride: bytes of a packed row.
            message_bytes: payload of a message of codes; other labels have twice as much.
        """
        row_bytes = representation.row_stride(num_classes, code_stride)
        if representation.form is Form.CODES:
            message_rows = max(1, message_bytes // row_bytes)
            return cls(row_bytes, message_rows, message_rows)
        message_rows = max(1, _DENSE_MESSAGE * message_bytes // row_bytes)
        # A top-k row is small on the wire, but whole while it is decoded.
        decoded_rows = max(1, _DECODED_BYTES // (4 * num_classes))
        message_rows = min(message_rows, decoded_rows)
        return cls(row_bytes, message_rows, decoded_rows // message_rows * message_rows)

    def rows_within(self, num_bytes: int) -> int:
        """Rows that fit, but at least one."""
        return max(1, num_bytes // self.row_bytes)
