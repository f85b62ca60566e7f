"""Views of sequences ⇄ spans of consecutive positions, where these are fewer bytes."""

from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.label_set import Manifest
from labelcast.label_set.language import LANGUAGE_FEATURE
from labelcast.label_set.segment import RAGGED_FEATURE
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import MAX_SEED, Views
from labelcast.wire.columns import column_to_proto, read_column
from labelcast.wire.views import MAX_VIEWS_PER_REQUEST, AskedViews, views_to_proto

# Shorter spans are no fewer bytes: each takes three numbers, a view two.
_VIEWS_A_SPAN = 2

AskingRequest: TypeAlias = pb.GetLabelsRequest | pb.StreamLabelsRequest


def knows_spans(manifest: Manifest) -> bool:
    """Whether every service that can have a label set knows spans."""
    return not {LANGUAGE_FEATURE, RAGGED_FEATURE}.isdisjoint(manifest.requires)


def named_views(views: Views, *, spans: bool) -> tuple[pb.Views | None, pb.Spans | None]:
    """Columns of a request: views, or as spans if that is shorter.

    Args:
        views: views to name, at least one.
        spans: whether the service knows spans.

    Returns:
        One of them, and None for the other.
    """
    listed = views_to_proto(views)
    if spans and (found := _spans_of(views)) is not None and found.ByteSize() < listed.ByteSize():
        return None, found
    return listed, None


def asked_from_proto(request: AskingRequest) -> "AskedViews | AskedSpans":
    """Read which views a request asks for, however it names them.

    Raises:
        InvalidRequestError: no views, too many, or malformed columns.
    """
    if request.WhichOneof("ask") == "spans":
        return AskedSpans(request.spans)
    return AskedViews(request.views)


class AskedSpans:
    """The views of a request that names spans, expanded when needed.

    Args:
        message: columns of a request.

    Raises:
        InvalidRequestError: no spans, an empty one, one beyond the last position, more views than
            a request may ask for, or malformed columns.
    """

    most_rows = MAX_VIEWS_PER_REQUEST
    """Rows to expand at once."""

    def __init__(self, message: pb.Spans) -> None:
        count = message.count
        if not 1 <= count <= MAX_VIEWS_PER_REQUEST:
            raise InvalidRequestError(
                f"a request names 1 to {MAX_VIEWS_PER_REQUEST} spans, got {count}"
            )
        columns = message.sample_ids, message.firsts, message.lengths
        self.num_bytes = 8 * count + sum(len(column.data) for column in columns)
        """Memory that the columns take, and where spans end."""
        self._ids, self._firsts, self._lengths = (
            read_column(column, count, what)
            for column, what in zip(columns, ("sample_ids", "firsts", "lengths"), strict=True)
        )
        shortest, longest = int(self._lengths.min()), int(self._lengths.max())
        # Before they are added up, which would overflow.
        if shortest < 1 or longest > MAX_VIEWS_PER_REQUEST or int(self._firsts.max()) > MAX_SEED:
            raise InvalidRequestError(
                f"a span has 1 to {MAX_VIEWS_PER_REQUEST} views, from a position up to {MAX_SEED}"
            )
        last = np.add(self._firsts, self._lengths, dtype=np.uint64).max()
        if int(last) > MAX_SEED + 1:
            raise InvalidRequestError(f"a span ends beyond position {MAX_SEED}")
        self._num_views = int(self._lengths.sum(dtype=np.uint64))
        if self._num_views > MAX_VIEWS_PER_REQUEST:
            raise InvalidRequestError(
                f"a request asks for at most {MAX_VIEWS_PER_REQUEST} views, the spans have"
                f" {self._num_views}"
            )

    def __len__(self) -> int:
        return self._num_views

    def __getitem__(self, rows: slice) -> Views:
        start, stop, _ = rows.indices(self._num_views)
        numbers = np.arange(start, stop)
        span = np.searchsorted(self._ends, numbers, side="right")
        numbers -= self._ends.take(span)
        numbers += self._lengths.take(span).astype(np.int64)
        numbers += self._firsts.take(span).astype(np.int64)
        ids = self._ids.take(span).astype(np.uint64)
        return Views.taking(ids, numbers.astype(np.uint32))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        # A request of few bytes may name a million spans: not before there is room for their ends.
        return np.cumsum(self._lengths, dtype=np.int64)


def _spans_of(views: Views) -> pb.Spans | None:
    """Spans of consecutive positions; None if most have a single view or so."""
    ids, seeds = views.sample_ids, views.seeds
    breaks = ids[1:] != ids[:-1]
    # Not by their difference, which is 1 as well from the largest to 0.
    breaks |= (seeds[1:] <= seeds[:-1]) | (seeds[1:] - seeds[:-1] != 1)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    if _VIEWS_A_SPAN * len(starts) > len(views):
        return None
    return pb.Spans(
        count=len(starts),
        sample_ids=column_to_proto(ids[starts]),
        firsts=column_to_proto(seeds[starts]),
        lengths=column_to_proto(np.diff(starts, append=len(views)).astype(np.uint64)),
    )
