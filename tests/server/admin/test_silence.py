"""Clients that say nothing, half of something, or too many things at once."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from labelcast_server.admin.patient_protocol import Patience
from tests.server.admin.running_admin import ADMIN_TOKEN, RunningAdmin, running_admin

# Short where the test waits for the end of it, and long enough that nothing else can be meant.
SHORT = Patience(head_seconds=0.5, body_seconds=0.5, connections=8)
BEGIN = f"Host: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n".encode()


@pytest.fixture
def hasty(redis_url: str) -> Iterator[RunningAdmin]:
    with running_admin(redis_url, patience=SHORT) as admin:
        yield admin


def connected(admin: RunningAdmin) -> socket.socket:
    return socket.create_connection(("127.0.0.1", admin.port), timeout=60)


def until_closed(connection: socket.socket) -> bytes:
    """What the service says before it closes; a time-out of the socket if it never does."""
    said = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return said
        if not piece:
            return said
        said += piece


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"G",
        b"GET /health HTTP/1.1\r\n",
        b"GET /health HTTP/1.1\r\n" + BEGIN,
        b"POST /v1/uploads HTTP/1.1\r\n" + BEGIN + b"Content-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n",
        b"POST /v1/uploads HTTP/1.1\r\n" + BEGIN + b"Content-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{",
    ],
)
def test_silence_ends_a_connection(hasty: RunningAdmin, begun: bytes) -> None:
    with connected(hasty) as connection:
        connection.sendall(begun)
        assert until_closed(connection) == b""


def test_a_head_that_trickles_has_no_longer_than_one_that_stops(hasty: RunningAdmin) -> None:
    with connected(hasty) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        connection.settimeout(0.05)
        closed = False
        for number in range(1000):
            try:
                connection.sendall(b"X-%d: y\r\n" % number)
                closed = connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
            if closed:
                break
        assert closed


def test_half_a_head_after_an_answer(hasty: RunningAdmin) -> None:
    with connected(hasty) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"GET /heal")
        until_closed(connection)


def test_an_answer_that_nobody_takes(hasty: RunningAdmin) -> None:
    with connected(hasty) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Answers of some 30 KiB each, asked for and never read.
        asked = 0
        try:
            while asked < 100_000:
                asked += 1
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        except OSError:
            pass
        # What was in flight may still be read; then the connection has ended.
        until_closed(connection)
        assert asked > 1


def test_more_connections_than_there_may_be(hasty: RunningAdmin) -> None:
    many = [connected(hasty) for _ in range(SHORT.connections * 4)]
    try:
        for connection in many:
            assert until_closed(connection) == b""
    finally:
        for connection in many:
            connection.close()
    assert httpx.get(f"{hasty.url}/health", timeout=60).status_code == 200


def test_a_client_that_is_slow_and_not_silent_is_served(hasty: RunningAdmin) -> None:
    # Longer in all than any limit, and never silent for as long as one.
    content = b"{" + b" " * 30 + b"}"
    with connected(hasty) as connection:
        connection.sendall(
            b"POST /v1/uploads HTTP/1.1\r\n" + BEGIN + b"Content-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(content)
        )
        connection.settimeout(0.04)
        for byte in content[:-1]:
            connection.sendall(bytes([byte]))
            with pytest.raises(TimeoutError):
                connection.recv(1)
        connection.sendall(content[-1:])
        connection.settimeout(60)
        assert b"400 Bad Request" in connection.recv(65536)
