"""The decoder process, which serves every I/O worker."""

import asyncio
import concurrent.futures
import contextlib
import mmap
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from labelcast.checksums import crc32
from labelcast.codec import Rows
from labelcast.errors import (
    CodecFormatError,
    InternalServiceError,
    InvalidRequestError,
    LabelcastError,
    NetworkError,
)
from labelcast.identifiers import Digest
from labelcast.label_set import digest_of
from labelcast.label_set.digests import require_digest
from labelcast.representation import Form
from labelcast.torch.decoding import load_decoder
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.decoder.fair_queue import FairQueue, Part
from labelcast_server.decoder.heads import HeadFiles, decoder_key
from labelcast_server.decoder.jobs import Group, Job, Loaded, decode, keep
from labelcast_server.decoder.landing import TURNS_AT_ONCE, landing_for
from labelcast_server.decoder.probe import DeviceProbe
from labelcast_server.decoder.protocol import (
    DIGEST_BYTES,
    HEADER_BYTES,
    MAX_LOAD_BYTES,
    MAX_REFERENCE_BYTES,
    MAX_ROWS_BYTES,
    NO_PLACE,
    PING_BYTES,
    SUBJECT_BYTES,
    Kind,
    Place,
    pack_error,
    pack_header,
    unpack_header,
    unpack_load,
    unpack_subject,
)
from labelcast_server.decoder.shared_memory import Slot, open_shared
from labelcast_server.error_catalog import publicise
from labelcast_server.telemetry.metrics import QUEUED_UNITS, TURN_ROWS

_LOADED_CODECS = 16
# Of all heads together, beside the one that is used: each may have a gigabyte.
_HELD_HEAD_BYTES = 2**31
_BUFFER_BYTES = 2**20
# Requests that wait and answers that have not been read yet. Above it, no further request is read;
# a worker keeps far less in flight for one codec.
_HELD_BYTES = 2**29
_HELD_ARTIFACT_BYTES = 2**29
_LIMITS = {
    Kind.LOAD: MAX_LOAD_BYTES,
    Kind.DECODE: MAX_ROWS_BYTES,
    Kind.PING: PING_BYTES,
    Kind.SHARE: MAX_REFERENCE_BYTES,
}
# The part of a request that its answer repeats.
_SUBJECTS = {
    Kind.LOAD: DIGEST_BYTES,
    Kind.DECODE: SUBJECT_BYTES,
    Kind.PING: PING_BYTES,
    Kind.SHARE: MAX_REFERENCE_BYTES,
}


@dataclass(frozen=True, slots=True)
class _Request:
    """A frame that was read whole, and how much of which budget it holds."""

    kind: Kind
    number: int
    subject: bytes
    body: bytes
    budget: ByteBudget
    held: int

    def give_back(self, _: object) -> None:
        """Release its budget once it is answered."""
        self.budget.give(self.held)


@dataclass(slots=True)
class _Worker:
    """The other end of a connection.

    Attributes:
        writer: writing end of the socket.
        memory: memory that it shares; None if it shares none, or none that is found here.
    """

    writer: asyncio.StreamWriter
    memory: mmap.mmap | None = None

    def share(self, reference: bytes) -> None:
        """Map the memory that the worker made for this connection.

        Raises:
            InvalidRequestError: it is not found here.
        """
        try:
            self.memory = open_shared(reference)
        except (OSError, ValueError) as error:
            raise InvalidRequestError(f"no memory is shared: {error}") from None

    def slot(self, place: Place, size: int) -> Slot | None:
        """Where the worker wants its labels; None for in the answer.

        Raises:
            InvalidRequestError: outside the shared memory.
        """
        if place == NO_PLACE:
            return None
        if self.memory is not None:
            with contextlib.suppress(ValueError):
                return Slot.written(self.memory, place, size)
        raise InvalidRequestError(f"no slot of {size} bytes is shared at {place.offset}")


class DecoderServer:
    """Decodes rows of many streams in micro-batches: whatever arrived while it was busy.

    Args:
        device: torch device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._probe = DeviceProbe(device)
        self._probes = Group(
            digest_of(b"probe"), self._probe.representation, Loaded(self._probe.decoder)
        )
        self._loaded: OrderedDict[Digest, Loaded] = OrderedDict()
        self._queue: FairQueue[Group, Job] = FairQueue()
        self._held = ByteBudget(_HELD_BYTES)
        self._held_artifacts = ByteBudget(_HELD_ARTIFACT_BYTES)
        self._connections: set[asyncio.Task[None]] = set()
        # One thread: there is one device, and the event loop stays free to read.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "decoder")
        # Another thread gives jobs their labels: the device goes on with the next turn meanwhile.
        self._keeper = concurrent.futures.ThreadPoolExecutor(1, "keeper")
        self._landing = landing_for(device)
        self._turns = asyncio.Semaphore(TURNS_AT_ONCE)
        self._keeping: set[asyncio.Task[None]] = set()
        # Another thread for codecs: proving one takes seconds, and decoding must go on meanwhile.
        self._loader = concurrent.futures.ThreadPoolExecutor(1, "loader")

    async def serve(self, socket_path: Path, ready: asyncio.Event) -> None:
        """Listen until cancelled."""
        server = await asyncio.start_unix_server(
            self._connection, str(socket_path), limit=_BUFFER_BYTES
        )
        ready.set()
        try:
            await self._work()
        finally:
            server.close()
            # Requests sent from here on are never answered: their workers must learn that at once.
            for connection in self._connections:
                connection.cancel()

    async def probe(self) -> None:
        """Return once known labels have decoded, on the thread and device that decode all labels.

        Raises:
            InternalServiceError: they came out wrong.
        """
        job = Job(self._probes, self._probe.rows)
        # It waits for one turn of others at most.
        await self._finish(job, next_in_turn=True)
        if job.labels != self._probe.labels:
            raise InternalServiceError(
                "the device of the decoder computes wrong labels; the decoder is being restarted"
            )

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering: set[asyncio.Task[None]] = set()
        worker = _Worker(writer)
        own = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections.add(own)
        try:
            while True:
                request = await self._read(reader)
                task = asyncio.create_task(self._answer(worker, request))
                answering.add(task)
                task.add_done_callback(answering.discard)
                # Even if it is cancelled before it has begun.
                task.add_done_callback(request.give_back)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Cancelled only when the process ends: asyncio would log that as an error.
            return
        except NetworkError:
            # Damaged: the worker notices when the connection ends.
            return
        finally:
            self._connections.discard(own)
            for task in answering:
                task.cancel()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> _Request:
        size, number, kind = unpack_header(await reader.readexactly(HEADER_BYTES))
        if size > _LIMITS.get(kind, 0):
            raise NetworkError(f"a frame of {size} bytes")
        subject = await reader.readexactly(min(size, _SUBJECTS[kind]))
        budget = self._held_artifacts if kind is Kind.LOAD else self._held
        held = size + (self._answer_bytes(subject, size) if kind is Kind.DECODE else 0)
        await budget.take(held)
        try:
            body = await reader.readexactly(size - len(subject))
        except BaseException:
            budget.give(held)
            raise
        return _Request(kind, number, subject, body, budget, held)

    def _answer_bytes(self, subject: bytes, size: int) -> int:
        """Size of the answer in bytes; 0 if it is negligible."""
        try:
            codec, representation, _ = unpack_subject(subject)
            loaded = self._loaded[codec]
            count = (size - len(subject)) // loaded.stride
            expected = loaded.label_bytes(representation, count)
        except Exception:  # noqa: BLE001 - found again, and reported, where it is answered
            return 0
        return expected if expected <= MAX_ROWS_BYTES else 0

    async def _answer(self, worker: _Worker, request: _Request) -> None:
        writer, labels = worker.writer, memoryview(b"")
        try:
            kind, head, labels = await self._handle(worker, request)
        except Exception as error:  # noqa: BLE001 - one bad request must not end the process
            about = crc32(request.body, crc32(request.subject))
            kind, head = Kind.ERROR, pack_error(publicise(error), about)
        # No await in between: answers to other requests go through the same socket.
        writer.write(pack_header(len(head) + len(labels), request.number, kind) + head)
        writer.write(labels)
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def _handle(self, worker: _Worker, request: _Request) -> tuple[Kind, bytes, memoryview]:
        nothing = memoryview(b"")
        if request.kind is Kind.SHARE:
            worker.share(request.subject)
            return Kind.DONE, request.subject, nothing
        if request.kind is Kind.PING:
            if len(request.subject) != PING_BYTES:
                raise InvalidRequestError(f"a ping has {PING_BYTES} bytes")
            await self.probe()
            return Kind.DONE, request.subject, nothing
        if request.kind is Kind.LOAD:
            codec = request.subject.decode("ascii")
            await self._load(codec, request.body)
            return Kind.DONE, request.subject, nothing
        codec, representation, place = unpack_subject(request.subject)
        loaded = self._loaded.get(codec)
        if loaded is None:
            return Kind.MISSING, codec.encode("ascii"), nothing
        self._loaded.move_to_end(codec)
        group = Group(codec, representation, loaded)
        rows = self._rows(group, request.body)
        slot = worker.slot(place, loaded.label_bytes(representation, len(rows)))
        job = Job(group, rows, slot)
        await self._finish(job)
        return Kind.DONE, job.answer_head(), job.labels if slot is None else nothing

    def _rows(self, group: Group, body: bytes) -> Rows:
        loaded, representation = group.loaded, group.representation
        if len(body) % loaded.stride or representation.form is Form.CODES:
            raise CodecFormatError(f"{len(body)} bytes are no rows of {loaded.stride} bytes each")
        rows = np.frombuffer(body, dtype=np.uint8).reshape(-1, loaded.stride)
        label_bytes = loaded.label_bytes(representation, len(rows))
        if label_bytes > MAX_ROWS_BYTES:
            raise InvalidRequestError(f"{label_bytes} bytes of labels are too many for one answer")
        representation.check(loaded.decoder.header)
        return rows

    async def _finish(self, job: Job, *, next_in_turn: bool = False) -> None:
        if not job.count:
            return
        self._queue.put(job.group, job, next_in_turn=next_in_turn)
        QUEUED_UNITS.set(len(self._queue))
        try:
            await job.done
        except asyncio.CancelledError:
            self._queue.drop(job.group, job)
            QUEUED_UNITS.set(len(self._queue))
            raise

    async def _load(self, key: str, body: bytes) -> None:
        def load() -> tuple[Digest, Loaded | None]:
            files, artifact = unpack_load(body)
            where = HeadFiles.from_bytes(files) if files else None
            found = decoder_key(digest_of(artifact), None if where is None else where.spec)
            digest = require_digest(found, key, "the codec artifact")
            # Another worker may have sent it a moment ago.
            if digest in self._loaded:
                return digest, None
            head = None if where is None else where.read()
            return digest, Loaded.of(load_decoder(artifact, self._device, head=head), head)

        digest, loaded = await asyncio.get_running_loop().run_in_executor(self._loader, load)
        if loaded is not None:
            self._loaded[digest] = loaded
        if digest in self._loaded:
            self._loaded.move_to_end(digest)
        while self._holds_too_much():
            self._loaded.popitem(last=False)

    def _holds_too_much(self) -> bool:
        if len(self._loaded) > _LOADED_CODECS:
            return True
        heads = sum(loaded.head_bytes for loaded in self._loaded.values())
        return len(self._loaded) > 1 and heads > _HELD_HEAD_BYTES

    async def _work(self) -> None:
        while True:
            group = await self._queue.wait()
            pace = group.loaded.pace(group.representation)
            parts = self._queue.take(group, pace.rows)
            QUEUED_UNITS.set(len(self._queue))
            rows = sum(part.count for part in parts)
            TURN_ROWS.observe(rows)
            started = time.monotonic()
            await self._decode(parts)
            pace.note(rows, time.monotonic() - started)

    async def _decode(self, parts: list[Part[Job]]) -> None:
        loop = asyncio.get_running_loop()
        await self._turns.acquire()
        try:
            decoded = await loop.run_in_executor(self._thread, decode, parts, self._landing)
        except Exception as error:  # noqa: BLE001 - reported to the callers
            self._turns.release()
            if len(parts) > 1 and isinstance(error, LabelcastError):
                # Bad rows of one stream must not fail the others.
                for part in parts:
                    await self._decode([part])
                return
            for part in parts:
                self._queue.drop(part.job.group, part.job)
                if not part.job.done.done():
                    part.job.done.set_exception(error)
            return
        keeping = asyncio.create_task(self._keep(parts, *decoded))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)

    async def _keep(self, parts: list[Part[Job]], rows: Rows, labels: Rows) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._keeper, keep, parts, rows, labels)
        finally:
            self._turns.release()
        for part in parts:
            if part.stop == part.job.count and not part.job.done.done():
                part.job.done.set_result(None)
