"""Views → rows → labels, block by block, with proof of whose labels they are."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.codec import Codec, Rows
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError, OverloadedError
from labelcast.label_set import BlobRef, Manifest, StoredViews, ViewIndex
from labelcast.representation import Form, Representation
from labelcast.views import Views
from labelcast.wire import AskedViews
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.decoder.client import DecodedRows
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.shard_rows import by_owner

_UNARY_BLOCKS = 32
# A block that is sent, and the one that is prepared meanwhile.
_BLOCKS_AHEAD = 2
# For room to prepare a reply; whoever waits longer is told to come again.
_ROOM_SECONDS = 10.0
# Of float32 labels that one block makes the decoder hold.
_DECODED_BYTES = 2**25
# Rows that are found on the event loop: below a millisecond, where a thread would only cost.
_ROWS_ON_THE_LOOP = 4096


class Decoder(Protocol):
    """What the service needs of the decoder process."""

    async def decode(
        self,
        codec: str,
        artifact: bytes,
        representation: Representation,
        rows: Rows,
        *,
        row_bytes: int,
    ) -> DecodedRows:
        """Labels of packed rows, each followed by its context row if any, in a decoded form."""
        ...

    async def ping(self) -> None:
        """Return if labels decode."""
        ...


@dataclass(frozen=True, slots=True)
class OpenLabelSet:
    """A label set with everything that serving it needs.

    Attributes:
        digest: its identity.
        manifest: parsed.
        content: of the manifest, as stored.
        blobs: all that it names, by digest.
        report: fit report as stored; empty if none.
        artifact: the codec, verified.
        codec: the same, proven on its golden rows.
        index: where every view lies.
        context: of a conditioned codec; None for others.
        stored: which views each sample has.
    """

    digest: str
    manifest: Manifest
    content: bytes
    blobs: dict[str, BlobRef]
    report: bytes
    artifact: bytes
    codec: Codec
    index: ViewIndex
    context: ViewContext | None
    stored: StoredViews


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a reply.

    Attributes:
        count: rows.
        payload: count × stride bytes.
        payload_crc32: of the payload; the decoder's own where labels were decoded.
        subject_crc32: of the views that the rows belong to, see `labelcast.answer_subject`.
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
    """Labels of one set in one form, for one stream or call.

    Args:
        label_set: opened.
        representation: checked against it.
        chunks: cache of packed rows.
        decoder: where codes become labels.
        block_bytes: payload of one block.
        room: shared by all readers of a worker, for what they prepare and have not sent.
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
            # A row of top-k is small on the wire and whole where it is decoded.
            self._block_rows = max(1, min(self._block_rows, _DECODED_BYTES // (4 * num_classes)))

    async def read_whole(self, views: AskedViews) -> list[Block]:
        """Labels of a bounded batch, all at once.

        Raises:
            InvalidRequestError: more than one reply should carry; says how many views fit.
            As `read`.
        """
        limit = self._block_rows * _UNARY_BLOCKS
        if len(views) > limit:
            raise InvalidRequestError(
                f"{len(views)} labels do not fit one reply, at most {limit} do in this form;"
                " use StreamLabels for more"
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
        """Labels of `views`, in their order, in blocks.

        The next block is prepared while its predecessor is being sent, where there is room.

        Raises:
            ViewNotFoundError, StorageError, DataError, ServiceUnavailableError: at the block that
                met it.
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
                # If it has failed as well, the error of its predecessor has said why.
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
                self._room.give(size)

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await self._room.take(size)
        except TimeoutError:
            raise OverloadedError(
                "the service has no room for more replies that wait to be read; retry in a moment"
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
        # From here on only what was found counts: a fault of the look-up shows in the subject.
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
