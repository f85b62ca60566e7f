"""Views → rows → labels, block by block, with proof of which views they belong to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError, OverloadedError
from labelcast.identifiers import Digest
from labelcast.representation import Form, Representation
from labelcast.views import Views
from labelcast.wire import AskedViews
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.decoder.client import DecodedRows
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.shard_rows import by_owner
from labelcast_server.delivery.open_label_set import OpenLabelSet

_UNARY_BLOCKS = 32
# The block being sent, and the next one being prepared.
_BLOCKS_AHEAD = 2
# Time to wait for room to prepare a reply; a request that waits longer is told to retry.
_ROOM_SECONDS = 10.0
# float32 labels that the decoder holds for one block.
_DECODED_BYTES = 2**25
# Rows looked up on the event loop: below a millisecond, where a thread costs more than it saves.
_ROWS_ON_THE_LOOP = 4096


class Decoder(Protocol):
    """What delivery needs from the decoder process."""

    async def decode(
        self,
        codec: Digest,
        artifact: bytes,
        representation: Representation,
        rows: Rows,
        *,
        row_bytes: int,
    ) -> DecodedRows:
        """Decode packed rows, each followed by its context row if any."""
        ...

    async def ping(self) -> None:
        """Return if labels decode."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a reply.

    Attributes:
        count: number of rows.
        payload: count × stride bytes.
        payload_crc32: CRC-32 of the payload; the decoder's own where labels were decoded.
        subject_crc32: CRC-32 of the rows' views, see `labelcast.answer_subject`.
    """

    count: int
    payload: bytes
    payload_crc32: int
    subject_crc32: int


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Rows of one segment, and their places in a block.

    Attributes:
        segment: number of the segment.
        rows: int64, shape (n,).
        places: int64, shape (n,): of each row in the block; or all of the block.
    """

    segment: int
    rows: NDArray[np.int64]
    places: NDArray[np.int64] | slice


class BlockReader:
    """Reads labels of one set in one form, for one stream or call.

    Args:
        label_set: opened label set.
        representation: form of the labels, already checked against the set.
        chunks: cache of packed rows.
        decoder: decodes codes to labels.
        block_bytes: payload bytes of one block.
        room: memory for prepared but unsent replies, shared by all readers of a worker.
    """

    def __init__(
        self,
        label_set: OpenLabelSet,
        representation: Representation,
        chunks: ChunkCache,
        decoder: Decoder,
        *,
        block_bytes: int,
        room: ByteBudget,
    ) -> None:
        self._label_set = label_set
        self._representation = representation
        self._chunks = chunks
        self._decoder = decoder
        self._room = room
        self._subject = LabelSubject(label_set.digest, representation)
        num_classes = label_set.manifest.contract.num_classes
        self._row_bytes = representation.row_stride(num_classes, label_set.codec.row_stride)
        self._block_rows = max(1, block_bytes // self._row_bytes)
        if representation.form is not Form.CODES:
            # A top-k row is small on the wire, but whole while it is decoded.
            self._block_rows = max(1, min(self._block_rows, _DECODED_BYTES // (4 * num_classes)))

    async def read_whole(self, views: AskedViews) -> list[Block]:
        """Read labels of a bounded batch, all at once.

        Raises:
            InvalidRequestError: the labels do not fit one reply; says how many do.
            Otherwise as `read`.
        """
        limit = self._block_rows * _UNARY_BLOCKS
        if len(views) > limit:
            raise InvalidRequestError(
                f"{len(views)} labels do not fit one reply, at most {limit} do in this form;"
                " stream more (StreamLabels; in Python: stream)"
            )
        size = len(views) * self._row_bytes
        await self._take(size)
        try:
            return [
                await self._block(views[start : start + self._block_rows], start)
                for start in range(0, len(views), self._block_rows)
            ]
        finally:
            self._room.give(size)

    async def read(self, views: AskedViews) -> AsyncIterator[Block]:
        """Read labels of `views` block by block, in their order.

        The next block is prepared while the previous one is being sent, if there is room.

        Raises:
            ViewNotFoundError, StorageError, DataError, ServiceUnavailableError: raised at the block
                that caused it.
            OverloadedError: there is no room to prepare a block.
        """
        await self._take(views.num_bytes)
        ahead: deque[tuple[asyncio.Task[Block], int]] = deque()
        starts = deque(range(0, len(views), self._block_rows))
        try:
            while starts or ahead:
                while starts and len(ahead) < _BLOCKS_AHEAD:
                    rows = views[starts[0] : starts[0] + self._block_rows]
                    size = len(rows) * self._row_bytes
                    if ahead and not self._room.try_take(size):
                        break
                    if not ahead:
                        await self._take(size)
                    task = asyncio.ensure_future(self._block(rows, starts.popleft()))
                    ahead.append((task, size))
                task, size = ahead[0]
                yield await task
                ahead.popleft()
                self._room.give(size)
        finally:
            self._room.give(views.num_bytes)
            for task, size in ahead:
                task.cancel()
                # If it failed too, the error of the previous block is the one to report.
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
                self._room.give(size)

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await self._room.take(size)
        except TimeoutError:
            raise OverloadedError(
                "the service has no room for more unread replies; retry in a moment, or read faster"
            ) from None

    async def _block(self, views: Views, first_row: int) -> Block:
        if len(views) > _ROWS_ON_THE_LOOP:
            place = await asyncio.to_thread(self._find, views, first_row)
        else:
            place = self._find(views, first_row)
        rows, found, subject = place
        packed = await self._gather(rows, len(views))
        if self._representation.form is Form.CODES:
            payload = packed.tobytes()
            labels = DecodedRows(payload, crc32(payload))
        else:
            labels = await self._decode(packed, found)
        return Block(len(packed), labels.payload, labels.crc32, subject)

    def _find(self, views: Views, first_row: int) -> tuple[list[SegmentRows], Views, int]:
        """Rows of each segment, the views that lie there, and their checksum."""
        index = self._label_set.index
        segments, rows = index.locate(views, first_row=first_row)
        # From here on only the rows found count: a look-up fault shows in the checksum.
        found = index.views_at(segments, rows)
        count = len(self._label_set.manifest.segments)
        owners = by_owner(segments, count) if count > 1 else [(0, slice(None))]
        by_segment = [SegmentRows(number, rows[places], places) for number, places in owners]
        return by_segment, found, self._subject.checksum(found)

    async def _decode(self, packed: Rows, views: Views) -> DecodedRows:
        context = self._label_set.context
        if context is not None:
            # Drawing takes a millisecond, of however few views.
            packed = await asyncio.to_thread(_beside_context, packed, context, views)
        return await self._decoder.decode(
            self._label_set.manifest.codec.digest,
            self._label_set.artifact,
            self._representation,
            packed,
            row_bytes=self._row_bytes,
        )

    async def _gather(self, parts: list[SegmentRows], count: int) -> Rows:
        segments = self._label_set.manifest.segments
        if len(parts) == 1:
            return await self._chunks.gather(segments[parts[0].segment].codes, parts[0].rows)
        packed = np.empty((count, self._label_set.codec.row_stride), dtype=np.uint8)
        for part in parts:
            packed[part.places] = await self._chunks.gather(segments[part.segment].codes, part.rows)
        return packed


def _beside_context(packed: Rows, context: ViewContext, views: Views) -> Rows:
    return np.concatenate([packed, context.rows(views)], axis=1)
