"""A real server on a loopback port, for tests that must see Redis itself.

TEST_REDIS_SERVER names the program to use instead of the one that a service would start, for
example `TEST_REDIS_SERVER=redis-server make test`.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from redis import Redis

from labelcast_server.store.embedded.executable import find_server


class RealRedis:
    """A server that can be killed and started again on the same port and data.

    Args:
        directory: for its data and its log.
        options: more of its command line.
        program: of the server, instead of the usual one.
    """

    def __init__(self, directory: Path, *options: str, program: str | None = None) -> None:
        self.directory = directory
        self._program = program or os.environ.get("TEST_REDIS_SERVER") or str(find_server().path)
        self.port = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        # Someone may take a port between our looking and Redis's: try another, unless it is ours.
        ours = self.port
        for _ in range(5):
            self.port = ours or free_port()
            if self._launch():
                return
        raise AssertionError((self.directory / "redis.log").read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def client(self, password: str | None = None) -> Iterator[Redis]:
        """A raw client, to look and tamper behind the store's back."""
        with Redis(port=self.port, password=password) as client:
            yield client

    def _launch(self) -> bool:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        log = ["--logfile", str(self.directory / "redis.log")]
        self._process = subprocess.Popen(
            [self._program, *options, *durable, *log, *self._options], start_new_session=True
        )
        deadline = time.monotonic() + 30
        while self._process.poll() is None:
            if self._answers():
                return True
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        # By hand: a client would want a password of a Redis that asks for one.
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                return not connection.recv(64).startswith(b"-LOADING")
        except OSError:
            return False


@contextlib.contextmanager
def running_redis(
    directory: Path, *options: str, program: str | None = None
) -> Iterator[RealRedis]:
    redis = RealRedis(directory, *options, program=program)
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
