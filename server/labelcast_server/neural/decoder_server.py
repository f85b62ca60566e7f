"""The decoder process, fed by every I/O worker."""

import asyncio
import concurrent.futures
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from labelcast.codec import CodecHeader, Rows
from labelcast.errors import LabelcastError
from labelcast.label_set import check_digest
from labelcast.representation import Representation
from labelcast.torch.decoding import TorchDecoder, load_decoder
from labelcast_server.decoding import (
    HEADER,
    MAX_FRAME_BYTES,
    Kind,
    encode_error,
    split_decode_request,
    split_request,
)
from labelcast_server.error_catalog import publicise
from labelcast_server.neural.presentation import present

# Above this a device is busy anyway, and the first stream in the batch would only wait longer.
_BATCH_ROWS = 8192
_LOADED_CODECS = 16


@dataclass(frozen=True, eq=False, slots=True)
class _Job:
    decoder: TorchDecoder
    representation: Representation
    rows: Rows
    answer: asyncio.Future[bytes]


class DecoderServer:
    """Decodes rows of many streams in micro-batches: whatever has gathered while it was busy.

    Args:
        device: torch device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._decoders: OrderedDict[str, TorchDecoder] = OrderedDict()
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(maxsize=256)
        self._postponed: _Job | None = None
        self._connections: set[asyncio.Task[None]] = set()
        # One thread: the device is one, and the event loop stays free to read.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "decoder")

    async def serve(self, socket_path: Path, ready: asyncio.Event) -> None:
        """Listen until cancelled."""
        server = await asyncio.start_unix_server(self._connection, str(socket_path))
        ready.set()
        try:
            await self._work()
        finally:
            server.close()
            # Nobody works on what they ask from here on: they must learn that at once.
            for connection in self._connections:
                connection.cancel()

    async def probe(self) -> None:
        """Return once the thread and the device that decode have done something."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._touch)

    def _touch(self) -> None:
        torch.ones(1, device=self._device).sum().item()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering: set[asyncio.Task[None]] = set()
        own = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections.add(own)
        try:
            while True:
                size, number, kind = HEADER.unpack(await reader.readexactly(HEADER.size))
                if size > MAX_FRAME_BYTES:
                    return
                payload = await reader.readexactly(size)
                task = asyncio.create_task(self._answer(writer, number, kind, payload))
                answering.add(task)
                task.add_done_callback(answering.discard)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Cancelled only when the process ends: asyncio would log that as an error.
            return
        finally:
            self._connections.discard(own)
            for task in answering:
                task.cancel()
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, number: int, kind: int, payload: bytes
    ) -> None:
        try:
            reply = await self._handle(kind, payload)
            answer = Kind.MISSING if reply is None else Kind.DONE
        except Exception as error:  # noqa: BLE001 - one bad request must not end the process
            reply, answer = encode_error(publicise(error)), Kind.ERROR
        writer.write(HEADER.pack(len(reply or b""), number, answer))
        writer.write(reply or b"")
        await writer.drain()

    async def _handle(self, kind: int, payload: bytes) -> bytes | None:
        if kind == Kind.PING:
            await self.probe()
            return b""
        codec, rest = split_request(payload)
        if kind == Kind.LOAD:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._load, codec, rest)
            return b""
        representation, packed = split_decode_request(rest)
        decoder = self._decoders.get(codec)
        if decoder is None:
            return None
        self._decoders.move_to_end(codec)
        stride = decoder.row_stride + decoder.context_stride
        rows = np.frombuffer(packed, dtype=np.uint8).reshape(-1, stride)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        await self._jobs.put(_Job(decoder, representation, rows, answer))
        return await answer

    def _load(self, codec: str, artifact: bytes) -> None:
        check_digest(artifact, codec, "the codec artifact")
        self._decoders[codec] = load_decoder(artifact, self._device)
        self._decoders.move_to_end(codec)
        while len(self._decoders) > _LOADED_CODECS:
            self._decoders.popitem(last=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._gather()
            try:
                replies = await loop.run_in_executor(self._thread, self._decode, jobs)
            except Exception as error:  # noqa: BLE001 - reported to those who asked
                if len(jobs) > 1 and isinstance(error, LabelcastError):
                    # One stream's bad rows are not the others' fault.
                    await self._decode_singly(jobs)
                else:
                    _fail(jobs, error)
                continue
            for job, reply in zip(jobs, replies, strict=True):
                if not job.answer.done():
                    job.answer.set_result(reply)

    async def _gather(self) -> list[_Job]:
        first = self._postponed or await self._jobs.get()
        self._postponed = None
        jobs, rows = [first], len(first.rows)
        while rows < _BATCH_ROWS and not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job.decoder is not first.decoder or job.representation != first.representation:
                self._postponed = job
                break
            jobs.append(job)
            rows += len(job.rows)
        return jobs

    async def _decode_singly(self, jobs: list[_Job]) -> None:
        loop = asyncio.get_running_loop()
        for job in jobs:
            try:
                (reply,) = await loop.run_in_executor(self._thread, self._decode, [job])
            except Exception as error:  # noqa: BLE001 - reported to whoever asked
                _fail([job], error)
            else:
                if not job.answer.done():
                    job.answer.set_result(reply)

    def _decode(self, jobs: list[_Job]) -> list[bytes]:
        decoder = jobs[0].decoder
        header: CodecHeader = decoder.header
        representation = jobs[0].representation
        representation.check(header)
        rows = torch.from_numpy(np.concatenate([job.rows for job in jobs])).to(self._device)
        codes, context = rows[:, : decoder.row_stride], rows[:, decoder.row_stride :]
        labels = decoder.decode(codes, context if decoder.context_stride else None)
        delivered = present(labels, representation, header).cpu().numpy()
        ends = np.cumsum([len(job.rows) for job in jobs])[:-1]
        return [part.tobytes() for part in np.split(delivered, ends)]


def _fail(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(error)
