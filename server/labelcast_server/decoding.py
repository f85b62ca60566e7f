"""Talking to the decoder process: the torch-free half.

I/O workers never import torch. Rows of all their streams meet in one process, over a
Unix socket that lies in a private directory:

    frame    header (payload bytes: u64, request number: u32, kind: u8) + payload, little-endian
    LOAD     codec digest (71 ASCII bytes) + artifact            → DONE, empty
    DECODE   codec digest + form, precision, k, temperature + packed rows, each followed by its
             context row if the codec is conditioned
                                    → DONE, rows of that representation; MISSING, send LOAD first
    PING     empty                      → DONE, empty
    ERROR    canonical JSON {"reason", "message", "facts"}
"""

import asyncio
import itertools
import json
import logging
import struct
from enum import IntEnum
from pathlib import Path

from labelcast.codec import Precision, Rows
from labelcast.errors import LabelcastError, ServiceUnavailableError, error_from_reason
from labelcast.representation import Form, Representation

HEADER = struct.Struct("<QIB")
_REPRESENTATION = struct.Struct("<BBId")
_DIGEST_BYTES = 71
MAX_FRAME_BYTES = 2**31

# Long enough for a queue of full batches on a slow CPU; a decoder that takes longer hangs.
_ANSWER_SECONDS = 60.0
_PING_SECONDS = 10.0

_FORMS = tuple(Form)
_PRECISIONS = tuple(Precision)


logger = logging.getLogger("labelcast_server.decoding")


class Kind(IntEnum):
    """What a frame is."""

    LOAD = 1
    DECODE = 2
    DONE = 3
    ERROR = 4
    MISSING = 5
    PING = 6


def encode_decode_request(digest: str, representation: Representation, rows: Rows) -> bytes:
    """Payload of a DECODE frame."""
    head = _REPRESENTATION.pack(
        _FORMS.index(representation.form),
        _PRECISIONS.index(representation.precision or Precision.FP16),
        representation.k or 0,
        representation.temperature or 0.0,
    )
    return digest.encode("ascii") + head + rows.tobytes()


def split_request(payload: bytes) -> tuple[str, bytes]:
    """Codec digest and the rest of a LOAD or DECODE payload."""
    return payload[:_DIGEST_BYTES].decode("ascii"), payload[_DIGEST_BYTES:]


def split_decode_request(rest: bytes) -> tuple[Representation, bytes]:
    """Representation and packed rows of a DECODE payload, without its digest."""
    form, precision, k, temperature = _REPRESENTATION.unpack_from(rest)
    representation = Representation(
        _FORMS[form],
        _PRECISIONS[precision],
        temperature or None,
        k or None,
    )
    return representation, rest[_REPRESENTATION.size :]


def encode_error(error: LabelcastError) -> bytes:
    """Payload of an ERROR frame."""
    value = {"reason": error.reason, "message": error.message, "facts": error.facts}
    return json.dumps(value).encode()


def _decode_error(payload: bytes) -> LabelcastError:
    value = json.loads(payload)
    return error_from_reason(value["reason"], value["message"], value["facts"])


class _CodecMissingError(Exception):
    """The decoder process does not hold the codec."""


class DecoderClient:
    """One connection of one worker to the decoder process, opened at first use.

    Args:
        socket_path: where the decoder listens.
    """

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._loaded: set[str] = set()
        self._lock = asyncio.Lock()

    async def decode(
        self, codec: str, artifact: bytes, representation: Representation, rows: Rows
    ) -> bytes:
        """Labels of packed rows in a decoded form.

        Args:
            codec: digest of the artifact.
            artifact: sent to the decoder process if this connection has not sent it yet.
            representation: any form but codes.
            rows: uint8, shape (N, stride + context stride).

        Returns:
            N rows of the representation's stride.

        Raises:
            CodecError: rows or artifact are bad.
            ServiceUnavailableError: the decoder process is gone; it is being started again.
        """
        request = encode_decode_request(codec, representation, rows)
        while True:
            await self._ensure_loaded(codec, artifact)
            try:
                return await self._request(Kind.DECODE, request)
            except _CodecMissingError:
                # The decoder holds a bounded number of codecs and has let this one go.
                self._loaded.discard(codec)

    async def ping(self) -> None:
        """Return if the decoder process answers.

        Raises:
            ServiceUnavailableError: it is gone, or hangs.
        """
        await self._request(Kind.PING, b"", seconds=_PING_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._drop()

    async def _ensure_loaded(self, codec: str, artifact: bytes) -> None:
        if codec in self._loaded:
            return
        async with self._lock:
            if codec not in self._loaded:
                await self._request(Kind.LOAD, codec.encode("ascii") + artifact)
                self._loaded.add(codec)

    async def _request(
        self, kind: Kind, payload: bytes, *, seconds: float = _ANSWER_SECONDS
    ) -> bytes:
        writer = self._writer or await self._connect()
        number = next(self._numbers) & 0xFFFFFFFF
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer.write(HEADER.pack(len(payload), number, kind) + payload)
            async with asyncio.timeout(seconds):
                await writer.drain()
                return await answer
        except (ConnectionError, TimeoutError):
            raise _gone() from None
        finally:
            self._waiting.pop(number, None)

    async def _connect(self) -> asyncio.StreamWriter:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket_path))
        except OSError:
            raise _gone() from None
        if self._writer is not None:
            # Another task was faster.
            writer.close()
            return self._writer
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))
        return writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                size, number, kind = HEADER.unpack(await reader.readexactly(HEADER.size))
                payload = await reader.readexactly(size)
                answer = self._waiting.get(number)
                if answer is None or answer.done():
                    continue
                if kind == Kind.DONE:
                    answer.set_result(payload)
                elif kind == Kind.MISSING:
                    answer.set_exception(_CodecMissingError())
                else:
                    answer.set_exception(_decode_error(payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._drop()
        except (ValueError, KeyError, TypeError):
            # Not what a decoder says: nobody may wait for what cannot be read any more.
            logger.exception("the decoder process sent a malformed frame")
            self._drop()

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self._loaded.clear()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_gone())


def _gone() -> ServiceUnavailableError:
    return ServiceUnavailableError(
        "the decoder process is not running; it is started again, retry in a moment"
    )
