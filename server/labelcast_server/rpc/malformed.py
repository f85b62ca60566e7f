"""Requests that cannot be parsed.

By default gRPC answers them with INTERNAL or UNKNOWN, logs a traceback, and checks no token. Here
they reach the handler like any other request, and are refused in the same place.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError

from labelcast.errors import InvalidRequestError
from labelcast_server.rpc.status import abort

Request = TypeVar("Request")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class Malformed:
    """Stands for a request that could not be parsed.

    Args:
        num_bytes: size of the request.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes


def understood(request: Request | Malformed) -> Request:
    """Return the request if it could be parsed.

    Raises:
        InvalidRequestError: it could not be parsed.
    """
    if isinstance(request, Malformed):
        raise InvalidRequestError(
            f"{request.num_bytes} bytes are no request of this method; compare versions"
        )
    return request


class MalformedRequests(grpc.aio.ServerInterceptor):
    """Passes requests that cannot be parsed on to their handlers.

    Args:
        service: service whose handlers call `understood` themselves, after checking the token; for
            all others (health, reflection) it is called here.
    """

    def __init__(self, service: str) -> None:
        self._own = f"/{service}/"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the deserialiser of a handler, and the handler if it belongs to another service."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler  # type: ignore[no-any-return]
        changes = {"request_deserializer": _tolerant(handler.request_deserializer)}
        if not str(handler_call_details.method).startswith(self._own):
            changes |= _guarded(handler)
        return handler._replace(**changes)  # type: ignore[no-any-return]


def _tolerant(deserialise: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        try:
            return deserialise(content)
        except DecodeError:
            return Malformed(len(content))

    return read


def _guarded(handler: Any) -> dict[str, Callable[..., Any]]:
    async def checked(request: Any, context: Any) -> Any:
        try:
            return understood(request)
        except InvalidRequestError as error:
            await abort(context, error)

    async def each(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield await checked(request, context)

    async def unary_unary(request: Any, context: Any) -> Any:
        return await handler.unary_unary(await checked(request, context), context)

    async def unary_stream(request: Any, context: Any) -> Any:
        # grpcio-health-checking writes to the context and returns None.
        return await handler.unary_stream(await checked(request, context), context)

    async def stream_stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for reply in handler.stream_stream(each(requests, context), context):
            yield reply

    wrappers: dict[str, Callable[..., Any]] = {
        "unary_unary": unary_unary,
        "unary_stream": unary_stream,
        "stream_stream": stream_stream,
    }
    return {name: made for name, made in wrappers.items() if getattr(handler, name) is not None}
