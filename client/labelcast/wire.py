"""Values ⇄ messages: with `wire_plan`, all that builds or reads a protobuf message."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from labelcast.answer_subject import resolution_checksum
from labelcast.checksums import crc32
from labelcast.codec import Precision, Rows
from labelcast.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    WrongSubjectError,
)
from labelcast.identifiers import Digest, is_digest
from labelcast.label_set import MissingViews
from labelcast.representation import Form, Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import MAX_SEED, Views

MESSAGE_BYTES = 256 * 1024
"""Payload of a message of codes: more hardly makes a stream of them faster."""

MAX_VIEWS_PER_REQUEST = 2**20

# What the value of a field is, beside the field's number.
_VARINT, _EIGHT_BYTES, _BYTES_FIELD, _FOUR_BYTES = 0, 1, 2, 5
_ROWS_TAG = bytes([pb.StreamLabelsResponse.ROWS_FIELD_NUMBER << 3 | _BYTES_FIELD])
_PAYLOAD_TAG = bytes([pb.LabelRows.PAYLOAD_FIELD_NUMBER << 3 | _BYTES_FIELD])

AnyMessage = TypeVar("AnyMessage", bound=Message)

_FORMS = {
    Form.CODES: pb.FORM_CODES,
    Form.LOGITS: pb.FORM_LOGITS,
    Form.PROBABILITIES: pb.FORM_PROBABILITIES,
    Form.TOP_K: pb.FORM_TOP_K,
}
_MISSING = {
    MissingViews.REFUSE: pb.MISSING_REFUSE,
    MissingViews.DROP: pb.MISSING_DROP,
    MissingViews.DRAW: pb.MISSING_DRAW,
    MissingViews.DRAW_ALL: pb.MISSING_DRAW_ALL,
}
_PRECISIONS = {Precision.FP16: pb.PRECISION_FP16, Precision.FP32: pb.PRECISION_FP32}


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
        raise _no_message(content, kind, malformed) from None


def _no_message(
    content: bytes, kind: type[Message], malformed: type[LabelcastError]
) -> LabelcastError:
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
    return _read_column(column, count, what).astype(np.uint64)


def _read_column(column: pb.Column, count: int, what: str) -> NDArray[Any]:
    """A column of `count` values without a copy, as narrow as received; a shared value once."""
    width, size = column.width, len(column.data)
    if width == 0 and size == 8:
        # What np.broadcast_to would give, in a fifth of its time.
        return np.ndarray(count, dtype="<u8", buffer=column.data, strides=(0,))
    if width not in (1, 2, 4, 8) or size != count * width:
        raise InvalidRequestError(f"{what}: {size} bytes of width {width} are not {count} values")
    return np.frombuffer(column.data, dtype=f"<u{width}")


def views_to_proto(views: Views) -> pb.Views:
    """Columns of a request."""
    return pb.Views(
        count=len(views),
        sample_ids=column_to_proto(views.sample_ids),
        seeds=column_to_proto(views.seeds),
    )


class AskedViews:
    """The views of a request, expanded when needed.

    A request of a hundred bytes may ask for a million of them.

    Args:
        message: columns of a request.

    Raises:
        InvalidRequestError: no views, too many, or malformed columns.
    """

    most_rows = MAX_VIEWS_PER_REQUEST
    """Rows to expand at once."""

    def __init__(self, message: pb.Views) -> None:
        count = message.count
        if not 1 <= count <= MAX_VIEWS_PER_REQUEST:
            raise InvalidRequestError(
                f"a request asks for 1 to {MAX_VIEWS_PER_REQUEST} views, got {count}"
            )
        self.num_bytes = len(message.sample_ids.data) + len(message.seeds.data)
        """Memory that the columns take as they came."""
        self._ids = _read_column(message.sample_ids, count, "sample_ids")
        self._seeds = _read_column(message.seeds, count, "seeds")
        if int(self._seeds.max()) > MAX_SEED:
            raise InvalidRequestError(f"an augmentation seed must be at most {MAX_SEED}")

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, rows: slice) -> Views:
        return Views(self._ids[rows].astype(np.uint64), self._seeds[rows].astype(np.uint32))


def views_from_proto(message: pb.Views) -> Views:
    """Read the columns of a request whole.

    Raises:
        InvalidRequestError: no views, too many, or malformed columns.
    """
    return AskedViews(message)[:]


def representation_to_proto(representation: Representation) -> pb.Representation:
    """Pack the form of the labels in a request."""
    return pb.Representation(
        form=_FORMS[representation.form],
        precision=_PRECISIONS[representation.precision]
        if representation.precision is not None
        else pb.PRECISION_UNSPECIFIED,
        temperature=representation.temperature or 0.0,
        k=representation.k or 0,
    )


def representation_from_proto(message: pb.Representation) -> Representation:
    """Read the form of the labels.

    Raises:
        InvalidRequestError: unknown or contradictory.
    """
    form = next((form for form, value in _FORMS.items() if value == message.form), None)
    if form is None:
        raise InvalidRequestError("the request names no known form of labels")
    precision = next(
        (name for name, value in _PRECISIONS.items() if value == message.precision), None
    )
    if precision is None and message.precision != pb.PRECISION_UNSPECIFIED:
        raise InvalidRequestError("the request names no known precision")
    return Representation(form, precision, message.temperature or None, message.k or None)


def missing_to_proto(missing: MissingViews) -> pb.Missing:
    """Pack what happens to views that a label set lacks."""
    return _MISSING[MissingViews(missing)]


def missing_from_proto(value: pb.Missing) -> MissingViews:
    """Read what happens to views that a label set lacks.

    Raises:
        InvalidRequestError: unknown.
    """
    known = next((missing for missing, number in _MISSING.items() if number == value), None)
    if known is None:
        raise InvalidRequestError(f"say what becomes of missing views: {', '.join(MissingViews)}")
    return known


def resolved_to_proto(
    label_set: Digest, missing: MissingViews, asked: Views, found: Views, rows: NDArray[np.int64]
) -> pb.ResolveViewsResponse:
    """Pack stored views, and which rows of the request they answer."""
    return pb.ResolveViewsResponse(
        views=views_to_proto(found),
        rows=column_to_proto(rows.astype(np.uint64)),
        subject_crc32=resolution_checksum(label_set, missing, asked, found, rows),
    )


def resolved_from_proto(
    message: pb.ResolveViewsResponse, label_set: Digest, missing: MissingViews, asked: Views
) -> tuple[Views, NDArray[np.int64]]:
    """Read stored views.

    Raises:
        ProtocolError: they belong to other samples than requested, or are out of order.
        WrongSubjectError: it answers another request, or is damaged.
    """
    count = message.views.count
    if count > len(asked):
        raise ProtocolError("the service sent more views than requested")
    try:
        ids = column_from_proto(message.views.sample_ids, count, "sample_ids")
        seeds = column_from_proto(message.views.seeds, count, "seeds")
        rows = column_from_proto(message.rows, count, "rows").astype(np.int64)
        found = Views.of(ids, seeds)
    except InvalidRequestError as error:
        raise ProtocolError(f"the service sent malformed views: {error.message}") from None
    if resolution_checksum(label_set, missing, asked, found, rows) != message.subject_crc32:
        raise WrongSubjectError("the service resolved other views than requested")
    if count and not (rows[-1] < len(asked) and (np.diff(rows) > 0).all() and rows[0] >= 0):
        raise ProtocolError("the service sent views out of order")
    if not np.array_equal(found.sample_ids, asked.sample_ids[rows]):
        raise ProtocolError("the service sent views of other samples than requested")
    drawn = missing in (MissingViews.DRAW, MissingViews.DRAW_ALL)
    if not drawn and not np.array_equal(found.seeds, asked.seeds[rows]):
        raise ProtocolError("the service sent other views than requested")
    return found, rows


def label_set_from_proto(digest: str) -> Digest:
    """Read the digest of a pinned label set.

    Raises:
        InvalidRequestError: it is a tag, or empty: a run resolves its tag once, with GetLabelSet.
    """
    if not is_digest(digest):
        raise InvalidRequestError("labels are requested by digest; resolve a tag with GetLabelSet")
    return digest


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
        raise _no_message(content, pb.StreamLabelsResponse, ProtocolError) from None
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
