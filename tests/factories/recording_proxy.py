"""A proxy on loopback that writes down what it is asked for, and goes nowhere."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOWER = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy")
# Every variable that names a proxy or an exception, in both spellings.
PROXY_VARIABLES = [spelling for name in _LOWER for spelling in (name, name.upper())]
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        lines = []
        while line := self.rfile.readline().strip():
            lines.append(line.decode())
        assert isinstance(self.server, RecordingProxy)
        self.server.requests.append("\n".join(lines))
        self.wfile.write(REFUSAL)


class RecordingProxy(socketserver.ThreadingTCPServer):
    """Refuses everything with 403, as proxies do that know no such host."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[str] = []
        """Request line and headers of every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> list[str]:
        """Request lines, without the version of HTTP."""
        return [request.partition(" HTTP")[0] for request in self.requests]


@contextmanager
def recording_proxy() -> Iterator[RecordingProxy]:
    """A proxy that takes connections."""
    with RecordingProxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
