"""A worker's connection to the decoder process: every answer is checked against its request."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from labelcast.checksums import crc32
from labelcast.errors import (
    LabelcastError,
    ServiceUnavailableError,
    WrongSubjectError,
)
from labelcast_server.decoder.protocol import (
    ANSWER_HEAD_BYTES,
    DIGEST_BYTES,
    HEADER_BYTES,
    MAX_ERROR_BYTES,
    Kind,
    broken,
    pack_header,
    unpack_answer_head,
    unpack_error,
    unpack_header,
)

logger = logging.getLogger("labelcast_server.decoder.client")

_BUFFER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """Labels as the decoder process sent them.

    Attributes:
        payload: N labels, each of the representation's stride.
        crc32: CRC-32 of the payload, checked on arrival.
    """

    payload: bytes
    crc32: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request and what its answer must look like.

    Attributes:
        kind: LOAD, DECODE or PING.
        subject: beginning of the payload, which the answer repeats.
        body: rest of the payload.
        rows_crc32: CRC-32 of the rows to decode; None for other requests.
        label_bytes: size of the expected labels; 0 for other requests.
    """

    kind: Kind
    subject: bytes
    body: bytes = b""
    rows_crc32: int | None = None
    label_bytes: int = 0

    @property
    def size(self) -> int:
        """Size of the payload in bytes."""
        return len(self.subject) + len(self.body)

    @property
    def answer_bytes(self) -> int:
        """Size of the answer in bytes."""
        if self.rows_crc32 is None:
            return len(self.subject)
        return ANSWER_HEAD_BYTES + self.label_bytes


class CodecMissingError(Exception):
    """The decoder process does not hold the codec."""


class Connection:
    """Opened with `open`; closes at the first violation, and every waiting caller gets the error.

    Args:
        reader: reading end of the socket.
        writer: writing end of the socket.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._number = 0
        # Requests whose caller gave up stay until their answers arrive, which break no rule.
        self._waiting: dict[int, tuple[Request, asyncio.Future[DecodedRows]]] = {}
        self._heard_at = asyncio.get_running_loop().time()
        self._reading = asyncio.create_task(self._read(reader))
        self.closed = False

    @staticmethod
    async def open(socket_path: Path) -> "Connection":
        """Connect.

        Raises:
            ServiceUnavailableError: nobody is listening.
        """
        try:
            opened = await asyncio.open_unix_connection(str(socket_path), limit=_BUFFER_BYTES)
        except OSError:
            raise gone() from None
        return Connection(*opened)

    async def ask(self, request: Request, seconds: float) -> DecodedRows:
        """Send a request and wait for its answer.

        Returns:
            The labels; empty for a LOAD or PING.

        Raises:
            CodecMissingError: the decoder process needs the codec first.
            WrongSubjectError: the answer belongs to another request.
            ServiceUnavailableError: the connection broke, or nothing came in time.
            LabelcastError: the decoder process reported an error with the request.
        """
        if self.closed:
            raise gone()
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer: asyncio.Future[DecodedRows] = loop.create_future()
        # It may fail after the caller has left.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        number = self._next_number()
        self._waiting[number] = request, answer
        self._writer.write(pack_header(request.size, number, request.kind) + request.subject)
        self._writer.write(request.body)
        try:
            async with asyncio.timeout(seconds):
                await self._writer.drain()
                return await answer
        except ConnectionError:
            self._fail(gone())
        except TimeoutError:
            answer.cancel()
            # A ping that times out is too little reason to cancel the answers that others wait for.
            if self._heard_at < started and request.kind is not Kind.PING:
                self._fail(_silent(seconds))
            raise _silent(seconds) from None
        # Whoever first saw why the connection broke has told all waiting callers.
        return await answer

    async def close(self) -> None:
        """Close; every waiting caller is told that the decoder is gone."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._fail(gone())

    def _next_number(self) -> int:
        while True:
            self._number = (self._number + 1) & 0xFFFFFFFF
            if self._number not in self._waiting:
                return self._number

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                size, number, kind = unpack_header(await reader.readexactly(HEADER_BYTES))
                if number not in self._waiting:
                    raise broken("answered a request that is not waiting")
                request, answer = self._waiting[number]
                done = await _read_answer(reader, kind, size, request)
                del self._waiting[number]
                self._heard_at = asyncio.get_running_loop().time()
                if answer.done():
                    continue
                if isinstance(done, DecodedRows):
                    answer.set_result(done)
                else:
                    answer.set_exception(done)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._fail(gone())
        except LabelcastError as error:
            logger.error("%s", error)  # noqa: TRY400 - one line says it all
            self._fail(error)

    def _fail(self, error: LabelcastError) -> None:
        self.closed = True
        # A peer that stopped reading must not keep the unsent bytes in memory.
        self._writer.transport.abort()
        waiting, self._waiting = self._waiting, {}
        for _, answer in waiting.values():
            if not answer.done():
                # One exception for each: several tasks must not share a traceback.
                answer.set_exception(type(error)(error.message, **error.facts))


async def _read_answer(
    reader: asyncio.StreamReader, kind: Kind, size: int, request: Request
) -> DecodedRows | Exception:
    if kind is Kind.ERROR and size <= MAX_ERROR_BYTES:
        told = await reader.readexactly(size)
        return unpack_error(told, crc32(request.body, crc32(request.subject)))
    if kind is Kind.MISSING and request.kind is Kind.DECODE and size == DIGEST_BYTES:
        if await reader.readexactly(size) != request.subject[:DIGEST_BYTES]:
            raise _wrong_subject()
        return CodecMissingError()
    if kind is not Kind.DONE or size != request.answer_bytes:
        raise broken("sent an answer of the wrong kind or length")
    if request.rows_crc32 is None:
        if await reader.readexactly(size) != request.subject:
            raise _wrong_subject()
        return DecodedRows(b"", 0)
    head = unpack_answer_head(await reader.readexactly(ANSWER_HEAD_BYTES))
    subject, rows_crc32, labels_crc32 = head
    labels = await reader.readexactly(request.label_bytes)
    if subject != request.subject or rows_crc32 != request.rows_crc32:
        raise _wrong_subject()
    if crc32(labels) != labels_crc32:
        raise broken("sent damaged labels")
    return DecodedRows(labels, labels_crc32)


def gone() -> ServiceUnavailableError:
    """The error when nobody is listening or the connection was closed."""
    return ServiceUnavailableError(
        "the decoder process is not running; it is being restarted, retry in a moment"
    )


def _silent(seconds: float) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"the decoder did not answer within {seconds:g} s: it is overloaded or hangs (a decoder"
        " that hangs is replaced within seconds); retry"
    )


def _wrong_subject() -> WrongSubjectError:
    return WrongSubjectError(
        "the decoder process answered for other rows than requested; the answer was dropped, retry"
    )
