"""Values ⇄ messages: what is packed comes back, what is malformed is refused."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast import wire
from labelcast.checksums import crc32
from labelcast.codec import Precision
from labelcast.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    ProtocolError,
    WrongSubjectError,
)
from labelcast.identifiers import digest_from, digest_from_hash
from labelcast.label_set import MissingViews
from labelcast.representation import Form, Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views

FP32_TEMPERATURES = st.floats(2**-9, 2**13, width=32).map(
    lambda value: float(str(np.float32(value)))
)
REPRESENTATIONS = st.one_of(
    st.just(Representation.codes()),
    st.builds(Representation.logits, st.sampled_from(Precision)),
    st.builds(Representation.probabilities, FP32_TEMPERATURES, st.sampled_from(Precision)),
    st.builds(Representation.top_k, st.integers(1, 2**32 - 1), FP32_TEMPERATURES),
)

DIGEST = digest_from_hash(bytes(32))
UNKNOWN: Any = 99  # what a newer peer may send


def sent(message: Any) -> Any:
    """The message as the other side reads it."""
    return type(message).FromString(message.SerializeToString())


def column(*values: int) -> NDArray[np.uint64]:
    return np.array(values, dtype=np.uint64)


def views_message(count: int, ids: pb.Column, seeds: pb.Column | None = None) -> pb.Views:
    return pb.Views(count=count, sample_ids=ids, seeds=seeds or wire.column_to_proto(column(1)))


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@given(data=st.data())
def test_columns_of_every_width_come_back_in_the_narrowest(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=2, max_size=50))
    values.append(2**bits - 1)
    assume(len(set(values)) > 1)
    message = sent(wire.column_to_proto(column(*values)))
    assert message.width == bits // 8
    assert len(message.data) == len(values) * message.width
    assert wire.column_from_proto(message, len(values), "column").tolist() == values


@pytest.mark.parametrize(
    ("largest", "width"),
    [(255, 1), (256, 2), (2**16 - 1, 2), (2**16, 4), (2**32 - 1, 4), (2**32, 8)],
)
def test_widths_change_where_they_must(largest: int, width: int) -> None:
    assert wire.column_to_proto(column(0, largest)).width == width


@given(st.integers(0, 2**64 - 1), st.integers(1, 1000))
def test_one_shared_value_takes_eight_bytes(value: int, count: int) -> None:
    message = sent(wire.column_to_proto(np.full(count, value, dtype=np.uint64)))
    assert (message.width, len(message.data)) == (0, 8)
    assert wire.column_from_proto(message, count, "column").tolist() == [value] * count


def test_values_are_little_endian_whatever_the_memory_order() -> None:
    swapped = np.array([1, 0x0203], dtype=">u8")[::-1]
    message = wire.column_to_proto(swapped)
    assert message.data == b"\x03\x02\x01\x00"


@pytest.mark.parametrize(
    ("width", "data"),
    [
        (0, b""),
        (0, bytes(4)),
        (0, bytes(9)),
        (0, bytes(24)),
        (1, bytes(2)),
        (1, bytes(4)),
        (2, bytes(3)),
        (3, bytes(9)),
        (4, bytes(11)),
        (8, bytes(8)),
        (16, bytes(48)),
        (2**32 - 1, bytes(3)),
    ],
)
def test_malformed_columns_are_refused(width: int, data: bytes) -> None:
    malformed = pb.Column(width=width, data=data)
    with pytest.raises(InvalidRequestError, match=r"what: .*3 values"):
        wire.column_from_proto(malformed, 3, "what")
    with pytest.raises(InvalidRequestError, match="sample_ids"):
        wire.views_from_proto(views_message(3, malformed))
    with pytest.raises(InvalidRequestError, match="seeds"):
        wire.views_from_proto(views_message(3, wire.column_to_proto(column(1)), malformed))


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)), min_size=1))
def test_views_come_back(pairs: list[tuple[int, int]]) -> None:
    ids, seeds = zip(*pairs, strict=True)
    views = Views(column(*ids), np.array(seeds, dtype=np.uint32))
    read = wire.views_from_proto(sent(wire.views_to_proto(views)))
    assert list(zip(read.sample_ids.tolist(), read.seeds.tolist(), strict=True)) == pairs


@pytest.mark.parametrize("count", [0, wire.MAX_VIEWS_PER_REQUEST + 1, 2**32 - 1])
def test_a_count_out_of_bounds_is_refused_before_anything_is_allocated(count: int) -> None:
    shared = wire.column_to_proto(column(7))
    with pytest.raises(InvalidRequestError, match=f"got {count}"):
        wire.views_from_proto(views_message(count, shared, shared))


def test_a_seed_beyond_32_bits_is_refused() -> None:
    seeds = wire.column_to_proto(column(1, 2**32))
    with pytest.raises(InvalidRequestError, match="seed"):
        wire.views_from_proto(views_message(2, wire.column_to_proto(column(1)), seeds))


@given(REPRESENTATIONS)
def test_representations_come_back(representation: Representation) -> None:
    message = sent(wire.representation_to_proto(representation))
    assert wire.representation_from_proto(message) == representation


@pytest.mark.parametrize("temperature", [0.1, 0.7, 2.3, 4.0, 1e-3])
def test_a_decimal_temperature_survives_being_a_float_of_32_bits(temperature: float) -> None:
    message = sent(wire.representation_to_proto(Representation.probabilities(temperature)))
    assert wire.representation_from_proto(message).temperature == temperature


@pytest.mark.parametrize(
    "message",
    [
        pb.Representation(),
        pb.Representation(form=UNKNOWN),
        pb.Representation(form=pb.FORM_CODES, precision=pb.PRECISION_FP16),
        pb.Representation(form=pb.FORM_CODES, precision=UNKNOWN),
        pb.Representation(form=pb.FORM_CODES, k=1),
        pb.Representation(form=pb.FORM_LOGITS),
        pb.Representation(form=pb.FORM_LOGITS, precision=UNKNOWN),
        pb.Representation(form=pb.FORM_LOGITS, precision=pb.PRECISION_FP16, temperature=1),
        pb.Representation(form=pb.FORM_PROBABILITIES, precision=pb.PRECISION_FP32),
        pb.Representation(form=pb.FORM_TOP_K, precision=pb.PRECISION_FP16, temperature=1),
        pb.Representation(form=pb.FORM_TOP_K, precision=pb.PRECISION_FP16, k=3),
        *(
            pb.Representation(
                form=pb.FORM_PROBABILITIES, precision=pb.PRECISION_FP16, temperature=bad
            )
            for bad in (-1.0, float("nan"), float("inf"), float("-inf"))
        ),
    ],
    ids=lambda message: " ".join(str(message).split()),
)
def test_contradictory_representations_are_refused(message: pb.Representation) -> None:
    with pytest.raises(InvalidRequestError):
        wire.representation_from_proto(sent(message))


def test_every_form_and_precision_has_a_name_on_the_wire() -> None:
    forms = {wire.representation_to_proto(each).form for each in SOME_OF_EACH_FORM}
    assert forms == set(pb.Form.values()) - {pb.FORM_UNSPECIFIED}
    assert len(SOME_OF_EACH_FORM) == len(Form)


SOME_OF_EACH_FORM = [
    Representation.codes(),
    Representation.logits(),
    Representation.probabilities(1.0),
    Representation.top_k(1, 1.0),
]


@pytest.mark.parametrize("text", ["", "glyphs:latest", "sha256:", "sha256:" + "0" * 63, "0" * 64])
def test_only_a_digest_pins_a_label_set(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="digest"):
        wire.label_set_from_proto(text)
    assert wire.label_set_from_proto("sha256:" + "0" * 64)


def rows_of(first_row: int, count: int, payload: bytes) -> pb.LabelRows:
    return pb.LabelRows(
        first_row=first_row,
        count=count,
        payload_crc32=crc32(payload),
        subject_crc32=0,
        payload=payload,
    )


@given(
    st.one_of(st.just(0), st.integers(0, 2**64 - 1)),
    st.integers(1, 2**32 - 1),
    st.sampled_from([1, 2, 127, 128, 16_383, 16_384, 300_000]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_a_reply_is_serialised_as_protobuf_would(
    first_row: int, count: int, size: int, payload_crc32: int, subject_crc32: int
) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    checksums = {"payload_crc32": payload_crc32, "subject_crc32": subject_crc32}
    rows = pb.LabelRows(first_row=first_row, count=count, payload=payload, **checksums)
    reply = wire.reply_of_rows(first_row, count, memoryview(payload), **checksums)
    assert reply == pb.StreamLabelsResponse(rows=rows).SerializeToString()
    assert reply + reply == pb.GetLabelsResponse(parts=[rows, rows]).SerializeToString()


ROWS = pb.LabelRows(
    first_row=300, count=2, payload_crc32=7, subject_crc32=2**32 - 1, payload=b"payload"
)
REPLY = pb.StreamLabelsResponse(rows=ROWS).SerializeToString()
# Fields of a later version, one of each kind that there is.
LATER = b"\x30\x96\x01" + b"\x39eight by" + b"\x42\x03abc" + b"\x4dfour"


def as_read(content: bytes) -> tuple[int, int, bytes, int, int] | None:
    try:
        rows = wire.reply_rows(content)
    except ProtocolError:
        return None
    return (rows.first_row, rows.count, bytes(rows.payload), rows.payload_crc32, rows.subject_crc32)


def as_protobuf_reads(content: bytes) -> tuple[int, int, bytes, int, int] | None:
    try:
        rows = pb.StreamLabelsResponse.FromString(content).rows
    except DecodeError:
        return None
    return (rows.first_row, rows.count, rows.payload, rows.payload_crc32, rows.subject_crc32)


@given(
    st.permutations(
        [
            pb.LabelRows(first_row=300).SerializeToString(),
            pb.LabelRows(count=2).SerializeToString(),
            pb.LabelRows(payload_crc32=7).SerializeToString(),
            pb.LabelRows(payload=b"payload").SerializeToString(),
            pb.LabelRows(payload=b"later").SerializeToString(),
            LATER,
        ]
    ),
    st.sampled_from([b"", LATER]),
)
def test_a_reply_is_read_as_protobuf_would(fields: list[bytes], beside: bytes) -> None:
    rows = b"".join(fields)
    content = beside + b"\x0a" + bytes([len(rows)]) + rows + beside
    assert as_read(content) == as_protobuf_reads(content) is not None


def test_a_reply_without_rows_is_read_as_protobuf_would() -> None:
    for content in (b"", LATER, b"\x0a\x00"):
        assert as_read(content) == as_protobuf_reads(content) == (0, 0, b"", 0, 0)


def test_a_cut_reply_is_refused_as_by_protobuf() -> None:
    for size in range(1, len(REPLY)):
        assert as_read(REPLY[:size]) is as_protobuf_reads(REPLY[:size]) is None


@given(st.binary(max_size=40))
def test_what_is_no_reply_is_refused_or_read_as_protobuf_would(content: bytes) -> None:
    expected = as_protobuf_reads(content)
    read = as_read(content)
    # Protobuf knows groups, and merges rows that come twice; both are refused, or their checksums
    # will not fit.
    assert read is None or expected is None or read == expected or content.count(b"\x0a") > 1


@pytest.mark.parametrize("number", [b"\xff" * 10 + b"\x01", b"\xff" * 2000])
def test_a_number_without_end_is_refused(number: bytes) -> None:
    with pytest.raises(ProtocolError, match="are no "):
        wire.reply_rows(b"\x08" + number)


def test_a_payload_stays_where_it_was_received() -> None:
    rows = wire.reply_rows(REPLY)
    assert rows.payload.obj is REPLY
    assert rows.payload.readonly


@given(st.binary(min_size=6, max_size=60), st.integers(1, 6), st.integers(0, 2**64 - 1))
def test_rows_come_back_without_a_copy(content: bytes, stride: int, first_row: int) -> None:
    payload = content[: len(content) // stride * stride]
    message = sent(rows_of(first_row, len(payload) // stride, payload))
    rows = wire.rows_from_proto(message, first_row=first_row, stride=stride)
    assert rows.shape == (len(payload) // stride, stride)
    assert rows.tobytes() == payload
    assert not rows.flags.writeable
    assert not rows.flags.owndata


@given(st.binary(min_size=1, max_size=40), st.data())
def test_every_flipped_bit_is_found(payload: bytes, data: st.DataObject) -> None:
    message = rows_of(5, len(payload), payload)
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    damaged = bytearray(payload)
    damaged[bit // 8] ^= 1 << (bit % 8)
    message.payload = bytes(damaged)
    with pytest.raises(ChecksumMismatchError, match="on their way; request them again"):
        wire.rows_from_proto(message, first_row=5, stride=1)
    again = rows_of(5, len(payload), payload)
    assert wire.rows_from_proto(again, first_row=5, stride=1).tobytes() == payload


@pytest.mark.parametrize(
    ("first_row", "count", "size"),
    [(4, 3, 6), (6, 3, 6), (5, 2, 6), (5, 4, 6), (5, 3, 5), (5, 0, 0)],
)
def test_rows_that_are_not_the_next_are_refused(first_row: int, count: int, size: int) -> None:
    message = rows_of(first_row, count, bytes(size))
    with pytest.raises(ProtocolError, match="expected row 5"):
        wire.rows_from_proto(message, first_row=5, stride=2)


def test_asked_views_are_expanded_piece_by_piece() -> None:
    views = Views.of(np.arange(1000, 1300), 7)
    asked = wire.AskedViews(sent(wire.views_to_proto(views)))
    assert asked.num_bytes < 8 * len(views)
    for rows in (slice(0, 10), slice(290, 400), slice(None)):
        piece = asked[rows]
        assert np.array_equal(piece.sample_ids, views.sample_ids[rows])
        assert np.array_equal(piece.seeds, views.seeds[rows])


@pytest.mark.parametrize("missing", list(MissingViews))
def test_resolved_views_prove_what_they_answer(missing: MissingViews) -> None:
    asked = Views.of([3, 5, 8], [0, 1, 2])
    rows = np.array([0, 2])
    reply = sent(wire.resolved_to_proto(DIGEST, missing, asked, asked[rows], rows))
    found, answered = wire.resolved_from_proto(reply, DIGEST, missing, asked)
    assert found.sample_ids.tolist() == [3, 8]
    assert answered.tolist() == [0, 2]
    other = next(each for each in MissingViews if each is not missing)
    for changed in (
        (digest_from(DIGEST.replace("0", "1")), missing, asked),
        (DIGEST, other, asked),
        (DIGEST, missing, Views.of([3, 5, 8], [0, 1, 3])),
        (DIGEST, missing, Views.of([3, 6, 8], [0, 1, 2])),
    ):
        with pytest.raises(WrongSubjectError):
            wire.resolved_from_proto(reply, *changed)
    for field, value in (("views", wire.views_to_proto(asked[1:])), ("rows", pb.Column())):
        damaged = pb.ResolveViewsResponse.FromString(reply.SerializeToString())
        getattr(damaged, field).CopyFrom(value)
        with pytest.raises((WrongSubjectError, ProtocolError)):
            wire.resolved_from_proto(damaged, DIGEST, missing, asked)


def test_what_is_no_message_is_the_error_of_its_reader() -> None:
    for error in (InvalidRequestError, ProtocolError):
        with pytest.raises(error, match="compare versions"):
            wire.parse(pb.GetLabelsRequest, b"\xff\xff", error)
