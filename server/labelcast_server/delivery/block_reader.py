"""Views → rows → labels, block by block, with proof of which views they belong to."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError, ServiceUnavailableError
from labelcast.representation import Form, Representation
from labelcast.views import Views
from labelcast.wire import AskedViews
from labelcast_server.decoder.client import DecodedRows, PackedRows
from labelcast_server.delivery.block import Block
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.shard_rows import by_owner
from labelcast_server.delivery.open_label_set import OpenLabelSet
from labelcast_server.delivery.pace import Pace
from labelcast_server.delivery.read_ahead import ReadAhead
from labelcast_server.delivery.stored_labels import are_stored
from labelcast_server.delivery.unit import AskedRows
from labelcast_server.delivery.unit_sizes import UnitSizes
from labelcast_server.delivery.unsent_room import UnsentRoom
from labelcast_server.telemetry.metrics import DECODE_SECONDS, GATHER_SECONDS, UNIT_ROWS

_UNARY_MESSAGES = 32
# Rows looked up on the event loop: below a millisecond, where a thread costs more than it saves.
_ROWS_ON_THE_LOOP = 4096
# Cut into messages and checked there.
_BYTES_ON_THE_LOOP = 2**18


class Decoder(Protocol):
    """What delivery needs from the decoder processes."""

    async def decode(self, wanted: PackedRows) -> DecodedRows:
        """Decode packed rows."""
        ...

    @property
    def pings(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What returns if a decoder process decodes labels, by the name of the process."""
        ...


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


