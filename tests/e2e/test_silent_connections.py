"""Who connects to the gRPC port and says nothing is shown the door."""

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.running_service import RunningService

pytestmark = pytest.mark.e2e

EACH = 25
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HALF_A_PREFACE = PREFACE[:9]
_LIMIT_SECONDS = 60.0


@contextlib.contextmanager
def connections(address: str, first_bytes: bytes) -> Iterator[list[socket.socket]]:
    host, _, port = address.rpartition(":")
    opened: list[socket.socket] = []
    try:
        for _ in range(EACH):
            opened.append(socket.create_connection((host, int(port)), timeout=30))
            opened[-1].sendall(first_bytes)
        yield opened
    finally:
        for one in opened:
            one.close()


def still_open(sockets: list[socket.socket]) -> list[socket.socket]:
    """Those that the service has not closed by the limit."""
    left, deadline = set(sockets), time.monotonic() + _LIMIT_SECONDS
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
        while left and time.monotonic() < deadline:
            for key, _ in selector.select(1.0):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if _has_ended(connection):
                    selector.unregister(connection)
                    left.discard(connection)
    return list(left)


def _has_ended(one: socket.socket) -> bool:
    try:
        return one.recv(2**16) == b""
    except ConnectionError:
        return True


def test_silent_connections_are_closed(service: RunningService) -> None:
    with (
        connections(service.grpc, b"") as silent,
        connections(service.grpc, HALF_A_PREFACE) as halfway,
        connections(service.grpc, PREFACE) as greeted,
    ):
        left = still_open(silent + halfway + greeted)
        kinds = {"silent": silent, "halfway": halfway, "greeted": greeted}
        assert {
            name: sum(one in left for one in of) for name, of in kinds.items()
        } == dict.fromkeys(kinds, 0)
