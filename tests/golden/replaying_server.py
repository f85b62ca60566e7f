"""A service that knows one conversation, and says what was said in it."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from labelcast import wire
from labelcast.remote.transport import SERVICE
from labelcast.v2 import labels_pb2 as pb
from tests.golden.conversation import (
    DETAILS,
    METHODS,
    STREAMS_REPLIES,
    STREAMS_REQUESTS,
    Call,
)


@contextmanager
def replaying_server(calls: list[Call]) -> Iterator[str]:
    """Its address.

    Args:
        calls: what it knows. The first request of a call tells which one it is, by what it says:
            later clients may spell it otherwise. What is said wrong, the client must find.
    """
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handlers = {method: _handler(method, calls) for method in METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _handler(method: str, calls: list[Call]) -> Any:
    known = [call for call in calls if call.method == method]

    def one_reply(request: bytes, context: grpc.ServicerContext) -> bytes:
        (reply,) = replies(request, context)
        return reply

    def replies(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        call = _found(known, request, context)
        yield from call.replies
        _end(call, context)

    def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        call = _found(known, next(requests), context)
        yield from _as_asked(call, requests)
        _end(call, context)

    if method in STREAMS_REQUESTS:
        return grpc.stream_stream_rpc_method_handler(stream)
    if method in STREAMS_REPLIES:
        return grpc.unary_stream_rpc_method_handler(replies)
    return grpc.unary_unary_rpc_method_handler(one_reply)


def _found(known: list[Call], request: bytes, context: grpc.ServicerContext) -> Call:
    found = [call for call in known if call.begins_with(request)]
    if not found:
        context.abort(grpc.StatusCode.UNKNOWN, "the conversation has no such request")
    return found[0]


def _as_asked(call: Call, requests: Iterator[bytes]) -> Iterator[bytes]:
    """Each reply once its rows were asked for: clients may cut their requests otherwise."""
    asked = 0
    for reply, parsed in zip(call.replies, call.parsed_replies, strict=True):
        while asked < parsed.rows.first_row + parsed.rows.count:
            request = pb.StreamLabelsRequest.FromString(next(requests))
            asked = request.first_row + len(wire.asked_from_proto(request))
        yield reply
    for _ in requests:
        raise AssertionError("more rows were asked for than there are")


def _end(call: Call, context: grpc.ServicerContext) -> None:
    if call.status is not None:
        context.set_trailing_metadata(((DETAILS, call.status.details),))
        context.abort(grpc.StatusCode[call.status.code], call.status.message)
