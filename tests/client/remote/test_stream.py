"""`StreamExchange` against a peer that splits, breaks off and lies."""

import operator
import random
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelcast import wire
from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.codec import Precision
from labelcast.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    ProtocolError,
    WrongSubjectError,
)
from labelcast.identifiers import digest_from_hash
from labelcast.opening.delivered import DeliveredLabels
from labelcast.remote.streams.listed import StreamExchange
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views

DIGEST = digest_from_hash(bytes(32))


def row_of(views: Views, stride: int) -> NDArray[np.uint8]:
    """Bytes that name their view: (id, seed) over and over."""
    words = np.stack([views.sample_ids, views.seeds.astype(np.uint64)], axis=1).astype("<u8")
    names = words.view(np.uint8).reshape(len(views), 16)
    return np.tile(names, (1, -(-stride // 16)))[:, :stride]


def labels_for(first_row: int, views: Views, payload: bytes) -> pb.LabelRows:
    """What an honest service says of these views."""
    return pb.LabelRows(
        first_row=first_row,
        count=len(views),
        payload_crc32=crc32(payload),
        subject_crc32=LabelSubject(DIGEST, Representation.codes()).checksum(views),
        payload=payload,
    )


def joined(parts: Iterable[Views]) -> Views:
    return Views(
        np.concatenate([views.sample_ids for views in parts]),
        np.concatenate([views.seeds for views in parts]),
    )


class Peer:
    """The service's side of one stream, after real messages."""

    def __init__(self, stride: int, opening: pb.StreamLabelsRequest | None = None) -> None:
        self.stride = stride
        self.pending: deque[Views] = deque()
        self.sent_rows = self.heard_rows = 0 if opening is None else opening.first_row

    def hear(self, request: pb.StreamLabelsRequest) -> int:
        heard = pb.StreamLabelsRequest.FromString(request.SerializeToString())
        assert heard.first_row == self.heard_rows
        views = wire.views_from_proto(heard.views)
        self.pending.append(views)
        self.heard_rows += len(views)
        return len(views)

    @property
    def waiting(self) -> int:
        return sum(map(len, self.pending))

    def answer(self, most: int) -> pb.LabelRows:
        """At most so many rows as one message, wherever one request ends and another begins."""
        waiting = joined(self.pending)
        head = waiting[:most]
        self.pending = deque([waiting[most:]] if len(waiting) > most else [])
        message = labels_for(self.sent_rows, head, row_of(head, self.stride).tobytes())
        self.sent_rows += len(head)
        return message


def exchange_of(
    batches: Iterator[Views] | list[Views],
    *,
    stride: int = 16,
    rows_in_flight: int = 64,
    spans: bool = False,
) -> StreamExchange:
    return StreamExchange(
        label_set=DIGEST,
        representation=Representation.codes(),
        row_stride=stride,
        num_classes=10,
        batches=batches,
        spans=spans,
        rows_in_flight=rows_in_flight,
    )


def batches_of(sizes: list[int]) -> list[Views]:
    """Views that are all different, so that a row tells its place."""
    ends = np.cumsum([0, *sizes])
    ids = np.arange(ends[-1], dtype=np.uint64) * np.uint64(2**33 + 1)
    seeds = (np.arange(ends[-1]) % 7).astype(np.uint32)
    whole = Views(ids, seeds)
    return [whole[first:last] for first, last in pairwise(ends.tolist())]


def ask_all(exchange: StreamExchange, peer: Peer) -> None:
    while exchange.has_room and (request := exchange.next_request()) is not None:
        peer.hear(request)


@pytest.mark.parametrize(
    ("stride", "largest"),
    [(1, 40), (16, 40), (wire.MESSAGE_BYTES // 3, 4), (wire.MESSAGE_BYTES + 5, 2)],
)
@given(
    parts=st.lists(st.integers(1, 40), max_size=10),
    rows_in_flight=st.integers(1, 50),
    choices=st.integers(0, 2**32),
)
def test_every_row_comes_once_and_in_order(
    stride: int, largest: int, parts: list[int], rows_in_flight: int, choices: int
) -> None:
    chance, sizes = random.Random(choices), [min(part, largest) for part in parts]
    batches = batches_of(sizes)
    exchange = exchange_of(iter(batches), stride=stride, rows_in_flight=rows_in_flight)
    most_a_request = max(1, rows_in_flight // 2)
    delivered: list[DeliveredLabels] = []
    peer, received, breaks_left, all_asked = Peer(stride), 0, 10, False
    while not (all_asked and not peer.waiting):
        steps = ["ask"] if exchange.has_room and not all_asked else []
        steps += ["answer"] if peer.waiting else []
        steps += ["break"] if breaks_left else []
        step = chance.choice(steps)
        if step == "ask":
            assert peer.sent_rows + peer.waiting - received < rows_in_flight
            request = exchange.next_request()
            all_asked = request is None
            assert request is None or 1 <= peer.hear(request) <= most_a_request
        elif step == "answer":
            reply = peer.answer(chance.randint(1, most_a_request))
            delivered += exchange.accept(reply)
            received = peer.sent_rows
        else:
            # Whatever the peer knew is lost, with any reply that it may have had under way.
            exchange.rewind()
            all_asked = False
            peer, breaks_left = Peer(stride, exchange.opening()), breaks_left - 1
            received = peer.sent_rows
    assert exchange.done
    exchange.finish()
    assert [len(labels.rows) for labels in delivered] == sizes
    for labels, batch in zip(delivered, batches, strict=True):
        assert labels.views is batch
        assert np.array_equal(labels.rows, row_of(batch, stride))
        assert not labels.rows.flags.writeable


def test_the_opening_names_label_set_and_form_alone() -> None:
    opening = exchange_of([]).opening()
    assert (opening.label_set, opening.representation.form) == (DIGEST, pb.FORM_CODES)
    assert not opening.HasField("views")


def test_batches_are_read_lazily() -> None:
    read: list[int] = []

    def batches() -> Iterator[Views]:
        for number, batch in enumerate(batches_of([5] * 10)):
            read.append(number)
            yield batch

    exchange, peer = exchange_of(batches(), rows_in_flight=10), Peer(16)
    assert read == []
    ask_all(exchange, peer)
    assert read == [0, 1]
    assert len(list(exchange.accept(peer.answer(5)))) == 1
    assert read == [0, 1]


def test_small_batches_share_a_request_while_the_service_is_busy() -> None:
    exchange, peer = exchange_of(batches_of([3] * 8), rows_in_flight=1000), Peer(16)
    ask_all(exchange, peer)
    assert [len(views) for views in peer.pending] == [3, 21]
    assert [len(labels.rows) for labels in exchange.accept(peer.answer(24))] == [3] * 8
    assert exchange.done


def test_slow_batches_do_not_wait_for_each_other() -> None:
    batches = iter(batches_of([3] * 4))
    exchange, peer = exchange_of(batches, rows_in_flight=1000), Peer(16)
    for left in (3, 2, 1, 0):
        request = exchange.next_request()
        assert request is not None
        assert peer.hear(request) == 3
        assert len(list(exchange.accept(peer.answer(3)))) == 1
        assert exchange.wants_batch
        assert operator.length_hint(batches) == left


@pytest.mark.parametrize(("stride", "most"), [(8, 32_768), (256, 8192), (2000, 8192)])
def test_a_request_is_bounded_by_rows_or_by_one_message(stride: int, most: int) -> None:
    exchange = exchange_of(batches_of([20_000] * 5), stride=stride, rows_in_flight=10**6)
    peer = Peer(stride)
    ask_all(exchange, peer)
    assert max(map(len, peer.pending)) == most


def test_a_batch_within_one_message_is_not_copied() -> None:
    exchange, peer = exchange_of(batches_of([4, 4])), Peer(16)
    ask_all(exchange, peer)
    first, second = exchange.accept(peer.answer(8))
    assert first.rows.base is not None
    assert second.rows.__array_interface__["data"][0] == (
        first.rows.__array_interface__["data"][0] + first.rows.nbytes
    )


def test_no_batches_are_done_at_once() -> None:
    exchange = exchange_of([])
    assert exchange.next_request() is None
    assert exchange.done
    exchange.finish()


ASKED = batches_of([4, 6])
EVERY = joined(ASKED)


def lie(first_row: int, views: Views, payload: bytes | None = None) -> pb.LabelRows:
    """Labels that are consistent in themselves."""
    return labels_for(first_row, views, row_of(views, 16).tobytes() if payload is None else payload)


# What is said after rows 0 and 1: a reply, and what it is refused as.
LIES: dict[str, tuple[pb.LabelRows, type[Exception]]] = {
    "the same again": (lie(0, EVERY[:2]), ProtocolError),
    "a gap": (lie(3, EVERY[3:5]), ProtocolError),
    "no rows": (lie(2, EVERY[:0]), ProtocolError),
    "more than was asked for": (lie(2, EVERY[1:]), ProtocolError),
    "half a row": (lie(2, EVERY[2:4], bytes(31)), ProtocolError),
    "another stride": (lie(2, EVERY[2:4], bytes(64)), ProtocolError),
    "an empty message": (pb.LabelRows(), ProtocolError),
    "the next request's rows": (lie(2, EVERY[4:8]), WrongSubjectError),
    "one row late": (lie(2, EVERY[3:6]), WrongSubjectError),
    "two rows swapped": (lie(2, EVERY[np.array([3, 2, 4])]), WrongSubjectError),
    "another seed": (lie(2, Views.of(EVERY.sample_ids[2:4], 9)), WrongSubjectError),
    "another sample": (lie(2, Views(EVERY.sample_ids[5:7], EVERY.seeds[2:4])), WrongSubjectError),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_peer_is_refused_and_nothing_is_spoilt(name: str) -> None:
    exchange, peer = exchange_of(ASKED), Peer(16)
    ask_all(exchange, peer)
    assert list(exchange.accept(peer.answer(2))) == []
    reply, refusal = LIES[name]
    with pytest.raises(refusal):
        list(exchange.accept(reply))
    assert [len(labels.rows) for labels in exchange.accept(peer.answer(8))] == [4, 6]


def test_a_damaged_reply_is_refused_and_can_be_asked_for_again() -> None:
    batches = batches_of([4])
    exchange, peer = exchange_of(batches), Peer(16)
    ask_all(exchange, peer)
    assert list(exchange.accept(peer.answer(1))) == []
    reply = peer.answer(3)
    reply.payload = bytes(len(reply.payload))
    with pytest.raises(ChecksumMismatchError):
        list(exchange.accept(reply))
    exchange.rewind()
    again = Peer(16, exchange.opening())
    ask_all(exchange, again)
    (labels,) = exchange.accept(again.answer(3))
    assert np.array_equal(labels.rows, row_of(batches[0], 16))


def test_rows_after_the_last_are_refused() -> None:
    exchange, peer = exchange_of(batches_of([4])), Peer(16)
    ask_all(exchange, peer)
    assert len(list(exchange.accept(peer.answer(4)))) == 1
    with pytest.raises(ProtocolError, match="not requested"):
        list(exchange.accept(lie(4, EVERY[4:5])))


def test_an_early_end_is_refused() -> None:
    exchange, peer = exchange_of(batches_of([4])), Peer(16)
    with pytest.raises(ProtocolError, match="before the last row"):
        exchange.finish()
    ask_all(exchange, peer)
    assert list(exchange.accept(peer.answer(3))) == []
    with pytest.raises(ProtocolError, match="before the last row"):
        exchange.finish()


def test_an_empty_batch_is_refused() -> None:
    exchange, peer = exchange_of([*batches_of([2]), Views.of([], [])]), Peer(16)
    ask_all(exchange, peer)
    assert not exchange.done
    assert [len(labels.rows) for labels in exchange.accept(peer.answer(2))] == [2]
    assert exchange.done
    with pytest.raises(InvalidRequestError, match="must not be empty"):
        exchange.raise_failure()


@pytest.mark.parametrize("item", [None, ([1], [2]), 7, KeyError("an item")], ids=repr)
def test_what_is_no_views_is_refused_by_its_type(item: Any) -> None:
    exchange, peer = exchange_of([*batches_of([2]), item, *batches_of([3])]), Peer(16)
    ask_all(exchange, peer)
    assert [len(labels.rows) for labels in exchange.accept(peer.answer(2))] == [2]
    assert exchange.done
    with pytest.raises(InvalidRequestError, match=f"not {type(item).__name__}"):
        exchange.raise_failure()


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("failure", [KeyError("no more"), SystemExit(3)], ids=repr)
def test_batches_that_fail_do_so_after_those_before_were_delivered(
    breaks: bool, failure: BaseException
) -> None:
    def batches() -> Iterator[Views]:
        yield from batches_of([3, 4])
        raise failure

    exchange, peer = exchange_of(batches()), Peer(16)
    ask_all(exchange, peer)
    if breaks:
        exchange.rewind()
        peer = Peer(16, exchange.opening())
        ask_all(exchange, peer)
    assert not exchange.done
    assert [len(labels.rows) for labels in exchange.accept(peer.answer(7))] == [3, 4]
    assert exchange.done
    with pytest.raises(type(failure)):
        exchange.raise_failure()


@pytest.mark.parametrize("rows_in_flight", [0, -1])
def test_a_window_that_admits_nothing_is_refused(rows_in_flight: int) -> None:
    with pytest.raises(InvalidRequestError, match="at least 1"):
        exchange_of([], rows_in_flight=rows_in_flight)


def delivered(representation: Representation, rows: NDArray[np.uint8]) -> DeliveredLabels:
    views = Views.of(np.arange(len(rows)), 0)
    return DeliveredLabels(views, rows, representation, num_classes=4)


@pytest.mark.parametrize("precision", Precision)
def test_dense_rows_are_values_without_a_copy(precision: Precision) -> None:
    values = np.arange(8).reshape(2, 4).astype(precision.dtype)
    labels = delivered(Representation.logits(precision), values.view(np.uint8))
    assert np.array_equal(labels.values, values)
    assert np.shares_memory(labels.values, values)
    with pytest.raises(InvalidRequestError, match="not top-k"):
        labels.top_k()


def test_top_k_rows_are_ids_and_probabilities() -> None:
    ids = np.array([[3, 0]], dtype="<u2")
    probabilities = np.array([[0.75, 0.125]], dtype="<f2")
    rows = np.hstack([ids.view(np.uint8), probabilities.view(np.uint8)])
    labels = delivered(Representation.top_k(2, 1.0), rows)
    assert [column.tolist() for column in labels.top_k()] == [[[3, 0]], [[0.75, 0.125]]]
    for other in (labels, delivered(Representation.codes(), rows)):
        with pytest.raises(InvalidRequestError, match="not dense"):
            _ = other.values
