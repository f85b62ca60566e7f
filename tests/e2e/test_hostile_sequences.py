"""Whatever happens to requests for sequences, no label comes under another position or text."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import LabelClient, Representation, SequencePlan, Views
from labelcast.errors import InvalidRequestError, LabelcastError, ProtocolError, WrongSubjectError
from labelcast.plans import PlanBatches
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from labelcast.views import MAX_SEED
from labelcast.wire.columns import column_to_proto, read_column
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Fault, Messages, Tamper, hostile_peer
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.refusal import refusal
from tests.e2e.running_service import RunningService
from tests.e2e.sequences import by_sequence, known_sequences

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
Column = NDArray[np.uint64]
Change = Callable[[Column, Column, Column], None]


@pytest.fixture(scope="module")
def known(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    made = known_sequences(tmp_path_factory.mktemp("hostile"))
    service.push(made.on_disk, "hostile-sequences")
    return made


@pytest.fixture(scope="module")
def inner(known: KnownLabelSet) -> list[Views]:
    """Several spans a batch, each without the ends of its sequence."""
    spans = [span[1:-1] for span in by_sequence(known.views) if len(span) > 4]
    return [Views.joined(spans[first : first + 4]) for first in range(0, len(spans), 4)]


def read(
    known: KnownLabelSet,
    address: str,
    batches: Iterable[Views] | PlanBatches[SequencePlan],
    patience: float,
) -> int:
    """Views of a stream, each batch compared with what it must be."""
    seen = 0
    with LabelClient(address, reconnect_seconds=patience, rows_in_flight=256) as client:
        for batch in client.open(known.on_disk.digest).stream(batches, CODES):
            at, has = known.on_disk.index().segments[0].rows(batch.views)
            assert has.all()
            known.check(batch, at, CODES)
            seen += len(batch.views)
    return seen


def spans(change: Change) -> Tamper:
    """The first request from there on that names several spans says something else of them."""

    def tamper(messages: Messages) -> Messages:
        for message in messages:
            request = pb.StreamLabelsRequest.FromString(message)
            if request.spans.count > 1:
                _rewrite(request.spans, change)
                yield request.SerializeToString()
                break
            yield message
        yield from messages

    return tamper


def _rewrite(asked: pb.Spans, change: Change) -> None:
    columns = (asked.sample_ids, asked.firsts, asked.lengths)
    values = [read_column(each, asked.count, "spans").astype(np.uint64) for each in columns]
    change(*values)
    for column, others in zip(columns, values, strict=True):
        column.CopyFrom(column_to_proto(others))


def earlier(ids: Column, firsts: Column, lengths: Column) -> None:
    firsts -= np.uint64(1)


def later(ids: Column, firsts: Column, lengths: Column) -> None:
    firsts += np.uint64(1)


def turned(ids: Column, firsts: Column, lengths: Column) -> None:
    for column in (ids, firsts, lengths):
        column[:] = column[::-1].copy()


def cut_elsewhere(ids: Column, firsts: Column, lengths: Column) -> None:
    # One position more of the first sequence, one less of the second.
    lengths[0] += np.uint64(1)
    firsts[1] += np.uint64(1)
    lengths[1] -= np.uint64(1)


SPAN_LIES = {
    "positions are one earlier": earlier,
    "positions are one later": later,
    "spans change places": turned,
    "spans are cut elsewhere": cut_elsewhere,
}


@pytest.mark.parametrize("lie", SPAN_LIES)
def test_spans_that_say_something_else_give_no_labels(
    service: RunningService, known: KnownLabelSet, inner: list[Views], lie: str
) -> None:
    tamper = spans(SPAN_LIES[lie])
    with hostile_peer(service.grpc, Fault("StreamLabels", "requests", 2, tamper)) as peer:
        assert read(known, peer.address, inner, 20) == sum(map(len, inner))
        assert (peer.faults, peer.calls) == (1, 2)
    always = Fault("StreamLabels", "requests", 0, tamper, always=True)
    with hostile_peer(service.grpc, always) as peer, pytest.raises(WrongSubjectError) as caught:
        read(known, peer.address, inner, 0)
    assert "\n" not in caught.value.message


def _other_order(request: pb.StreamPlanRequest) -> None:
    request.plan.order_key += 1


def _other_rank(request: pb.StreamPlanRequest) -> None:
    request.plan.rank = 1 - request.plan.rank


def _one_row_further(request: pb.StreamPlanRequest) -> None:
    request.first_row += 1
    request.num_rows -= 1


PLAN_LIES: dict[str, tuple[Callable[[pb.StreamPlanRequest], None], type[LabelcastError]]] = {
    "another order": (_other_order, WrongSubjectError),
    "another rank": (_other_rank, WrongSubjectError),
    "a row further": (_one_row_further, ProtocolError),
}


@pytest.mark.parametrize("lie", PLAN_LIES)
def test_plans_that_say_something_else_give_no_labels(
    service: RunningService, known: KnownLabelSet, lie: str
) -> None:
    change, error = PLAN_LIES[lie]
    tamper = do.rewrite(pb.StreamPlanRequest, change)
    plan = known.on_disk.sequence_plan(epochs=2, order_key=8, rank=1, num_ranks=2)
    batches = plan.batches(sequences=6)
    with hostile_peer(service.grpc, Fault("StreamPlan", "requests", 0, tamper)) as peer:
        assert read(known, peer.address, batches, 20) == len(plan)
        assert (peer.faults, peer.calls) == (1, 2)
    always = Fault("StreamPlan", "requests", 0, tamper, always=True)
    with hostile_peer(service.grpc, always) as peer, pytest.raises(LabelcastError) as caught:
        read(known, peer.address, batches, 0)
    assert type(caught.value) is error
    assert "\n" not in caught.value.message


def span(
    count: int,
    *,
    ids: list[int] | None = None,
    firsts: list[int] | None = None,
    lengths: list[int] | None = None,
) -> pb.Spans:
    """Spans of the first sequence, of one position, where nothing else is said."""
    columns = (ids or [10] * count, firsts or [0] * count, lengths or [1] * count)
    packed = [column_to_proto(np.array(column, dtype=np.uint64)) for column in columns]
    return pb.Spans(count=count, sample_ids=packed[0], firsts=packed[1], lengths=packed[2])


def impossible() -> dict[str, pb.Spans]:
    """Spans that no client of ours sends."""
    whole = 2**64 - 1
    return {
        "none": pb.Spans(),
        "an empty one": span(1, lengths=[0]),
        "beyond uint32": span(1, firsts=[MAX_SEED], lengths=[2]),
        "from beyond uint32": span(1, firsts=[MAX_SEED + 1]),
        "from the end of uint64": span(1, firsts=[whole]),
        "lengths that wrap around": span(2, lengths=[whole, 3]),
        "sums that wrap around": span(2, firsts=[whole, 0], lengths=[2, 1]),
        "many of many": span(2, lengths=[2**20, 2**20]),
        "fewer than said": span(3, ids=[10, 13]),
        "without columns": pb.Spans(count=1),
    }


@pytest.mark.parametrize("spans", impossible().values(), ids=impossible().keys())
def test_impossible_spans_are_refused_and_possible_ones_answered(
    known: KnownLabelSet, stub: labels_pb2_grpc.LabelServiceStub, spans: pb.Spans
) -> None:
    asking: dict[str, Any] = {
        "label_set": known.on_disk.digest,
        "representation": pb.Representation(form=pb.FORM_CODES),
    }
    unary = pb.GetLabelsRequest(**asking, spans=spans)
    streamed = pb.StreamLabelsRequest(**asking, spans=spans)
    for call in (
        lambda: stub.GetLabels(unary),
        lambda: list(stub.StreamLabels(iter([streamed]))),
    ):
        assert type(refusal(call)) is InvalidRequestError
    unary.spans.CopyFrom(span(1, firsts=[2]))
    (part,) = stub.GetLabels(unary).parts
    assert part.payload == known.rows[2].tobytes()
