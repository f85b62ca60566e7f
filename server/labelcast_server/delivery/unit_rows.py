"""The rows of a unit: which they are, and their bytes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.answer_subject import LabelSubject
from labelcast.codec import Rows
from labelcast.representation import Representation
from labelcast.views import Views
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.shard_rows import by_owner
from labelcast_server.delivery.open_label_set import OpenLabelSet
from labelcast_server.delivery.unit import AskedRows


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Rows of one segment, and their places in a unit.

    Attributes:
        segment: number of the segment.
        rows: int64, shape (n,).
        places: int64, shape (n,): of each row in the unit; or all of the unit.
    """

    segment: int
    rows: NDArray[np.int64]
    places: NDArray[np.int64] | slice


@dataclass(frozen=True, slots=True)
class UnitRows:
    """What was found of a unit.

    Attributes:
        parts: its rows by segment.
        views: the views that lie there.
        subjects: checksum of the views of each message.
        packed: uint8, shape (N, stride); None if a row must be fetched first.
    """

    parts: list[SegmentRows]
    views: Views
    subjects: list[int]
    packed: Rows | None


class RowFinder:
    """Finds and reads rows of a label set.

    Args:
        label_set: opened label set.
        representation: form of the labels, for the checksums.
        chunks: cache of packed rows.
    """

    def __init__(
        self, label_set: OpenLabelSet, representation: Representation, chunks: ChunkCache
    ) -> None:
        self._index = label_set.index
        self._segments = label_set.manifest.segments
        self._stride = label_set.codec.row_stride
        self._subject = LabelSubject(label_set.digest, representation)
        self._chunks = chunks

    def find(self, asked: AskedRows, start: int, stop: int, message_rows: int) -> UnitRows:
        """Look up rows, and read them if they are in the cache.

        Takes a millisecond for tens of thousands of rows: run it in a thread.

        Args:
            asked: a request.
            start: number of the unit's first row in it.
            stop: number of the row after its last one.
            message_rows: most rows of a message.

        Raises:
            ViewNotFoundError: names the first view that the label set lacks.
        """
        segments, rows = self._index.locate(asked[start:stop], first_row=start)
        # From here on only the rows found count: a look-up fault shows in the checksums.
        views = self._index.views_at(segments, rows)
        count = len(self._segments)
        owners = by_owner(segments, count) if count > 1 else [(0, slice(None))]
        parts = [SegmentRows(number, rows[places], places) for number, places in owners]
        subjects = [
            self._subject.checksum(views[first : first + message_rows])
            for first in range(0, len(views), message_rows)
        ]
        packed = None
        if len(parts) == 1:
            packed = self._chunks.take(self._segments[parts[0].segment].codes, parts[0].rows)
        return UnitRows(parts, views, subjects, packed)

    async def packed(self, found: UnitRows) -> Rows:
        """The rows of a unit, fetched from the store if need be; see `ChunkCache.gather`."""
        if found.packed is not None:
            return found.packed
        if len(found.parts) == 1:
            return await self._gather(found.parts[0])
        packed = np.empty((len(found.views), self._stride), dtype=np.uint8)
        for part in found.parts:
            packed[part.places] = await self._gather(part)
        return packed

    async def _gather(self, part: SegmentRows) -> Rows:
        return await self._chunks.gather(self._segments[part.segment].codes, part.rows)
