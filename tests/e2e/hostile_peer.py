"""A peer between a client and a service that passes messages on, and tampers with some of them.

It knows no schema: what becomes of a message is for `tampering`.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from labelcast.remote.transport import SERVICE

Messages: TypeAlias = Iterator[bytes]
Tamper: TypeAlias = Callable[[Messages], Messages]
"""Takes the messages of a call from the chosen one on; gives what is passed on instead."""

_UNARY = ("GetLabelSet", "GetLabels", "ResolveViews")
_OPTIONS = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 64 * 2**20))


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        method: in which calls.
        direction: "requests" or "replies".
        at: number of the message within its call.
        tamper: what becomes of it and those that follow.
        always: in every call; otherwise in the first one alone.
    """

    method: str
    direction: str
    at: int
    tamper: Tamper
    always: bool = False


class HostilePeer:
    """Forwards every method of the service.

    Args:
        target: host:port of the service.
        fault: what goes wrong.
        knows_plans: False for a service of before plans.

    Attributes:
        faults: how often it has gone wrong.
        passed: all messages as they were passed on: one list for each call of the fault's method.
    """

    def __init__(self, target: str, fault: Fault, *, knows_plans: bool) -> None:
        self._fault = fault
        self.faults = 0
        self.passed: dict[str, list[list[bytes]]] = {"requests": [], "replies": []}
        self._channel: Any = grpc.insecure_channel(target, options=_OPTIONS)
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=_OPTIONS)
        handlers: dict[str, Any] = {
            # As streams, which may end well without their message.
            name: grpc.unary_stream_rpc_method_handler(self._unary(name))
            for name in _UNARY
        }
        handlers["GetBlob"] = grpc.unary_stream_rpc_method_handler(self._replies("GetBlob"))
        if knows_plans:
            answer_plan = self._replies("StreamPlan")
            handlers["StreamPlan"] = grpc.unary_stream_rpc_method_handler(answer_plan)
        handlers["StreamLabels"] = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    @property
    def calls(self) -> int:
        """Calls of the fault's method."""
        return len(self.passed["replies"])

    def close(self) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def _unary(self, method: str) -> Callable[[bytes, grpc.ServicerContext], Messages]:
        def handle(request: bytes, context: grpc.ServicerContext) -> Messages:
            requests, replies = self._passing(method)
            ask = self._channel.stream_unary(f"/{SERVICE}/{method}")
            with _status_passed_on(context):
                reply: bytes = ask(requests(iter([request])))
            yield from replies(iter([reply]))

        return handle

    def _replies(self, method: str) -> Callable[[bytes, grpc.ServicerContext], Messages]:
        def handle(request: bytes, context: grpc.ServicerContext) -> Messages:
            requests, replies = self._passing(method)
            (sent,) = requests(iter([request]))
            call = self._channel.unary_stream(f"/{SERVICE}/{method}")(sent)
            yield from self._answer(call, replies, context)

        return handle

    def _stream(self, request_iterator: Messages, context: grpc.ServicerContext) -> Messages:
        requests, replies = self._passing("StreamLabels")
        call = self._channel.stream_stream(f"/{SERVICE}/StreamLabels")(
            requests(_until_gone(request_iterator))
        )
        yield from self._answer(call, replies, context)

    def _answer(self, call: Any, replies: Tamper, context: grpc.ServicerContext) -> Messages:
        context.add_callback(call.cancel)
        with _status_passed_on(context):
            yield from replies(call)

    def _passing(self, method: str) -> tuple[Tamper, Tamper]:
        """How requests and replies of a new call are passed on."""
        if method != self._fault.method:
            return iter, iter
        return self._kept("requests"), self._kept("replies")

    def _kept(self, direction: str) -> Tamper:
        kept: list[bytes] = []
        self.passed[direction].append(kept)

        def pass_on(messages: Messages) -> Messages:
            for message in self._tampered(direction, messages):
                kept.append(message)
                yield message

        return pass_on

    def _tampered(self, direction: str, messages: Messages) -> Messages:
        fault = self._fault
        if fault.direction != direction or (self.faults and not fault.always):
            yield from messages
            return
        yield from itertools.islice(messages, fault.at)
        for chosen in itertools.islice(messages, 1):
            self.faults += 1
            yield from fault.tamper(itertools.chain([chosen], messages))


@contextlib.contextmanager
def hostile_peer(target: str, fault: Fault, *, knows_plans: bool = True) -> Iterator[HostilePeer]:
    peer = HostilePeer(target, fault, knows_plans=knows_plans)
    try:
        yield peer
    finally:
        peer.close()


def _until_gone(requests: Messages) -> Messages:
    """Requests until the client leaves, which gRPC reports as a bare error."""
    with contextlib.suppress(grpc.RpcError):
        yield from requests


@contextlib.contextmanager
def _status_passed_on(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        call: Any = error
        context.set_trailing_metadata(call.trailing_metadata() or ())
        context.abort(call.code(), call.details())
