"""Rows of a reply ⇄ bytes, without the copies that protobuf makes."""

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.errors import ChecksumMismatchError, ProtocolError
from labelcast.v2 import labels_pb2 as pb
from labelcast.wire.columns import no_message

MESSAGE_BYTES = 256 * 1024
"""Payload of a message of codes: more hardly makes a stream of them faster."""

# What the value of a field is, beside the field's number.
_VARINT, _EIGHT_BYTES, _BYTES_FIELD, _FOUR_BYTES = 0, 1, 2, 5
_ROWS_TAG = bytes([pb.StreamLabelsResponse.ROWS_FIELD_NUMBER << 3 | _BYTES_FIELD])
_PAYLOAD_TAG = bytes([pb.LabelRows.PAYLOAD_FIELD_NUMBER << 3 | _BYTES_FIELD])


def reply_of_rows(
    first_row: int,
    count: int,
    payload: bytes | memoryview,
    *,
    payload_crc32: int,
    subject_crc32: int,
) -> bytes:
    """Serialise a `StreamLabelsResponse`: what protobuf makes of it, with one copy, not three.

    Several of them, joined, are a `GetLabelsResponse`: both keep rows in field 1.

    Args:
        first_row: number of the first row.
        count: number of rows.
        payload: the rows, at least one.
        payload_crc32: its CRC-32.
        subject_crc32: CRC-32 of the rows' views.
    """
    head = pb.LabelRows(
        first_row=first_row,
        count=count,
        payload_crc32=payload_crc32,
        subject_crc32=subject_crc32,
    ).SerializeToString()
    size = len(payload)
    head += _PAYLOAD_TAG + _varint(size)
    return b"".join((_ROWS_TAG, _varint(len(head) + size), head, payload))


def _varint(value: int) -> bytes:
    """Base 128, the lowest digit first; each byte but the last has its highest bit set."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


@dataclass(frozen=True, slots=True)
class ReceivedRows:
    """A `LabelRows` whose payload lies where it was received."""

    first_row: int
    count: int
    payload: memoryview
    payload_crc32: int
    subject_crc32: int


def reply_rows(content: bytes) -> ReceivedRows:
    """Read a `StreamLabelsResponse`: what protobuf makes of it, without its two copies.

    Args:
        content: bytes as received; the payload is a view of them.

    Raises:
        ProtocolError: it is no such message.
    """
    try:
        _, rows = _without(memoryview(content), _ROWS_TAG)
        head, payload = _without(rows, _PAYLOAD_TAG)
        message = pb.LabelRows.FromString(head)
    except (DecodeError, IndexError):
        raise no_message(content, pb.StreamLabelsResponse, ProtocolError) from None
    return ReceivedRows(
        message.first_row, message.count, payload, message.payload_crc32, message.subject_crc32
    )


def _without(message: memoryview, tag: bytes) -> tuple[bytes, memoryview]:
    """A serialised message without a field of bytes, and the field: the last, if it came twice.

    Raises:
        IndexError: the message is cut, or none.
    """
    others, field, begin, at = list[memoryview](), message[:0], 0, 0
    while at < len(message):
        start, (key, at) = at, _read_varint(message, at)
        kind, value = key & 7, at
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES_FIELD:
            size, value = _read_varint(message, at)
            at = value + size
        else:
            at += {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind, len(message))
        if at > len(message):
            raise IndexError
        if key == tag[0]:
            others.append(message[begin:start])
            field, begin = message[value:at], at
    return b"".join([*others, message[begin:]]), field


def _read_varint(content: memoryview, at: int) -> tuple[int, int]:
    """A number as `_varint` makes it, and where it ends."""
    value = shift = 0
    while True:
        digit = content[at]
        at += 1
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError


def rows_from_proto(message: pb.LabelRows | ReceivedRows, *, first_row: int, stride: int) -> Rows:
    """Read the rows of a reply, zero-copy; the caller checks which views they belong to.

    Args:
        message: the reply.
        first_row: number of the expected row.
        stride: bytes per row.

    Returns:
        uint8, shape (count, stride), read-only.

    Raises:
        ProtocolError: they are not the expected rows, there are none, or their stride is wrong.
        ChecksumMismatchError: they were damaged on the way.
    """
    count, payload = message.count, message.payload
    if message.first_row != first_row or not count or len(payload) != count * stride:
        raise ProtocolError(
            f"the service sent rows from {message.first_row} on with {len(payload)} bytes"
            f" for {count} rows; expected row {first_row} and {stride} bytes a row"
        )
    if crc32(payload) != message.payload_crc32:
        raise ChecksumMismatchError("labels were damaged on their way; request them again")
    return np.frombuffer(payload, dtype=np.uint8).reshape(count, stride)
