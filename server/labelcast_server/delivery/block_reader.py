"""Views → rows → labels, block by block, with proof of which views they belong to."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np

from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError, ServiceUnavailableError
from labelcast.representation import Form, Representation
from labelcast.views import Views
from labelcast.wire import AskedSpans, AskedViews
from labelcast_server.background import end
from labelcast_server.decoder.client import DecodedRows, PackedRows
from labelcast_server.decoder.heads import decoder_key
from labelcast_server.delivery.block import Block
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.heads import head_files, shipped_head
from labelcast_server.delivery.open_label_set import OpenLabelSet
from labelcast_server.delivery.pace import Pace
from labelcast_server.delivery.read_ahead import ReadAhead
from labelcast_server.delivery.stored_labels import are_stored
from labelcast_server.delivery.unit import AskedRows
from labelcast_server.delivery.unit_rows import RowFinder, UnitRows
from labelcast_server.delivery.unit_sizes import UnitSizes
from labelcast_server.delivery.unsent_room import UnsentRoom
from labelcast_server.telemetry.metrics import DECODE_SECONDS, GATHER_SECONDS, UNIT_ROWS

_UNARY_MESSAGES = 32
# Rows looked up on the event loop: below a millisecond, where a thread costs more than it saves.
_ROWS_ON_THE_LOOP = 4096
# Read, cut into messages and checked there.
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


class BlockReader:
    """Reads labels of one set in one form, for any number of streams and calls.

    Args:
        label_set: opened label set.
        representation: form of the labels, already checked against the set.
        chunks: cache of packed rows.
        decoder: decodes codes to labels.
        message_bytes: payload bytes of one block.
        room: memory for prepared but unsent replies, shared by all readers of a worker.

    Attributes:
        label_set: as given.
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
        self.label_set = label_set
        self._representation = representation
        self._decoder = decoder
        self._room = room
        self._rows = RowFinder(label_set, representation, chunks)
        self._stored = are_stored(label_set.codec, representation)
        spec = shipped_head(label_set.manifest)
        self._key = decoder_key(label_set.manifest.codec.digest, spec)
        self._head = None if spec is None else partial(head_files, chunks, label_set.manifest)
        self._unit_rows = UNIT_ROWS.labels(representation.form)
        self._sizes = UnitSizes.of(
            representation,
            num_classes=label_set.manifest.contract.num_classes,
            code_stride=label_set.codec.row_stride,
            message_bytes=message_bytes,
        )

    async def read_whole(self, views: AskedViews | AskedSpans) -> list[Block]:
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
            await end(filling)
            line.close()

    async def _prepare(
        self, asked: AskedRows, start: int, stop: int, message_rows: int
    ) -> list[Block]:
        self._unit_rows.observe(stop - start)
        began = time.perf_counter()
        # Expanding a plan takes as long as a look-up, and may take an epoch's tables first.
        is_quick = isinstance(asked, AskedViews | AskedSpans) and self._is_quick(stop - start)
        found, blocks = (
            self._begin(asked, start, stop, message_rows)
            if is_quick
            else await asyncio.to_thread(self._begin, asked, start, stop, message_rows)
        )
        packed = await self._rows.packed(found)
        GATHER_SECONDS.observe(time.perf_counter() - began)
        if blocks is not None:
            return blocks
        if self._stored:
            return await asyncio.to_thread(self._cut_stored, packed, found.subjects, message_rows)
        decoded = await self._decode(packed, found.views)
        if len(decoded.payload) > _BYTES_ON_THE_LOOP:
            return await asyncio.to_thread(self._cut, decoded, found.subjects, message_rows)
        return self._cut(decoded, found.subjects, message_rows)

    def _is_quick(self, rows: int) -> bool:
        """Whether so many rows are looked up and read in less time than a thread costs."""
        size = rows * self.label_set.codec.row_stride
        return rows <= _ROWS_ON_THE_LOOP and size <= _BYTES_ON_THE_LOOP

    def _begin(
        self, asked: AskedRows, start: int, stop: int, message_rows: int
    ) -> tuple[UnitRows, list[Block] | None]:
        """All that needs no waiting, in one go: each change of threads costs a thousand rows."""
        found = self._rows.find(asked, start, stop, message_rows)
        if found.packed is None or not self._stored:
            return found, None
        return found, self._cut_stored(found.packed, found.subjects, message_rows)

    def _cut_stored(self, packed: Rows, subjects: list[int], message_rows: int) -> list[Block]:
        """Messages of rows that go out as they are stored."""
        if self._representation.form is not Form.CODES:
            # As decoding would.
            self.label_set.codec.check_rows(packed)
        pieces = self._pieces(packed.reshape(-1).data, message_rows)
        return [
            self._block(piece, subject) for piece, subject in zip(pieces, subjects, strict=True)
        ]

    def _cut(self, decoded: DecodedRows, subjects: list[int], message_rows: int) -> list[Block]:
        """Messages of decoded rows.

        Raises:
            ServiceUnavailableError: the labels are no longer those that were decoded.
        """
        whole, blocks = 0, list[Block]()
        for piece, subject in zip(
            self._pieces(decoded.payload, message_rows), subjects, strict=True
        ):
            # The decoder uses its memory again.
            kept = bytes(piece)
            blocks.append(self._block(kept, subject))
            whole = crc32(kept, whole)
        # Compared after the blocks' own checksums were made: nothing happens in between.
        decoded.check()
        if whole != decoded.crc32:
            raise ServiceUnavailableError(
                "decoded labels were damaged in memory before they were sent; retry in a moment"
            )
        return blocks

    def _pieces(self, labels: memoryview, message_rows: int) -> list[memoryview]:
        step = message_rows * self._sizes.row_bytes
        return [labels[start : start + step] for start in range(0, len(labels), step)]

    def _block(self, piece: bytes | memoryview, subject: int) -> Block:
        return Block(len(piece) // self._sizes.row_bytes, piece, crc32(piece), subject)

    async def _decode(self, packed: Rows, views: Views) -> DecodedRows:
        context = self.label_set.context
        if context is not None:
            # Drawing takes a millisecond, of however few views.
            packed = await asyncio.to_thread(_beside_context, packed, context, views)
        began = time.perf_counter()
        wanted = PackedRows(
            self._key,
            self.label_set.artifact,
            self._representation,
            packed.tobytes(),
            len(packed) * self._sizes.row_bytes,
            self._head,
        )
        decoded = await self._decoder.decode(wanted)
        DECODE_SECONDS.observe(time.perf_counter() - began)
        return decoded


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
