"""What a client asks about golden label sets, each with what it must be told."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from labelcast import (
    DeliveredLabels,
    LabelClient,
    Plan,
    Precision,
    RemoteLabelSet,
    Representation,
    Views,
)
from labelcast.codec import TOLERANCES, Labels, Rows
from labelcast.errors import (
    BlobNotFoundError,
    LabelcastError,
    LabelSetNotFoundError,
    LabelSetRetiredError,
    ViewNotFoundError,
)
from labelcast.identifiers import digest_from_hash
from labelcast.label_set import BlobRef, MissingViews
from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.decoded import assert_same_labels
from tests.golden.expected import EXACT, RETIRED, expected, label_set_directory

CODES = Representation.codes()
LOGITS = Representation.logits(Precision.FP32)
SETS = ("raw", "vqae-context")
PRUNED = "recorded-cutmix-pruned"
SEQUENCES, STATES = "sequences", "states"


@dataclass(frozen=True)
class Question:
    """One thing that a client does.

    Attributes:
        name: for people.
        ask: does it, and asserts that what it is told is right.
    """

    name: str
    ask: Callable[[LabelClient], None]


def opened(client: LabelClient, name: str) -> RemoteLabelSet:
    label_set = client.open(expected(name).digest)
    assert label_set.manifest.num_labels == len(expected(name).views)
    return label_set


def open_by_tag(client: LabelClient, name: str) -> None:
    assert client.open(f"golden:{name}").digest == expected(name).digest


def decode_here(client: LabelClient, name: str) -> None:
    """Codec, index and context come as blobs."""
    views = expected(name).views
    assert_labels(name, opened(client, name).labels(views.sample_ids, views.seeds))


def replay_views(client: LabelClient, name: str) -> None:
    """Recorded views come as blobs."""
    records = opened(client, name).records()
    assert records is not None
    known = expected(name)
    replayed = dataclasses.asdict(records.of(known.views))
    for field, column in known.recorded.items():
        np.testing.assert_array_equal(replayed[field], column)


def read_codes(client: LabelClient, name: str) -> None:
    known = expected(name)
    delivered = client.labels(opened(client, name), known.views, CODES)
    np.testing.assert_array_equal(delivered.rows, known.rows)


def read_dense(client: LabelClient, name: str) -> None:
    delivered = client.labels(opened(client, name), expected(name).views, LOGITS)
    assert_labels(name, delivered.values)


def read_probabilities(client: LabelClient, name: str) -> None:
    form = Representation.probabilities(2.0)
    delivered = client.labels(opened(client, name), expected(name).views, form)
    values = delivered.values.astype(np.float32)
    assert TOLERANCES[Precision.FP16].accepts(values, at_two(name))


def read_top_k(client: LabelClient, name: str) -> None:
    form = Representation.top_k(2, 2.0)
    ids, values = client.labels(opened(client, name), expected(name).views, form).top_k()
    known = at_two(name)
    tolerance = TOLERANCES[Precision.FP16]
    assert tolerance.accepts(values, -np.sort(-known, axis=1)[:, :2])
    assert tolerance.accepts(values, np.take_along_axis(known, ids, axis=1))


def stream_codes(client: LabelClient, name: str) -> None:
    known = expected(name)
    batches = client.stream(opened(client, name), known.views.batches(5), CODES)
    np.testing.assert_array_equal(joined(batches, known.views), known.rows)


def stream_dense(client: LabelClient, name: str) -> None:
    known = expected(name)
    batches = client.stream(opened(client, name), known.views.batches(5), LOGITS)
    assert_labels(name, joined(batches, known.views).view("<f4"))


def read_plan(client: LabelClient, name: str) -> None:
    known = expected(name)
    samples, seeds = np.unique(known.views.sample_ids), np.unique(known.views.seeds).tolist()
    for plan in (
        Plan(samples, seeds, order_key=5, rank=1, num_ranks=3),
        Plan(samples[:1], seeds[:1]),  # each a range
    ):
        views = plan.views(0, len(plan))
        rows = joined(client.stream(opened(client, name), plan.batches(4), CODES), views)
        at, has = LabelSetDirectory(label_set_directory(name)).index().segments[0].rows(views)
        assert has.all()
        np.testing.assert_array_equal(rows, known.rows[at])


def read_sequences(client: LabelClient, name: str) -> None:
    """Each by spans: all of it, and from its second position on."""
    known = expected(name)
    label_set = opened(client, name)
    for sample in np.unique(known.views.sample_ids):
        places = np.flatnonzero(known.views.sample_ids == sample)
        for at in (places, places[1:]):
            if len(at):
                delivered = client.labels(label_set, known.views[at], CODES)
                np.testing.assert_array_equal(delivered.rows, known.rows[at])


def read_sequence_plan(client: LabelClient, name: str) -> None:
    known, on_disk = expected(name), LabelSetDirectory(label_set_directory(name))
    for plan in (
        on_disk.sequence_plan(epochs=3, order_key=5, rank=1, num_ranks=3),
        on_disk.sequence_plan(epochs=2, order_key=None),
    ):
        views = plan.views(0, len(plan))
        for batches in (plan.batches(sequences=2), plan.batches(tokens=9)):
            rows = joined(client.stream(opened(client, name), batches, CODES), views)
            at, has = on_disk.index().segments[0].rows(views)
            assert has.all()
            np.testing.assert_array_equal(rows, known.rows[at])


def ask_beyond_a_sequence(client: LabelClient) -> None:
    with refused(ViewNotFoundError):
        client.labels(opened(client, SEQUENCES), Views.of_spans([10], 3, 4), CODES)


def resolve(client: LabelClient, missing: MissingViews) -> None:
    """Of views of which half are stored; what a directory says is checked elsewhere."""
    label_set = opened(client, PRUNED)
    samples = np.unique(expected(PRUNED).views.sample_ids)
    views = Views(np.tile(samples, 3), np.repeat(np.arange(3, dtype=np.uint32), len(samples)))
    found, rows = client.resolve(label_set, views, missing)
    known, known_rows = LabelSetDirectory(label_set_directory(PRUNED)).resolve(views, missing)
    assert found == known
    np.testing.assert_array_equal(rows, known_rows)


def ask_for_a_view_that_is_not_there(client: LabelClient) -> None:
    with refused(ViewNotFoundError):
        client.labels(opened(client, "raw"), Views.of([1], 0), CODES)


def ask_for_a_blob_that_is_not_there(client: LabelClient) -> None:
    with refused(BlobNotFoundError):
        client.read_blob(opened(client, "raw"), BlobRef(digest_from_hash(bytes(32)), 7))


def ask_for_a_set_that_is_not_there(client: LabelClient) -> None:
    with refused(LabelSetNotFoundError):
        client.open("golden:nothing")


def ask_for_a_retired_set(client: LabelClient) -> None:
    with refused(LabelSetRetiredError):
        client.open(expected(RETIRED).digest)


@contextmanager
def refused(kind: type[LabelcastError]) -> Iterator[None]:
    with pytest.raises(LabelcastError) as caught:
        yield
    assert type(caught.value) is kind


def joined(batches: Iterator[DeliveredLabels], views: Views) -> Rows:
    """All rows of a stream, which must be those of `views`."""
    found = list(batches)
    assert Views.joined([batch.views for batch in found]) == views
    return np.concatenate([batch.rows for batch in found])


def assert_labels(name: str, labels: Labels) -> None:
    if name in EXACT:
        np.testing.assert_array_equal(labels, expected(name).labels)
    else:
        assert_same_labels(labels, expected(name).labels)


def at_two(name: str) -> Labels:
    """Probabilities at temperature 2."""
    logits = expected(name).labels / np.float32(2)
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    found: Labels = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


_OF_A_SET = (
    open_by_tag,
    decode_here,
    read_codes,
    read_dense,
    read_probabilities,
    read_top_k,
    stream_codes,
    stream_dense,
    read_plan,
)
QUESTIONS = [
    *(
        Question(f"{ask.__name__}-{name}", partial(ask, name=name))
        for ask in _OF_A_SET
        for name in SETS
    ),
    *(
        Question(f"{ask.__name__}-{name}", partial(ask, name=name))
        for ask in (
            open_by_tag,
            decode_here,
            read_sequences,
            stream_codes,
            read_sequence_plan,
        )
        for name in (SEQUENCES, STATES)
    ),
    Question(f"read_dense-{STATES}", partial(read_dense, name=STATES)),
    Question(f"stream_dense-{STATES}", partial(stream_dense, name=STATES)),
    Question("replay_views", partial(replay_views, name=PRUNED)),
    *(
        Question(f"resolve-{missing.name}", partial(resolve, missing=missing))
        for missing in (MissingViews.DROP, MissingViews.DRAW, MissingViews.DRAW_ALL)
    ),
    *(
        Question(ask.__name__, ask)
        for ask in (
            ask_beyond_a_sequence,
            ask_for_a_view_that_is_not_there,
            ask_for_a_blob_that_is_not_there,
            ask_for_a_set_that_is_not_there,
            ask_for_a_retired_set,
        )
    ),
]