class BlockReader:
    """Reads labels of one set in one form, for one stream or call.

    Args:
        label_set: opened label set.
        representation: form of the labels, already checked against the set.
        chunks: cache of packed rows.
        decoder: decodes codes to labels.
        message_bytes: payload bytes of one block.
        room: memory for prepared but unsent replies, shared by all readers of a worker.
    """

    def __init__(
        self,
        label_set: OpenLabelSet,
        representation: Representation,
        chunks: ChunkCache,
        decoder: Decoder,
        *,
        message_bytes: int,
        room: UnsentRoom,
    ) -> None:
        self._label_set = label_set
        self._representation = representation
        self._chunks = chunks
        self._decoder = decoder
        self._room = room
        self._subject = LabelSubject(label_set.digest, representation)
        self._stored = are_stored(label_set.codec, representation)
        self._unit_rows = UNIT_ROWS.labels(representation.form)
        self._sizes = UnitSizes.of(
            representation,
            num_classes=label_set.manifest.contract.num_classes,
            code_stride=label_set.codec.row_stride,
            message_bytes=message_bytes,
        )

    async def read_whole(self, views: AskedViews) -> list[Block]:
        """Read labels of a bounded batch, all at once.

        Raises:
            InvalidRequestError: the labels do not fit one reply; says how many do.
            Otherwise as `read`.
        """
        sizes, count = self._sizes, len(views)
        limit = sizes.message_rows * _UNARY_MESSAGES
        if count > limit:
            raise InvalidRequestError(
                f"{count} labels do not fit one reply, at most {limit} do in this form;"
                " stream more (StreamLabels; in Python: stream)"
            )
        size = count * sizes.row_bytes
        room = self._room.proven
        await room.take(size)
        try:
            return [
                block
                for start in range(0, count, sizes.unit_rows)
                for block in await self._prepare(
                    views, start, min(start + sizes.unit_rows, count), sizes.message_rows
                )
            ]
        finally:
            room.budget.give(size)

    async def read(self, requests: AsyncIterator[AskedRows]) -> AsyncGenerator[Block, None]:
        """Read labels of one request after the other, block by block, in their order.

        Units are prepared while earlier ones are being sent, across requests, if there is room.

        Raises:
            ViewNotFoundError, StorageError, DataError, ServiceUnavailableError: raised at the unit
                that caused it.
            OverloadedError: there is no room to prepare a unit.
            Otherwise as `requests`, after the labels of those before.
        """
        line = ReadAhead(self._prepare, Pace(self._sizes, self._room), self._room)
        filling = asyncio.ensure_future(_fill(line, requests))
        try:
            while await line.has_next():
                yield await line.take()
        finally:
            filling.cancel()
            await asyncio.wait([filling])
            line.close()

    async def _prepare(
        self, asked: AskedRows, start: int, stop: int, message_rows: int
    ) -> list[Block]:
        self._unit_rows.observe(stop - start)
        began = time.perf_counter()
        # Expanding a plan takes as long as a look-up, and may take an epoch's tables first.
        if stop - start > _ROWS_ON_THE_LOOP or not isinstance(asked, AskedViews):
            rows, found, subjects = await asyncio.to_thread(
                self._find, asked, start, stop, message_rows
            )
        else:
            rows, found, subjects = self._find(asked, start, stop, message_rows)
        packed = await self._gather(rows, stop - start)
        GATHER_SECONDS.observe(time.perf_counter() - began)
        if self._stored:
            if self._representation.form is not Form.CODES:
                # As decoding would.
                await asyncio.to_thread(self._label_set.codec.check_rows, packed)
            labels, decoded = packed.reshape(-1).data, None
        else:
            decoded = await self._decode(packed, found)
            labels = decoded.payload
        if len(labels) > _BYTES_ON_THE_LOOP:
            return await asyncio.to_thread(self._cut, labels, decoded, subjects, message_rows)
        return self._cut(labels, decoded, subjects, message_rows)

    def _find(
        self, asked: AskedRows, start: int, stop: int, message_rows: int
    ) -> tuple[list[SegmentRows], Views, list[int]]:
        """Rows of each segment, the views that lie there, and their checksum in each message."""
        index = self._label_set.index
        segments, rows = index.locate(asked[start:stop], first_row=start)
        # From here on only the rows found count: a look-up fault shows in the checksums.
        found = index.views_at(segments, rows)
        count = len(self._label_set.manifest.segments)
        owners = by_owner(segments, count) if count > 1 else [(0, slice(None))]
        by_segment = [SegmentRows(number, rows[places], places) for number, places in owners]
        subjects = [
            self._subject.checksum(found[start : start + message_rows])
            for start in range(0, len(found), message_rows)
        ]
        return by_segment, found, subjects

    def _cut(
        self,
        labels: memoryview,
        decoded: DecodedRows | None,
        subjects: list[int],
        message_rows: int,
    ) -> list[Block]:
        """Messages of a unit.

        Args:
            labels: bytes of the unit.
            decoded: whose labels they are; None where nobody decoded them.
            subjects: checksum of each message's views.
            message_rows: most rows of a message.

        Raises:
            ServiceUnavailableError: the labels are no longer those that were decoded.
        """
        row_bytes = self._sizes.row_bytes
        step = message_rows * row_bytes
        whole, blocks = 0, list[Block]()
        for number, subject in enumerate(subjects):
            piece = bytes(labels[number * step :][:step])
            blocks.append(Block(len(piece) // row_bytes, piece, crc32(piece), subject))
            if decoded is not None:
                whole = crc32(piece, whole)
        # Compared after the blocks' own checksums were made: nothing happens in between.
        if decoded is not None:
            decoded.check()
            if whole != decoded.crc32:
                raise ServiceUnavailableError(
                    "decoded labels were damaged in memory before they were sent; retry in a moment"
                )
        return blocks

    async def _decode(self, packed: Rows, views: Views) -> DecodedRows:
        context = self._label_set.context
        if context is not None:
            # Drawing takes a millisecond, of however few views.
            packed = await asyncio.to_thread(_beside_context, packed, context, views)
        began = time.perf_counter()
        wanted = PackedRows(
            self._label_set.manifest.codec.digest,
            self._label_set.artifact,
            self._representation,
            packed.tobytes(),
            len(packed) * self._sizes.row_bytes,
        )
        decoded = await self._decoder.decode(wanted)
        DECODE_SECONDS.observe(time.perf_counter() - began)
        return decoded

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


async def _fill(line: ReadAhead, requests: AsyncIterator[AskedRows]) -> None:
    error: Exception | None = None
    try:
        async for asked in requests:
            await line.put(asked)
    except Exception as raised:  # noqa: BLE001 - raised again where its labels would have come
        error = raised
    await line.end(error)
