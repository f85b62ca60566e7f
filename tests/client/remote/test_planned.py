"""`PlanExchange` against a peer that splits, breaks off and lies."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast import wire, wire_plan
from labelcast.errors import ChecksumMismatchError, ProtocolError, WrongSubjectError
from labelcast.identifiers import digest_from_hash
from labelcast.opening.delivered import DeliveredLabels
from labelcast.plans import Padding, Plan, PlanBatches
from labelcast.remote.streams.planned import PlanExchange
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from tests.client.remote.test_stream import labels_for, row_of

DIGEST = digest_from_hash(bytes(32))
STRIDE = 16
UNASKED: Any = None  # plans of views need no index


def exchange_of(batches: PlanBatches[Plan]) -> PlanExchange:
    return PlanExchange(
        label_set=DIGEST,
        representation=Representation.codes(),
        row_stride=STRIDE,
        num_classes=10,
        batches=batches,
    )


def asked(exchange: PlanExchange) -> wire_plan.AskedPlan:
    """What a service reads of the exchange's request."""
    sent = exchange.request().SerializeToString()
    return wire_plan.asked_plan_from_proto(pb.StreamPlanRequest.FromString(sent), UNASKED)


def answer(asked: wire_plan.AskedPlan, start: int, count: int) -> pb.LabelRows:
    views = asked[start : start + count]
    return labels_for(asked.first_row + start, views, row_of(views, STRIDE).tobytes())


@st.composite
def some_batches(draw: st.DrawFn) -> PlanBatches[Plan]:
    count = draw(st.integers(1, 40))
    ids = draw(st.just(range(7, 7 + count)) | st.permutations(range(0, 3 * count, 3)))
    num_ranks = draw(st.integers(1, count))
    plan = Plan(
        ids,
        draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4)),
        order_key=draw(st.none() | st.integers(0, 2**64 - 1)),
        rank=draw(st.integers(0, num_ranks - 1)),
        num_ranks=num_ranks,
        padding=draw(st.sampled_from(Padding)),
    )
    start = draw(st.integers(0, len(plan) - 1))
    stop = draw(st.integers(start + 1, len(plan)))
    return plan.batches(draw(st.integers(1, 50)), start=start, stop=stop)


@given(some_batches(), st.integers(0, 2**32))
def test_every_row_comes_once_and_in_order(batches: PlanBatches[Plan], choices: int) -> None:
    chance, exchange = random.Random(choices), exchange_of(batches)
    delivered: list[DeliveredLabels] = []
    while not exchange.done:
        # A stream, which breaks off anywhere.
        service, sent = asked(exchange), 0
        assert service.first_row == exchange.answered
        while sent < len(service) and chance.random() < 0.8:
            count = chance.randint(1, len(service) - sent)
            delivered += exchange.accept(answer(service, sent, count))
            sent += count
        exchange.rewind()
    exchange.finish()
    assert [batch.views for batch in delivered] == list(batches)
    for batch in delivered:
        assert np.array_equal(batch.rows, row_of(batch.views, STRIDE))
        assert not batch.rows.flags.writeable


def of_another(**changed: Any) -> wire_plan.AskedPlan:
    described: dict[str, Any] = {"samples": range(20), "seeds": [1, 2], "order_key": 3} | changed
    plan = Plan(described.pop("samples"), described.pop("seeds"), **described)
    return wire_plan.AskedPlan(plan, 0, len(plan))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"order_key": 4}, WrongSubjectError),
        ({"order_key": None}, WrongSubjectError),
        ({"samples": range(1, 21)}, WrongSubjectError),
        ({"samples": range(21)}, WrongSubjectError),
        ({"seeds": [2, 1]}, WrongSubjectError),
        ({"rank": 1, "num_ranks": 2}, WrongSubjectError),
    ],
)
def test_another_plan_is_never_delivered(changed: dict[str, Any], error: type[Exception]) -> None:
    exchange = exchange_of(Plan(range(20), [1, 2], order_key=3).batches(4))
    with pytest.raises(error):
        list(exchange.accept(answer(of_another(**changed), 0, 8)))
    assert exchange.answered == 0
    assert list(exchange.accept(answer(of_another(), 0, 8)))


def _count(rows: pb.LabelRows) -> None:
    rows.count = 2**32 - 1


def _no_rows(rows: pb.LabelRows) -> None:
    rows.count = 0


def _flip(rows: pb.LabelRows) -> None:
    rows.payload = bytes([rows.payload[0] ^ 1]) + rows.payload[1:]


def _number(rows: pb.LabelRows) -> None:
    rows.first_row += 1


def _cut(rows: pb.LabelRows) -> None:
    rows.payload = rows.payload[:-1]


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (_count, ProtocolError),
        (_no_rows, ProtocolError),
        (_number, ProtocolError),
        (_cut, ProtocolError),
        (_flip, ChecksumMismatchError),
    ],
)
def test_a_damaged_reply_changes_nothing(damage: Any, error: type[Exception]) -> None:
    exchange = exchange_of(Plan(range(2**32), range(2**20)).batches(4))
    service = asked(exchange)
    reply = answer(service, 0, 10)
    damage(reply)
    with pytest.raises(error):
        list(exchange.accept(reply))
    assert exchange.answered == 0
    assert [len(batch.rows) for batch in exchange.accept(answer(service, 0, 10))] == [4, 4]


def test_rows_that_are_missing_at_the_end_are_missed() -> None:
    exchange = exchange_of(Plan(range(9), [1]).batches(4))
    list(exchange.accept(answer(asked(exchange), 0, 8)))
    with pytest.raises(ProtocolError, match="before the last row"):
        exchange.finish()


def test_a_plan_takes_few_bytes() -> None:
    exchange = exchange_of(Plan(range(1_281_167), range(300), order_key=2**63).batches(256))
    # Of which the digest takes 73.
    assert len(exchange.request().SerializeToString()) < 120
    assert (
        wire.representation_from_proto(exchange.request().representation) == Representation.codes()
    )
