"""A worker's connection to the decoder process: every answer is checked against its request."""

import asyncio
import logging
from dataclasses import dataclass, replace
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
    with_place,
)
from labelcast_server.decoder.shared_memory import SharedMemory, Slot

logger = logging.getLogger("labelcast_server.decoder.client")

_BUFFER_BYTES = 2**20
_SHARE_SECONDS = 5.0
# Smaller answers cost less through the socket than in memory that other answers may need.
_SHARED_FROM_BYTES = 2**14


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """Labels as the decoder process sent them.

    Keep it until the labels are copied, then compare their CRC-32 and call `check`.

    Attributes:
        payload: N labels, each of the representation's stride.
        crc32: CRC-32 of the payload, as the decoder made it.
        slot: shared memory that holds the payload; None if it came through the socket.
    """

    payload: memoryview
    crc32: int
    slot: Slot | None = None

    def check(self) -> None:
        """Make sure that nobody has written to the labels since they were decoded.

        Raises:
            ServiceUnavailableError: somebody has, or was about to: what was read is worth nothing.
        """
        if self.slot is not None and not self.slot.intact:
            raise ServiceUnavailableError(
                "the memory of decoded labels was used again too early; the labels were dropped,"
                " retry in a moment"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """A request and what its answer must look like.

    Attributes:
        kind: LOAD, DECODE, PING or SHARE.
        subject: beginning of the payload, which the answer repeats.
        body: rest of the payload.
        rows_crc32: CRC-32 of the rows to decode; None for other requests.
        label_bytes: size of the expected labels; 0 for other requests.
        slot: shared memory for the labels; None for in the answer.
    """

    kind: Kind
    subject: bytes
    body: bytes = b""
    rows_crc32: int | None = None
    label_bytes: int = 0
    slot: Slot | None = None

    def into(self, slot: Slot | None) -> "Request":
        """The same request with the labels put into a slot."""
        if slot is None:
            return self
        return replace(self, subject=with_place(self.subject, slot.place), slot=slot)

    @property
    def size(self) -> int:
        """Size of the payload in bytes."""
        return len(self.subject) + len(self.body)

    @property
    def answer_bytes(self) -> int:
        """Size of the answer in bytes."""
        if self.rows_crc32 is None:
            return len(self.subject)
        return ANSWER_HEAD_BYTES + (self.label_bytes if self.slot is None else 0)


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
        self._memory: SharedMemory | None = None
        self.closed = False
        self._sharing = asyncio.create_task(self._share())

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
        if self._memory is not None and request.label_bytes >= _SHARED_FROM_BYTES:
            request = request.into(self._memory.take(request.label_bytes))
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
            # Others are too little reason to cancel the answers that callers wait for.
            if self._heard_at < started and request.kind in (Kind.LOAD, Kind.DECODE):
                self._fail(_silent(seconds))
            raise _silent(seconds) from None
        # Whoever first saw why the connection broke has told all waiting callers.
        return await answer

    async def _share(self) -> None:
        """Labels come through the socket until this is done, or if it fails."""
        try:
            memory = SharedMemory()
        except OSError as error:
            logger.warning("labels come through a socket: no shared memory (%s)", error)
            return
        try:
            await self.ask(Request(Kind.SHARE, memory.reference()), _SHARE_SECONDS)
            self._memory = memory
        except LabelcastError as error:
            logger.warning("labels come through a socket: %s", error)
        finally:
            memory.close_to_others()

    async def close(self) -> None:
        """Close; every waiting caller is told that the decoder is gone."""
        self._reading.cancel()
        self._sharing.cancel()
        await asyncio.gather(self._reading, self._sharing, return_exceptions=True)
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
        return DecodedRows(memoryview(b""), 0)
    head = unpack_answer_head(await reader.readexactly(ANSWER_HEAD_BYTES))
    subject, rows_crc32, labels_crc32 = head
    labels = b"" if request.slot else await reader.readexactly(request.label_bytes)
    if subject != request.subject or rows_crc32 != request.rows_crc32:
        raise _wrong_subject()
    if request.slot is not None:
        # Whoever copies them compares checksums, of the copy.
        decoded = DecodedRows(request.slot.labels, labels_crc32, request.slot)
        decoded.check()
        return decoded
    if crc32(labels) != labels_crc32:
        raise broken("sent damaged labels")
    return DecodedRows(memoryview(labels), labels_crc32)


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
