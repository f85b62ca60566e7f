"""Channels, deadlines and the translation of statuses: the client's only contact with gRPC."""

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from labelcast.errors import (
    DeadlineExceededError,
    InternalServiceError,
    LabelcastError,
    ProtocolError,
    ServiceUnavailableError,
    error_from_reason,
)
from labelcast.network.forks import note_channel, refuse_forked
from labelcast.network.grpc_channel import open_channel
from labelcast.network.keepalive import CLIENT_OPTIONS
from labelcast.network.places import Place
from labelcast.network.proxies import grpc_proxy
from labelcast.network.tls import Tls
from labelcast.network.tls_failures import closed_early, tls_error

ERROR_DOMAIN = "labelcast"
# Without a `reason` from the service, these come from gRPC or the network in between: the link
# broke, was reset, or grpc.aio was writing a message just when the call ended.
_BROKEN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)
_DETAILS_KEY = "grpc-status-details-bin"
SERVICE = "labelcast.v2.LabelService"
_FRAME_BYTES = 5  # gRPC puts a flag and a length before every message.
_MAX_RECEIVE_BYTES = 64 * 2**20

_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
    # gRPC's replay of a stream loses requests, by a retry policy or, when a peer drains with
    # GOAWAY, without one: the next peer then answers under the wrong row numbers. We repeat
    # calls ourselves (`remote.retry`).
    ("grpc.enable_retries", 0),
    *CLIENT_OPTIONS,
    # A service that comes back is found at once, not after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    # How long one attempt to connect may take, by its other meaning.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass
class WireBytes:
    """Bytes of gRPC messages with their frames, without HTTP/2 and TCP headers.

    Attributes:
        sent: bytes sent by this client.
        received: bytes received by this client.
    """

    sent: int = 0
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, sent: int = 0, received: int = 0) -> None:
        """Count messages; gRPC serialises on its own threads."""
        with self._lock:
            self.sent += sent
            self.received += received

    @property
    def total(self) -> int:
        """Both directions."""
        return self.sent + self.received


class Transport:
    """One lazily opened channel to one server.

    Args:
        place: where the server is.
        token: bearer token, or None.
        tls: how the server is checked; None for plain text.
        asynchronous: whether to use grpc.aio.
        wire_bytes: counts what is sent and received.
    """

    def __init__(
        self,
        place: Place,
        token: str | None,
        *,
        tls: Tls | None,
        asynchronous: bool,
        wire_bytes: WireBytes,
    ) -> None:
        self.place = place
        self._token = token
        self._tls = tls
        self._asynchronous = asynchronous
        self._channel: Any = None
        self._methods: dict[str, tuple[Any, Any]] = {}
        self._pid = 0
        self._lock = threading.Lock()
        self._wire_bytes = wire_bytes

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """Metadata of every call."""
        return [] if self._token is None else [("authorization", f"Bearer {self._token}")]

    def unary(self, method: str) -> Any:
        """Make a unary-unary call that returns the bytes of its reply."""
        return self._method("unary_unary", method)

    def unary_stream(self, method: str) -> Any:
        """Make a unary-stream call that returns the bytes of its replies."""
        return self._method("unary_stream", method)

    def stream_stream(self, method: str) -> Any:
        """Make a stream-stream call that returns the bytes of its replies."""
        return self._method("stream_stream", method)

    def _method(self, kind: str, method: str) -> Any:
        channel = self._open()
        # Making one costs as much as sending a small message.
        known = self._methods.get(method)
        if known is None or known[0] is not channel:
            known = self._methods[method] = channel, self._new_method(channel, kind, method)
        return known[1]

    def _new_method(self, channel: Any, kind: str, method: str) -> Any:
        counted = self._wire_bytes

        def serialise(message: Any) -> bytes:
            content: bytes = message.SerializeToString()
            counted.add(sent=len(content) + _FRAME_BYTES)
            return content

        def receive(content: bytes) -> bytes:
            counted.add(received=len(content) + _FRAME_BYTES)
            return content

        return getattr(channel, kind)(
            f"/{SERVICE}/{method}", request_serializer=serialise, response_deserializer=receive
        )

    def _open(self) -> Any:
        refuse_forked()  # Before the lock, which another thread of the parent may have held.
        with self._lock:
            if self._channel is None:
                self._channel = open_channel(
                    self.place, self._tls, _OPTIONS, asynchronous=self._asynchronous
                )
                self._pid = os.getpid()
                note_channel()
            return self._channel

    def take_channel(self) -> Any:
        """Hand over the open channel, or None, to be closed; the next call opens another."""
        with self._lock:
            channel, self._channel = self._channel, None
            self._methods.clear()
            return channel if self._pid == os.getpid() else None


RpcError = grpc.RpcError
CallTimeoutError = grpc.FutureTimeoutError
CallCancelledError = grpc.FutureCancelledError


def translate(error: grpc.RpcError, address: str, tls: Tls | None = None) -> LabelcastError:
    """Translate a gRPC status to the exception that the service raised, or to a network error.

    Args:
        error: what gRPC raised.
        address: address of the service.
        tls: how the service is checked; None for plain text.
    """
    call: Any = error
    reported = _reported(call)
    if reported is not None:
        return reported
    code, details = call.code(), str(call.details() or "")
    proxy = grpc_proxy(address)
    way = "" if proxy is None else proxy.note
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceededError(
            f"no answer from {address} within the deadline; raise it or look at the service's load"
            f"{way}"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError(
            f"{address} does not speak {SERVICE}; use a client and a service of one version{way}"
        )
    if code in _BROKEN:
        not_encrypted = None if tls is None else tls_error(details, address)
        return not_encrypted or ServiceUnavailableError(
            f"the service at {address} cannot be reached ({details[:200]});"
            f" check the address and that `labelcast-server serve` runs there"
            f"{_likeliest(details, tls)}{way}"
        )
    return InternalServiceError(
        f"the service at {address} failed with {code.name}: {details[:200]}{way}"
    )


def _likeliest(details: str, tls: Tls | None) -> str:
    if not ("failed to connect" in details and "Socket closed" in details):
        return ""
    proves_itself = tls is not None and tls.certificate is not None
    return closed_early(encrypted=tls is not None, proves_itself=proves_itself)


def _reported(call: Any) -> LabelcastError | None:
    for key, value in call.trailing_metadata() or ():
        if key != _DETAILS_KEY:
            continue
        with contextlib.suppress(DecodeError):
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                    return error_from_reason(info.reason, status.message, dict(info.metadata))
    return None
