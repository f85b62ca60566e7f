"""A TCP proxy that cuts connections, as networks do."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Sequence
from types import TracebackType


class CuttingProxy:
    """Forwards to a port of this machine.

    Args:
        port: where to.
        cut_after_bytes: the first connection is cut once so many bytes of the client went through,
            the next after the second number, and so on; later ones are left alone.
    """

    def __init__(self, port: int, *, cut_after_bytes: Sequence[int]) -> None:
        self._target = port
        self._limits = list(cut_after_bytes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self.forwarded_bytes = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "CuttingProxy":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Wakes accept(), which closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", self._target)) as server:
                self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        left = self._limits[0] if self._limits else None
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    try:
                        content = source.recv(65536)
                        sink.sendall(content)
                    except OSError:
                        return
                    if not content:
                        return
                    if source is client:
                        self.forwarded_bytes += len(content)
                        left = None if left is None else left - len(content)
                    if left is not None and left <= 0:
                        self._limits.pop(0)
                        self.cuts += 1
                        return
