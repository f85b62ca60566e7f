"""The gRPC surface: messages in, use cases, messages out."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias, TypeVar

from labelcast import wire, wire_plan
from labelcast.errors import (
    InvalidRequestError,
    LostRequestError,
    OverloadedError,
)
from labelcast.representation import Form
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from labelcast_server.access.authorize import Action, Kind, Resource
from labelcast_server.access.caller import Caller
from labelcast_server.access.tokens import Tokens
from labelcast_server.delivery.block import Block
from labelcast_server.delivery.service import LabelService
from labelcast_server.error_catalog import publicise
from labelcast_server.rpc.malformed import Malformed, Once, taken, understood
from labelcast_server.rpc.status import Context, abort
from labelcast_server.telemetry.calls import EndOfCall
from labelcast_server.telemetry.metrics import BYTES, LABELS, OPEN_STREAMS

_MAX_REFERENCE = 200
# Views of a request that are checked on the event loop: a million of them take milliseconds.
_VIEWS_ON_THE_LOOP = 2**16

Request = TypeVar("Request")
Reply = TypeVar("Reply")
StreamRequest: TypeAlias = Once[pb.StreamLabelsRequest] | Malformed


class LabelServicer(labels_pb2_grpc.LabelServiceServicer):
    """Every method identifies its caller, translates, authorises and delegates.

    Args:
        service: the use cases.
        tokens: identify the caller.
        max_streams: label streams that may be open at once.
    """

    def __init__(self, service: LabelService, tokens: Tokens, *, max_streams: int) -> None:
        self._service = service
        self._tokens = tokens
        self._max_streams = max_streams
        self._streams = 0

    async def GetLabelSet(
        self, request: pb.GetLabelSetRequest, context: Context
    ) -> pb.GetLabelSetResponse:
        """Resolve a tag or digest."""
        return await self._call(context, self._get_label_set, request)

    async def GetBlob(
        self, request: pb.GetBlobRequest, context: Context
    ) -> AsyncIterator[pb.GetBlobResponse]:
        """Send a blob in pieces."""
        async for reply in self._stream(context, self._get_blob, request):
            yield reply

    async def ResolveViews(
        self, request: pb.ResolveViewsRequest, context: Context
    ) -> pb.ResolveViewsResponse:
        """Say which stored views the request means."""
        return await self._call(context, self._resolve_views, request)

    async def GetLabels(self, request: pb.GetLabelsRequest, context: Context) -> bytes:
        """Answer one batch: the bytes of a `GetLabelsResponse`."""
        return await self._call(context, self._get_labels, request)

    async def StreamLabels(
        self, request_iterator: AsyncIterator[StreamRequest], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer batch after batch, in order: the bytes of `StreamLabelsResponse`."""
        async for reply in self._stream(context, self._stream_labels, request_iterator):
            yield reply

    async def StreamPlan(
        self, request: pb.StreamPlanRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Answer the rows of a plan, in order: the bytes of `StreamLabelsResponse`."""
        async for reply in self._stream(context, self._stream_plan, request):
            yield reply

    async def _get_label_set(
        self, caller: Caller, request: pb.GetLabelSetRequest
    ) -> pb.GetLabelSetResponse:
        if not 1 <= len(request.reference) <= _MAX_REFERENCE:
            raise InvalidRequestError("name a label set by its tag or digest")
        _require_labels(caller, request.reference)
        known = await self._service.label_set(request.reference)
        return pb.GetLabelSetResponse(
            digest=known.digest,
            manifest=known.content,
            report=known.report,
            reference=request.reference,
        )

    async def _get_blob(
        self, caller: Caller, received: pb.GetBlobRequest | Malformed
    ) -> AsyncIterator[pb.GetBlobResponse]:
        request = understood(received)
        digest = wire.label_set_from_proto(request.label_set)
        _require_labels(caller, digest)
        known = await self._service.label_set(digest)
        ref, offset = known.blob_ref(request.blob), request.offset
        async for data in self._service.blob(digest, request.blob, offset):
            yield pb.GetBlobResponse(offset=offset, total_bytes=ref.size, data=data)
            offset += len(data)

    async def _resolve_views(
        self, caller: Caller, request: pb.ResolveViewsRequest
    ) -> pb.ResolveViewsResponse:
        digest = wire.label_set_from_proto(request.label_set)
        _require_labels(caller, digest)
        views = await asyncio.to_thread(wire.views_from_proto, request.views)
        missing = wire.missing_from_proto(request.missing)
        found, rows = await self._service.resolve(digest, views, missing)
        return await asyncio.to_thread(wire.resolved_to_proto, digest, missing, views, found, rows)

    async def _get_labels(self, caller: Caller, request: pb.GetLabelsRequest) -> bytes:
        representation = wire.representation_from_proto(request.representation)
        digest = wire.label_set_from_proto(request.label_set)
        _require_labels(caller, digest)
        views = await _asked(request)
        reader = await self._service.reader(digest, representation)
        row, num_bytes, parts = 0, 0, list[bytes]()
        for block in await reader.read_whole(views):
            parts.append(_reply(row, block))
            row += block.count
            num_bytes += len(block.payload)
        LABELS.labels(representation.form).inc(row)
        BYTES.labels(representation.form).inc(num_bytes)
        return b"".join(parts)

    async def _stream_labels(
        self, caller: Caller, requests: AsyncIterator[StreamRequest]
    ) -> AsyncIterator[bytes]:
        with self._one_more_stream():
            async for reply in self._answer_stream(caller, requests):
                yield reply

    async def _stream_plan(
        self, caller: Caller, received: pb.StreamPlanRequest | Malformed
    ) -> AsyncIterator[bytes]:
        request = understood(received)
        with self._one_more_stream():
            digest = wire.label_set_from_proto(request.label_set)
            _require_labels(caller, digest)
            representation = wire.representation_from_proto(request.representation)
            reader = await self._service.reader(digest, representation)
            stored = reader.label_set.stored
            asked = await asyncio.to_thread(wire_plan.asked_plan_from_proto, request, stored)
            async for reply in _replies(
                reader.read(_only(asked)), request.first_row, representation.form
            ):
                yield reply

    @contextlib.contextmanager
    def _one_more_stream(self) -> Iterator[None]:
        if self._streams >= self._max_streams:
            raise OverloadedError(
                f"this worker has {self._max_streams} label streams, which is its limit; retry in a"
                " moment, close streams that you do not read, or give the service more workers"
            )
        self._streams += 1
        OPEN_STREAMS.inc()
        try:
            yield
        finally:
            self._streams -= 1
            OPEN_STREAMS.dec()

    async def _answer_stream(
        self, caller: Caller, requests: AsyncIterator[StreamRequest]
    ) -> AsyncIterator[bytes]:
        # What gRPC gives is iterable, but no iterator.
        requests = aiter(requests)
        received = await anext(requests, None)
        if received is None:
            return
        opening = taken(received)
        if not opening.label_set and not opening.HasField("representation"):
            raise LostRequestError(
                "the message that opens a stream, with label set and representation, was lost on"
                " its way; open the stream again"
            )
        digest = wire.label_set_from_proto(opening.label_set)
        _require_labels(caller, digest)
        representation = wire.representation_from_proto(opening.representation)
        reader = await self._service.reader(digest, representation)
        blocks = reader.read(_asked_in_order(opening, requests))
        async for reply in _replies(blocks, opening.first_row, representation.form):
            yield reply

    async def _call(
        self,
        context: Context,
        method: Callable[[Caller, Request], Awaitable[Reply]],
        request: Request | Malformed,
    ) -> Reply:
        with EndOfCall(method.__name__) as end:
            try:
                caller = self._identify(context)
                reply = await method(caller, understood(request))
                caller.check()
                return reply
            except Exception as error:  # noqa: BLE001 - the boundary: nothing passes untranslated
                await abort(context, end.by(publicise(error)))

    async def _stream(
        self,
        context: Context,
        method: Callable[[Caller, Request], AsyncIterator[Reply]],
        request: Request,
    ) -> AsyncIterator[Reply]:
        # Interceptors of grpc.aio do not see what a streaming handler raises, so this is the place.
        with EndOfCall(method.__name__) as end:
            try:
                caller = self._identify(context)
                async for reply in method(caller, request):
                    caller.check()
                    yield reply
            except Exception as error:  # noqa: BLE001 - as above
                await abort(context, end.by(publicise(error)))

    def _identify(self, context: Context) -> Caller:
        given = dict(context.invocation_metadata() or ()).get("authorization")
        return Caller(self._tokens.identify(given if isinstance(given, str) else None))


def _require_labels(caller: Caller, reference: str) -> None:
    caller.require(Action.READ_LABELS, Resource(Kind.LABEL_SET, reference))


async def _asked_in_order(
    opening: pb.StreamLabelsRequest, requests: AsyncIterator[StreamRequest]
) -> AsyncIterator[wire.AskedViews | wire.AskedSpans]:
    """What a stream asks for, request after request.

    Raises:
        LostRequestError: a request is not the next one.
        InvalidRequestError: a request is malformed, or names a label set again.
    """
    request, row = opening, opening.first_row
    while True:
        if request.first_row != row:
            raise LostRequestError(
                f"the request begins with row {request.first_row}, the next is row {row}: one was"
                " lost on its way, or came twice; open the stream again"
            )
        if request.WhichOneof("ask") is not None:
            views = await _asked(request)
            row += len(views)
            # Until their labels are sent, the columns need be in memory once only.
            del request
            yield views
        received = await anext(requests, None)
        if received is None:
            return
        request = taken(received)
        del received
        if request.label_set or request.HasField("representation"):
            raise InvalidRequestError("only the first message of a stream may name a label set")


async def _replies(
    blocks: AsyncGenerator[Block, None], first_row: int, form: Form
) -> AsyncIterator[bytes]:
    row, labels, sent_bytes = first_row, LABELS.labels(form), BYTES.labels(form)
    async with contextlib.aclosing(blocks):
        async for block in blocks:
            reply = _reply(row, block)
            row += block.count
            labels.inc(block.count)
            sent_bytes.inc(len(block.payload))
            # A reply that nobody reads stays; its labels need not stay twice.
            del block
            yield reply


async def _only(asked: wire_plan.AskedPlan) -> AsyncIterator[wire_plan.AskedPlan]:
    yield asked


async def _asked(
    request: pb.GetLabelsRequest | pb.StreamLabelsRequest,
) -> wire.AskedViews | wire.AskedSpans:
    if max(request.views.count, request.spans.count) > _VIEWS_ON_THE_LOOP:
        return await asyncio.to_thread(wire.asked_from_proto, request)
    return wire.asked_from_proto(request)


def _reply(first_row: int, block: Block) -> bytes:
    return wire.reply_of_rows(
        first_row,
        block.count,
        block.payload,
        payload_crc32=block.payload_crc32,
        subject_crc32=block.subject_crc32,
    )
