"""Uvicorn inside another owner's event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from labelcast_server.access.certificates import Certificates
from labelcast_server.admin.fresh_context import server_context
from labelcast_server.admin.patient_protocol import DEFAULT_PATIENCE, Patience, protocol_with


class _GuestServer(uvicorn.Server):
    """Leaves signals to the process that it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_admin(
    app: FastAPI,
    sock: socket.socket,
    *,
    stop: asyncio.Event,
    drain_seconds: float = 10.0,
    patience: Patience = DEFAULT_PATIENCE,
    certificates: Certificates | None = None,
) -> None:
    """Serve until `stop` is set or the task is cancelled, then let running requests end.

    Args:
        app: from `create_app`.
        sock: bound socket; listens from here on and is closed at the end.
        stop: event that ends serving.
        drain_seconds: time for running requests; longer ones are cut off.
        patience: limits for silent clients.
        certificates: what the port shows; None serves in plain text.

    Raises:
        InvalidRequestError: the certificates are of no use.
    """
    context = None if certificates is None else server_context(certificates)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # asyncio does this only for sockets made with an explicit IPPROTO_TCP; without it an answer
        # with a body waits 40 ms for the client's delayed ACK. Connections inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # From here on, clients wait in the queue instead of being refused.
    sock.listen()
    config = uvicorn.Config(
        app,
        http=protocol_with(patience),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Longer than a client takes to read and hash a shard between two requests.
        timeout_keep_alive=60,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    config.load()
    config.ssl = context
    server = _GuestServer(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving
