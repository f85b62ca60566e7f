"""Requests that cannot be parsed.

By default gRPC answers them with INTERNAL or UNKNOWN, logs a traceback, and checks no token. Here
they reach the handler like any other request, and are refused in the same place.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeAlias, TypeVar

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


class Once(Generic[Request]):
    """A request of a stream, which can be taken once.

    gRPC keeps each one until it has read the next: a stream would hold what it asks for twice.

    Args:
        request: the request.
    """

    def __init__(self, request: Request) -> None:
        self._request = [request]

    def take(self) -> Request:
        """Take the request."""
        return self._request.pop()


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


def taken(received: Once[Request] | Malformed) -> Request:
    """Take a request of a stream if it could be parsed.

    Raises:
        InvalidRequestError: it could not be parsed.
    """
    return understood(received if isinstance(received, Malformed) else received.take())


class MalformedRequests(grpc.aio.ServerInterceptor):
    """Passes requests that cannot be parsed on to their handlers.

    Args:
        service: service whose handlers call `understood`, or `taken` for each request of a stream,
            themselves, after checking the token; for all others (health, reflection) it is called
            here.
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
        read = _tolerant(handler.request_deserializer)
        if not str(handler_call_details.method).startswith(self._own):
            changes = {"request_deserializer": read, **_guarded(handler)}
        else:
            changes = {"request_deserializer": _once(read) if handler.request_streaming else read}
        return handler._replace(**changes)  # type: ignore[no-any-return]


def _tolerant(deserialise: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        try:
            return deserialise(content)
        except DecodeError:
            return Malformed(len(content))

    return read


def _once(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read_once(content: bytes) -> Any:
        request = read(content)
        return request if isinstance(request, Malformed) else Once(request)

    return read_once


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
