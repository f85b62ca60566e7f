"""Talking to the decoder process: the torch-free half.

I/O workers never import torch. They send the rows of all their streams to one process, over a
Unix socket in a private directory. The messages: `labelcast_server.decoder.protocol`.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from labelcast.checksums import crc32
from labelcast.errors import ServiceUnavailableError
from labelcast.identifiers import Digest
from labelcast.representation import Representation
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.decoder.connection import (
    CodecMissingError,
    Connection,
    DecodedRows,
    Request,
)
from labelcast_server.decoder.heads import HeadFiles
from labelcast_server.decoder.protocol import PING_BYTES, Kind, pack_load, pack_subject

__all__ = ["DecodedRows", "DecoderClient", "PackedRows"]

# Long enough for a queue of full batches on a slow CPU.
_ANSWER_SECONDS = 60.0
_PING_SECONDS = 5.0
# Rows and labels that one worker has in flight for one codec and form: enough for full batches, and
# little enough that a slow codec cannot fill the decoder's memory and block the others.
_UNDER_WAY_BYTES = 2**24
_LOADS_FOR_ONE_DECODE = 8


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows to decode, and into what.

    Attributes:
        codec: key of the decoder: `decoder_key` of artifact and head.
        artifact: sent to a decoder process that does not hold the codec.
        representation: any form but codes.
        rows: the packed rows, each followed by its context row if the codec is conditioned.
        label_bytes: bytes of all their labels.
        head: gets the head's files ready for a decoder process that does not hold it; None for
            codecs without.
    """

    codec: Digest
    artifact: bytes
    representation: Representation
    rows: bytes
    label_bytes: int
    head: Callable[[], Awaitable[HeadFiles]] | None = None


class DecoderClient:
    """Asks the decoder process, over one connection that is opened at first use.

    Args:
        socket_path: where the decoder listens.
        answer_seconds: time limit for one answer.
    """

    def __init__(self, socket_path: Path, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._socket_path = socket_path
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._loading: dict[Digest, asyncio.Lock] = {}
        self._under_way: dict[bytes, ByteBudget] = {}

    async def decode(self, wanted: PackedRows) -> DecodedRows:
        """Decode packed rows.

        Returns:
            Labels that the decoder process decoded from exactly these rows in this form, as far as
            checksums can tell.

        Raises:
            CodecError: rows or artifact are bad.
            WrongSubjectError: the answer belongs to another request; a retry may help.
            ServiceUnavailableError: the decoder process is gone, hangs or is overloaded.
        """
        subject = pack_subject(wanted.codec, wanted.representation)
        request = Request(Kind.DECODE, subject, wanted.rows, crc32(wanted.rows), wanted.label_bytes)
        size = request.size + request.answer_bytes
        budget = self._under_way.setdefault(subject, ByteBudget(_UNDER_WAY_BYTES))
        await budget.take(size)
        try:
            return await self._decode(wanted, request)
        finally:
            budget.give(size)
            if budget.idle:
                self._under_way.pop(subject, None)

    async def ping(self) -> None:
        """Return if labels decode.

        Raises:
            ServiceUnavailableError: the decoder process is gone, hangs or is overloaded.
        """
        request = Request(Kind.PING, secrets.token_bytes(PING_BYTES))
        await (await self._connected()).ask(request, _PING_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def _decode(self, wanted: PackedRows, request: Request) -> DecodedRows:
        for _ in range(_LOADS_FOR_ONE_DECODE):
            connection = await self._connected()
            try:
                return await connection.ask(request, self._answer_seconds)
            except CodecMissingError:
                # Never loaded, or evicted since: the decoder holds a bounded number of codecs.
                await self._load(wanted)
        raise ServiceUnavailableError(
            "the decoder process drops codecs before it has used them: too many label sets are read"
            " at once; retry, or read fewer at a time"
        )

    async def _load(self, wanted: PackedRows) -> None:
        codec = wanted.codec
        lock = self._loading.setdefault(codec, asyncio.Lock())
        first = not lock.locked()
        async with lock:
            # Callers that waited find it loaded.
            if first:
                files = b"" if wanted.head is None else (await wanted.head()).to_bytes()
                body = pack_load(files, wanted.artifact)
                load = Request(Kind.LOAD, codec.encode("ascii"), body)
                await (await self._connected()).ask(load, self._answer_seconds)
        self._loading.pop(codec, None)

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._connection = await Connection.open(self._socket_path)
            return self._connection
