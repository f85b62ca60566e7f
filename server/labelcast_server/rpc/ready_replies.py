"""Replies that a handler has serialised itself.

A message with labels, copied from object to object, held what it carries three times over.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class ReadyReplies(grpc.aio.ServerInterceptor):
    """Lets the handlers of a service answer with messages or with their bytes.

    Args:
        service: name of the service.
    """

    def __init__(self, service: str) -> None:
        self._own = f"/{service}/"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the serialiser of a handler."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or not str(handler_call_details.method).startswith(self._own):
            return handler  # type: ignore[no-any-return]
        return handler._replace(response_serializer=_content)  # type: ignore[no-any-return]


def _content(reply: Any) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
