"""A TCP relay on 127.0.0.1 that counts payload bytes."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class CountingRelay:
    """Passes bytes both ways; `total` is what an onlooker of the connection would count."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.total = 0
        self._run(self._accept)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        for one in list(self._sockets):
            # Wakes the thread that waits for it; it may be gone already.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(30)
        for one in self._sockets:
            one.close()

    def _run(self, main: object, *arguments: object) -> None:
        assert callable(main)
        thread = threading.Thread(target=main, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                self._run(self._pump, near, far)
                self._run(self._pump, far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(2**16):
                with self._lock:
                    self.total += len(content)
                sink.sendall(content)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def counting_relay(target: str) -> Iterator[CountingRelay]:
    relay = CountingRelay(target)
    try:
        yield relay
    finally:
        relay.close()
