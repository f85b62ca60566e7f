"""`AsyncLabelClient`: `LabelClient` over grpc.aio."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelcast import wire
from labelcast.label_set import BlobRef, Expectation, MissingViews
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.parts.label_set_parts import LabelSetFacts
from labelcast.remote.calls import (
    BlobParts,
    label_set_request,
    labels_request,
    read_label_set,
    read_labels,
    read_resolved,
    resolve_request,
)
from labelcast.remote.remote_label_set import AsyncRemoteLabelSet
from labelcast.remote.retry import DECISIVE, UNPROVEN
from labelcast.remote.session import Session
from labelcast.remote.streams.listed import StreamExchange
from labelcast.remote.streams.planned import PlanExchange
from labelcast.remote.streams.stalls import CHECKS, StallWatch, WatchedStream
from labelcast.remote.transport import RpcError, Transport
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views

Answer = TypeVar("Answer")


class AsyncLabelClient(Session):
    """Asynchronous client, for asyncio. Use it from one event loop per process."""

    _asynchronous = True

    async def open(
        self, reference: str, *, expect: Expectation | None = None
    ) -> AsyncRemoteLabelSet:
        """See `LabelClient.open`."""
        request = label_set_request(reference)
        manifest, report = await self._ask(
            "GetLabelSet", request, lambda reply: read_label_set(reply, reference, expect)
        )
        return AsyncRemoteLabelSet(self, manifest, report)

    async def read_blob(self, label_set: LabelSetFacts, ref: BlobRef) -> bytes:
        """See `LabelClient.read_blob`."""
        content = self._cached(ref)
        if content is None:
            parts = [part async for part in self.blob(label_set, ref)]
            content = self._accept_blob(ref, b"".join(parts))
        return content

    async def blob(self, label_set: LabelSetFacts, ref: BlobRef) -> AsyncIterator[bytes]:
        """See `LabelClient.blob`."""
        parts, retries = BlobParts(label_set, ref), self._retries()
        while not parts.done:
            server = await self._server()
            call = server.unary_stream("GetBlob")(parts.request(), metadata=server.metadata)
            watch = _Watch(call, parts, self._settings.reply_seconds)
            try:
                async for reply in watch.replies():
                    data = parts.accept(reply)
                    retries.progress()
                    yield data
                parts.finish()
            except RpcError as error:
                pause = retries.pause_after(self._translated(error, server.place), server.place)
            except UNPROVEN as error:
                pause = retries.pause_after(error, server.place, unproven=True)
            except asyncio.CancelledError:
                if not watch.stalled:
                    raise
                stalled = self._stalled(server.place, "bytes of a blob")
                pause = retries.pause_after(stalled, server.place)
            else:
                continue
            finally:
                call.cancel()
                await watch.stop()
            await asyncio.sleep(pause)

    async def resolve(
        self, label_set: LabelSetFacts, views: Views, missing: MissingViews
    ) -> tuple[Views, NDArray[np.int64]]:
        """See `LabelClient.resolve`."""
        request = resolve_request(label_set, views, missing)
        return await self._ask(
            "ResolveViews", request, lambda reply: read_resolved(reply, label_set, views, missing)
        )

    async def labels(
        self, label_set: LabelSetFacts, views: Views, representation: Representation
    ) -> DeliveredLabels:
        """See `LabelClient.labels`."""
        request = labels_request(label_set, views, representation)
        labels = await self._ask(
            "GetLabels",
            request,
            lambda reply: read_labels(reply, label_set, views, representation),
        )
        return self._telemetry.delivered(labels)

    def stream(
        self, label_set: LabelSetFacts, batches: Iterable[Views], representation: Representation
    ) -> AsyncIterator[DeliveredLabels]:
        """See `LabelClient.stream`."""
        return self._telemetry.over_async(self._stream(label_set, batches, representation))

    async def _stream(
        self, label_set: LabelSetFacts, batches: Iterable[Views], representation: Representation
    ) -> AsyncGenerator[DeliveredLabels]:
        exchange, retries = self._exchange(label_set, batches, representation), self._retries()
        while not exchange.done:
            watch: _Watch | None = None
            server = await self._server()
            try:
                async with self._call(server, exchange) as (watch, requests):
                    async for reply in watch.replies():
                        rows = wire.reply_rows(reply)
                        completed = list(exchange.accept(rows))
                        requests.look_again()
                        retries.progress()
                        for batch in completed:
                            yield batch
                exchange.finish()
            except RpcError as error:
                pause = retries.pause_after(self._translated(error, server.place), server.place)
            except UNPROVEN as error:
                pause = retries.pause_after(error, server.place, unproven=True)
            except asyncio.CancelledError:
                # The watch cancelled the call, or somebody the task.
                if watch is None or not watch.stalled:
                    raise
                pause = retries.pause_after(self._stalled(server.place, "rows"), server.place)
            else:
                continue
            await asyncio.sleep(pause)
            exchange.rewind()
        exchange.raise_failure()

    async def close(self) -> None:
        """See `LabelClient.close`."""
        for channel in self._servers.take_channels():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @contextlib.asynccontextmanager
    async def _call(
        self, server: Transport, exchange: StreamExchange | PlanExchange
    ) -> AsyncIterator["tuple[_Watch, _Requests | _OneRequest]"]:
        metadata = server.metadata
        requests: _Requests | _OneRequest
        if isinstance(exchange, PlanExchange):
            start = server.unary_stream("StreamPlan")
            call = start(exchange.request(), metadata=metadata)
            requests = _OneRequest()
        else:
            call = server.stream_stream("StreamLabels")(metadata=metadata)
            requests = _Requests(call, exchange)
        watch = _Watch(call, exchange, self._settings.reply_seconds)
        try:
            yield watch, requests
        finally:
            call.cancel()
            await watch.stop()
            await requests.stop()

    async def _ask(self, method: str, request: Any, read: Callable[[bytes], Answer]) -> Answer:
        attempts = self._attempts()
        while True:
            server = await self._server()
            try:
                reply = await server.unary(method)(
                    request, timeout=attempts.seconds_left, metadata=server.metadata
                )
                return read(reply)
            except RpcError as error:
                translated = self._translated(error, server.place)
                pause = attempts.pause_after(translated, server.place)
            except UNPROVEN as error:
                pause = attempts.pause_after(error, server.place, unproven=True)
            except DECISIVE as error:
                raise attempts.named(error, server.place) from None
            await asyncio.sleep(pause)

    async def _server(self) -> Transport:
        if self._servers.is_stale:
            # Looking names up must not hold the event loop up.
            await asyncio.to_thread(self._servers.look_up)
        return self._servers.current


class _Watch(StallWatch):
    """Cancels a call that stalls, from a task."""

    def __init__(self, call: Any, exchange: WatchedStream, seconds: float) -> None:
        super().__init__(exchange, seconds)
        self._call = call
        self._looking = asyncio.create_task(self._look())

    async def replies(self) -> AsyncIterator[bytes]:
        """The replies of the call."""
        self.waiting = True
        async for reply in self._call:
            self.waiting = False
            yield reply
            self.waiting = True

    async def stop(self) -> None:
        """Stop watching."""
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        while not self.look(time.monotonic()):  # noqa: ASYNC110 - that nothing happens is no event
            await asyncio.sleep(self._seconds / CHECKS)
        self._call.cancel()


class _Requests:
    """Request side of an asynchronous stream, in its own task.

    Replies must be read while requests are being written. Once requests exceed HTTP/2's window, a
    service that waits for its replies to be read would read no more of them.
    """

    def __init__(self, call: Any, exchange: StreamExchange) -> None:
        self._call = call
        self._exchange = exchange
        self._room = asyncio.Event()
        self._writing = asyncio.create_task(self._write())

    def look_again(self) -> None:
        """Rows have arrived: there may be room for another request."""
        self._room.set()

    async def stop(self) -> None:
        """Stop writing."""
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        # The reader of the replies learns why the call ended.
        with contextlib.suppress(RpcError, asyncio.InvalidStateError):
            await self._call.write(self._exchange.opening())
            while (request := await self._next()) is not None:
                await self._call.write(request)
            await self._call.done_writing()

    async def _next(self) -> pb.StreamLabelsRequest | None:
        while not self._exchange.has_room:
            self._room.clear()
            await self._room.wait()
        return self._exchange.next_request()


class _OneRequest:
    """Request side of a stream that has asked for everything at once."""

    def look_again(self) -> None:
        """Nothing is left to ask for."""

    async def stop(self) -> None:
        """Nothing is being written."""
