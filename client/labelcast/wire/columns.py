"""Messages from bytes, and integers of many rows as one field of bytes."""

from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, LabelcastError
from labelcast.v2 import labels_pb2 as pb

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parse(
    kind: type[AnyMessage], content: bytes | None, malformed: type[LabelcastError]
) -> AnyMessage:
    """Read a message.

    gRPC does not parse: its errors would become a status without a reason.

    Args:
        kind: class of the message.
        content: bytes as received; None is what gRPC gives for a call that ended well without any.
        malformed: error to raise if the content is no such message.
    """
    if content is None:
        raise malformed(f"the call ended well, but no {kind.DESCRIPTOR.full_name} came")
    try:
        return kind.FromString(content)
    except DecodeError:
        raise no_message(content, kind, malformed) from None


def no_message(
    content: bytes, kind: type[Message], malformed: type[LabelcastError]
) -> LabelcastError:
    """The error that bytes are no such message."""
    name = kind.DESCRIPTOR.full_name
    return malformed(f"{len(content)} bytes are no {name}; compare versions")


def column_to_proto(values: NDArray[Any]) -> pb.Column:
    """Pack unsigned integers in the narrowest width; one shared value takes eight bytes in all."""
    if len(values) and (values == values[0]).all():
        return pb.Column(width=0, data=int(values[0]).to_bytes(8, "little"))
    widest = int(values.max()) if len(values) else 0
    width = next(width for width in (1, 2, 4, 8) if widest < 1 << (8 * width))
    return pb.Column(width=width, data=values.astype(f"<u{width}").tobytes())


def column_from_proto(column: pb.Column, count: int, what: str) -> NDArray[np.uint64]:
    """Unpack a column of `count` values: uint64, shape (count,).

    Raises:
        InvalidRequestError: an impossible width, or the wrong number of bytes.
    """
    return read_column(column, count, what).astype(np.uint64)


def read_column(column: pb.Column, count: int, what: str) -> NDArray[Any]:
    """A column of `count` values without a copy, as narrow as received; a shared value once."""
    width, size = column.width, len(column.data)
    if width == 0 and size == 8:
        # What np.broadcast_to would give, in a fifth of its time.
        return np.ndarray(count, dtype="<u8", buffer=column.data, strides=(0,))
    if width not in (1, 2, 4, 8) or size != count * width:
        raise InvalidRequestError(f"{what}: {size} bytes of width {width} are not {count} values")
    return np.frombuffer(column.data, dtype=f"<u{width}")
