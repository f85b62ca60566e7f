"""Spans of consecutive positions ⇄ messages: shorter, the same views, and bounded."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast import wire
from labelcast.errors import InvalidRequestError
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import MAX_SEED, Views

SPANS = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 40), st.integers(1, 40)),
    min_size=1,
    max_size=12,
)


def sent(views: Views) -> pb.StreamLabelsRequest:
    listed, spans = wire.named_views(views, spans=True)
    request = pb.StreamLabelsRequest(views=listed, spans=spans)
    return pb.StreamLabelsRequest.FromString(request.SerializeToString())


@given(SPANS, st.data())
def test_spans_arrive_as_views(spans: list[tuple[int, int, int]], data: st.DataObject) -> None:
    ids, firsts, lengths = (
        np.array(column, dtype=np.uint64) for column in zip(*spans, strict=True)
    )
    views = Views.of_spans(ids, firsts, lengths)
    assert len(views) == sum(length for _, _, length in spans)
    request = sent(views)
    asked = wire.asked_from_proto(request)
    assert len(asked) == len(views)
    start = data.draw(st.integers(0, len(views)))
    stop = data.draw(st.integers(start, len(views)))
    assert asked[start:stop] == views[start:stop]
    listed = pb.StreamLabelsRequest(views=wire.views_to_proto(views))
    assert request.ByteSize() <= listed.ByteSize()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4) | st.just(MAX_SEED)), min_size=1))
def test_any_views_arrive(pairs: list[tuple[int, int]]) -> None:
    views = Views.of(*zip(*pairs, strict=True))
    assert wire.asked_from_proto(sent(views))[:] == views


def test_whole_sequences_take_few_bytes_and_others_are_listed() -> None:
    sequences = Views.of_spans(np.arange(8) * 10**12, 0, 1024)
    assert sent(sequences).WhichOneof("ask") == "spans"
    assert sent(sequences).ByteSize() < 120
    scattered = Views.of(np.arange(100), np.arange(100) * 7)
    assert sent(scattered).WhichOneof("ask") == "views"
    listed, spans = wire.named_views(sequences, spans=False)
    assert listed is not None
    assert spans is None


def message(count: int, **columns: Any) -> pb.GetLabelsRequest:
    given = {"sample_ids": [1], "firsts": [0], "lengths": [1]} | columns
    packed = {
        name: wire.column_to_proto(np.array(values, dtype=np.uint64))
        for name, values in given.items()
    }
    return pb.GetLabelsRequest(spans=pb.Spans(count=count, **packed))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (message(0), "names 1 to 1048576 spans, got 0"),
        (message(2**20 + 1), "names 1 to 1048576 spans, got 1048577"),
        (message(1, lengths=[0]), "a span has 1 to 1048576 views"),
        (message(1, lengths=[2**20 + 1]), "a span has 1 to 1048576 views"),
        (message(2, lengths=[2**64 - 1, 1]), "a span has 1 to 1048576 views"),
        (message(1, firsts=[2**32]), "from a position up to 4294967295"),
        (message(1, firsts=[2**32 - 1], lengths=[2]), "beyond position 4294967295"),
        (message(2, firsts=[2**32 - 1, 0], lengths=[1, 2**20]), "the spans have 1048577"),
        (message(2**20, lengths=[2**20]), "the spans have 1099511627776"),
        (message(3, firsts=[1, 2]), "2 bytes of width 1 are not 3 values"),
        (pb.GetLabelsRequest(spans=pb.Spans()), "names 1 to 1048576 spans, got 0"),
    ],
)
def test_impossible_spans_are_refused(request_: pb.GetLabelsRequest, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        wire.asked_from_proto(request_)


def test_a_few_bytes_take_no_memory_before_they_are_expanded() -> None:
    request = message(2**20)
    assert request.ByteSize() < 60
    asked = wire.asked_from_proto(request)
    # What it will take is told to whoever bounds it.
    assert asked.num_bytes >= 8 * 2**20
    assert "_ends" not in vars(asked)
    assert len(asked) == 2**20
    assert asked[2**20 - 2 :] == Views.of([1, 1], [0, 0])


@pytest.mark.parametrize(
    ("ids", "firsts", "lengths", "words"),
    [
        ([1], 0, 0, "leave empty ones out"),
        ([1], 2**32 - 1, 2, "beyond position"),
        ([1], 0, 2**32 + 1, "a span's length must be at most"),
        # Made at once, these would take the memory of a machine.
        ([1], 0, 2**31, "a span's length must be at most"),
        ([1], 0, [1, 2], "a length each, or one for all"),
        ([1, 2], 0, 1.5, "a span's length must be a non-negative integer"),
        ([1, 2], [0], 1, "two columns of one length"),
    ],
)
def test_spans_that_are_none_are_refused(ids: Any, firsts: Any, lengths: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        Views.of_spans(ids, firsts, lengths)


def test_spans_have_one_first_position_and_length_for_all() -> None:
    assert Views.of_spans([4, 2], 1, 2) == Views.of([4, 4, 2, 2], [1, 2, 1, 2])
    assert not len(Views.of_spans(np.empty(0, dtype=np.uint64), 0, 3))
