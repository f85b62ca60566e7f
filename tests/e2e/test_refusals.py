"""What cannot be is refused: the right class, one line, no traceback."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from labelcast import LabelClient, Precision, Representation, Views
from labelcast.errors import (
    ContractMismatchError,
    InvalidRequestError,
    LabelcastError,
    LabelSetNotFoundError,
    UnsupportedFormError,
    ViewNotFoundError,
)
from labelcast.v2 import labels_pb2 as pb
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.refusal import refusal
from tests.e2e.running_service import RunningService

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()
ONE = pb.Column(width=1, data=b"\1")


@pytest.mark.parametrize(
    "reference",
    ["nobody", "nobody:v1", "sha256:" + "0" * 64, "sha256:12", "ÿ\x00🙂", "../raw", " "],
)
def test_unknown_label_sets(client: LabelClient, reference: str) -> None:
    assert isinstance(refusal(lambda: client.open(reference)), LabelSetNotFoundError)


@pytest.mark.parametrize("reference", ["", "x" * 201])
def test_impossible_references(client: LabelClient, reference: str) -> None:
    assert isinstance(refusal(lambda: client.open(reference)), InvalidRequestError)


@pytest.mark.parametrize("representation", [CODES, LOGITS])
@pytest.mark.parametrize("streamed", [False, True])
def test_unknown_views_are_named(
    client: LabelClient,
    label_sets: dict[str, KnownLabelSet],
    representation: Representation,
    streamed: bool,
) -> None:
    views, label_set = label_sets["vqae"].views, client.open("vqae")
    for known, sample_id, seed in (
        (views[:3], 5, 0),
        (views[:3], 2**64 - 1, 0),
        (views[:0], int(views.sample_ids[0]), 2**32 - 1),
        (views[:9], int(views.sample_ids[0]), 1),
    ):
        wanted = Views.of(
            np.append(known.sample_ids, np.uint64(sample_id)),
            np.append(known.seeds, np.uint32(seed)),
        )

        def ask(wanted: Views = wanted) -> object:
            if streamed:
                return list(client.stream(label_set, [wanted], representation))
            return client.labels(label_set, wanted, representation)

        error = refusal(ask)
        assert isinstance(error, ViewNotFoundError)
        assert error.facts == {
            "sample_id": str(sample_id),
            "seed": str(seed),
            "row": str(len(known)),
        }


def test_a_stream_delivers_what_came_before_a_bad_view(
    client: LabelClient, label_sets: dict[str, KnownLabelSet]
) -> None:
    known, label_set = label_sets["vqae"], client.open("vqae")
    bad = Views.of([5], [0])
    stream = client.stream(label_set, [known.views[:10], bad], LOGITS)
    assert isinstance(refusal(lambda: list(stream)), ViewNotFoundError)

    def views_then_bug() -> Iterator[Views]:
        yield known.views[:10]
        raise ZeroDivisionError("a bug of the caller's own")

    stream = client.stream(label_set, views_then_bug(), LOGITS)
    known.check(next(stream), np.arange(10), LOGITS)
    with pytest.raises(ZeroDivisionError):
        next(stream)


async def test_async_streams_refuse_alike(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known = label_sets["vqae"]

    def views_then_bug() -> Iterator[Views]:
        yield known.views[:10]
        raise ZeroDivisionError("a bug of the caller's own")

    async with service.async_client() as client:
        label_set = await client.open("vqae")
        with pytest.raises(ViewNotFoundError):
            _ = [batch async for batch in client.stream(label_set, [Views.of([5], [0])], LOGITS)]
        with pytest.raises(InvalidRequestError, match="must not be empty"):
            _ = [batch async for batch in client.stream(label_set, [known.views[:0]], LOGITS)]
        stream = client.stream(label_set, views_then_bug(), LOGITS)
        known.check(await anext(stream), np.arange(10), LOGITS)
        with pytest.raises(ZeroDivisionError):
            await anext(stream)
        with pytest.raises(LabelSetNotFoundError):
            await client.open("nobody")
        with pytest.raises(UnsupportedFormError):
            await client.labels(label_set, known.views[:2], Representation.top_k(41, 1.0))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("codec", "make", "error"),
    [
        ("topk", lambda: LOGITS, UnsupportedFormError),
        ("raw-probabilities", lambda: LOGITS, UnsupportedFormError),
        ("raw", lambda: Representation.top_k(41, 1.0), UnsupportedFormError),
        ("raw", lambda: Representation.top_k(0, 1.0), UnsupportedFormError),
        ("raw", lambda: Representation.top_k(-1, 1.0), UnsupportedFormError),
        ("raw", lambda: Representation.top_k(2**32, 1.0), UnsupportedFormError),
        ("raw", lambda: Representation.probabilities(0.0), InvalidRequestError),
        ("raw", lambda: Representation.probabilities(-1.0), InvalidRequestError),
        ("raw", lambda: Representation.probabilities(float("nan")), InvalidRequestError),
        ("raw", lambda: Representation.probabilities(float("inf")), InvalidRequestError),
        ("topk", lambda: Representation.probabilities(1.1), ContractMismatchError),
        ("vqae", lambda: Representation.probabilities(0.9), ContractMismatchError),
        ("vqae", lambda: Representation.top_k(3, 4.01), ContractMismatchError),
    ],
)
def test_forms_that_labels_cannot_take(
    client: LabelClient,
    label_sets: dict[str, KnownLabelSet],
    codec: str,
    make: Callable[[], Representation],
    error: type[LabelcastError],
    streamed: bool,
) -> None:
    views, label_set = label_sets[codec].views[:3], client.open(codec)

    def ask() -> object:
        if streamed:
            return list(client.stream(label_set, [views], make()))
        return client.labels(label_set, views, make())

    assert isinstance(refusal(ask), error)


def test_too_many_views_for_one_reply(
    client: LabelClient, label_sets: dict[str, KnownLabelSet]
) -> None:
    views, label_set = label_sets["raw"].views, client.open("raw")
    many = Views(np.tile(views.sample_ids, 300), np.tile(views.seeds, 300))
    error = refusal(lambda: client.labels(label_set, many, Representation.logits(Precision.FP32)))
    assert isinstance(error, InvalidRequestError)
    assert "StreamLabels" in error.message
    assert isinstance(
        refusal(lambda: client.labels(label_set, views[:0], CODES)), InvalidRequestError
    )
