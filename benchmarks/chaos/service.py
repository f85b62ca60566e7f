"""The service as people run it, and a Redis of ours: processes that can be killed and stopped."""

import contextlib
import fnmatch
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil

from benchmarks.chaos.doors import Doors
from benchmarks.chaos.encryption import Encryption
from labelcast_server.store.embedded.executable import find_server

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
# As an init system does: what outlives its supervisor is given this long.
_ORPHAN_SECONDS = 3.0

Role = Literal["decoder", "worker", "admin", "redis", "supervisor"]


class ServedError(RuntimeError):
    """The service cannot be started at all: nothing can be measured."""


class ChaosService:
    """`labelcast-server serve` on ports of its own choice, later on the same again.

    Args:
        directory: for its data, its log and its sockets; its name must be short.
        options: more of the command line.
        encryption: certificates; None for plain text.
    """

    def __init__(
        self, directory: Path, options: Sequence[str], encryption: Encryption | None = None
    ) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.sockets = directory / "run"
        self.sockets.mkdir(parents=True)
        self.grpc_port = self.admin_port = 0
        self.moves = 0
        self._options = options
        self._encryption = encryption
        self._process: subprocess.Popen[str] | None = None
        self._seen: set[psutil.Process] = set()

    @property
    def log_path(self) -> Path:
        """Everything that its processes have said."""
        return self.directory / "service.log"

    def is_running(self) -> bool:
        """Whether its supervisor runs."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> bool:
        """Start once; whether it serves. Blocks."""
        ports = ["--grpc-port", str(self.grpc_port), "--admin-port", str(self.admin_port)]
        command = [sys.executable, "-m", "labelcast_server.cli", "serve", "--json", *ports]
        command += ["--data-dir", str(self.data_dir), *self._options]
        command += [] if self._encryption is None else self._encryption.options
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LABELCAST_")}
        ours = {"TMPDIR": str(self.sockets), "LABELCAST_DECODER_THREADS": "1"}
        with self.log_path.open("a") as log:
            self._process = subprocess.Popen(
                command,
                env=kept | ours,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        timer = _Deadline(_START_SECONDS, self._process.pid)
        line = self._process.stdout.readline()
        timer.cancel()
        self.remember()
        if not line:
            self.end()
            return False
        found = json.loads(line)
        self.grpc_port = int(found["grpc"].rpartition(":")[2])
        self.admin_port = int(found["admin"].rpartition(":")[2])
        return True

    def start(self) -> None:
        """Start on the same ports, or on others where those stay taken. Blocks.

        Raises:
            ServedError: it does not start.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            before = self.log_path.stat().st_size if self.log_path.exists() else 0
            if self.launch():
                return
            with self.log_path.open() as log:
                log.seek(before)
                said = log.read()
            if time.monotonic() > deadline:
                raise ServedError(f"the service does not start:\n{said[-2000:]}")
            if "cannot listen" in said:
                # Ports are those of proxies: clients do not see that the service has moved.
                self.grpc_port = self.admin_port = 0
                self.moves += 1
            time.sleep(1)

    def end(self) -> None:
        """Collect a supervisor that has ended, however, and what it left behind. Blocks."""
        if self._process is None:
            return
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        _, alive = psutil.wait_procs([p for p in self._seen if _lives(p)], _ORPHAN_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, _STOP_SECONDS)
        self._seen.clear()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL. Blocks."""
        if self._process is not None and self.is_running():
            self.remember()
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.end()

    def remember(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self._process.pid).children(recursive=True)
            self._seen.update(found)
            return found
        return []

    def find(self, role: Role) -> list[psutil.Process]:
        """Processes by what they do, told apart by what they listen on; none while they start."""
        if self._process is None:
            return []
        if role == "supervisor":
            with contextlib.suppress(psutil.Error):
                return [psutil.Process(self._process.pid)]
            return []
        wanted = {
            "decoder": "decoder-*.sock",
            "worker": str(self.grpc_port),
            "admin": str(self.admin_port),
        }.get(role, "")
        return [each for each in self.remember() if fnmatch.filter(_listens_on(each), wanted)]

    def doors(self) -> Doors:
        """The way in that passes no link."""
        return Doors(
            f"127.0.0.1:{self.grpc_port}",
            self.admin_port,
            (self.data_dir / "admin.token").read_text().strip(),
            None if self._encryption is None else self._encryption.tls,
        )


class ChaosRedis:
    """A redis-server that loses nothing, on a loopback port.

    Args:
        directory: for its files.
    """

    def __init__(self, directory: Path) -> None:
        self.port = _free_port()
        self._directory = directory
        directory.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> psutil.Process | None:
        """While it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return psutil.Process(self._process.pid)

    def start(self) -> None:
        """Start and wait until it answers. Blocks."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        log = ["--logfile", str(self._directory / "redis.log")]
        command = [str(find_server().path), *where, *durable, *log]
        self._process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServedError("Redis does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL. Blocks until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class _Deadline:
    """Kills a session that stays silent, so that reading from it ends: its orphans too."""

    def __init__(self, seconds: float, session: int) -> None:
        self._timer = threading.Timer(seconds, self._kill, [session])
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    @staticmethod
    def _kill(session: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(session, signal.SIGKILL)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _listens_on(process: psutil.Process) -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(psutil.Error):
        for connection in process.net_connections("all"):
            if isinstance(connection.laddr, str):
                found.add(Path(connection.laddr).name)
            elif connection.status == psutil.CONN_LISTEN:
                found.add(str(connection.laddr.port))
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
